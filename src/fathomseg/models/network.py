"""THE network: encoders, a decoder and a head for each named task, and links between the branches.

A branch is a decoder and goes by the name of the task that brings it; other tasks may read the same branch.

Pure PyTorch, exportable, and without knowledge of any task: what a head returns is the task's output.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.models.blocks import Map, Norm
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.encoders import FeatureEncoder
from fathomseg.models.links.base import LinkModule
from fathomseg.models.norms import FixedNorms, evaluating

SHARED: Final = "shared"
"""The name of the encoder of all tasks that have none of their own."""

FEATURES: Final = "features"
"""An output every network has: the deepest feature map of the shared encoder, b x c x h/s x w/s."""

_SMALL: Final = (64, 64)
"""Height and width of an image by which it is found out what outputs depend on."""

Outputs = dict[str, Any]
"""By name: what the head of the task gives (see the task), or a feature map."""

Pyramids = Callable[[Sequence[Map]], Sequence[Map]]
"""Changes the feature maps of an encoder before they are decoded."""


def early(task: str) -> str:
    """The name of a task's early output: predicted where the branches meet, before they exchange anything."""
    return f"early_{task}"


def decoded(task: str) -> str:
    """The name of the maps that the decoder of a task gives, by level: an output every network has for its tasks."""
    return f"decoded_{task}"


@contextmanager
def linked(network: nn.Module, on: bool) -> Iterator[None]:
    """With the links of a network switched off for a while, unless `on`; afterwards they are as they were."""
    links = network.links if isinstance(network, Network) and not on else None
    if links is None:
        yield
        return
    before = links.on
    links.on = False
    try:
        yield
    finally:
        links.on = before


class Network(FixedNorms):
    """image -> encoders -> decoders, level by level -> heads, with links from encoders to other branches' decoders, or
    between decoders."""

    def __init__(
        self,
        encoders: Mapping[str, FeatureEncoder],
        decoders: Mapping[str, DecoderModule],
        heads: Mapping[str, nn.Module],
        links: LinkModule | None = None,
        early_heads: Mapping[str, nn.Module] | None = None,
        early_level: int = 0,
        norm: Norm = "batch",
        reads: Mapping[str, str] | None = None,
        frozen: Collection[str] = (),
    ) -> None:
        """`heads` by task, `decoders` by branch; `encoders` by branch, or `SHARED` for all that have none of their own.

        `reads`: the branch of each task that has no decoder of its own. A head takes the maps of its decoder by level.
        `early_heads` take that of `early_level`, a level of the links. `frozen`: branches with an encoder of their own
        that take no gradient and are never in training mode.
        """
        super().__init__(norm)
        self.encoders = nn.ModuleDict(encoders)
        self.decoders = nn.ModuleDict(decoders)
        self.links = links
        self.heads = nn.ModuleDict(heads)
        self.early_heads = nn.ModuleDict(early_heads or {})
        self.early_level = early_level
        self.reads = dict(reads or {})
        self.frozen = frozenset(frozen)
        for part in self._kept():
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; what is frozen is in evaluation mode either way."""
        super().train(mode)
        for part in self._kept():
            part.eval()
        return self

    def _kept(self) -> list[nn.Module]:
        """The parts of the frozen branches."""
        parts = (self.encoders, self.decoders, self.heads, self.early_heads)
        return [one[name] for one in parts for name in self.frozen if name in one]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it has, in their order."""
        return tuple(self.heads)

    @property
    def outputs(self) -> frozenset[str]:
        """What it predicts: the tasks, early outputs, and the features of a shared encoder."""
        shared = {FEATURES} if SHARED in self.encoders else set()
        return frozenset({*self.tasks, *(early(task) for task in self.early_heads), *shared})

    def forward(
        self, image: Float[Tensor, "b 3 h w"], outputs: Collection[str] | None = None, change: Pyramids | None = None
    ) -> Outputs:
        """`outputs` (by default those of all tasks) of RGB images 0..1 of any size, one pass of each encoder; beside
        them the maps of decoders (`decoded`) can be asked for.

        Nothing that does not take part in them is computed. Resizing to the image's size is left to the caller
        (bilinear, align_corners=False), since a loss, a metric and an export each want another size. `change` is
        applied to the feature maps of every encoder. Raises `ValueError` for an output it does not have.
        """
        wanted = self.tasks if outputs is None else outputs
        known = {*self.outputs, *map(decoded, self.tasks)}
        if isinstance(wanted, str) or not known.issuperset(wanted):
            raise ValueError(f"outputs is {wanted!r}; give a collection of these: {', '.join(sorted(known))}")
        running = self._running(wanted)
        pyramids = self._pyramids(image, self._encoding(running), FEATURES in wanted)
        if change is not None:
            pyramids = {name: change(maps) for name, maps in pyramids.items()}
        found: Outputs = {FEATURES: pyramids[SHARED][-1]} if FEATURES in wanted else {}
        maps = {branch: pyramids[self.encoder_of(branch)] for branch in self._encoding(running)}
        if self.links is not None and self.links.on:
            maps |= self.links.pyramids(maps, running)
        levels = self._decoded({branch: maps[branch] for branch in running}, wanted, found)
        for task in self.tasks:
            if task in wanted:
                found[task] = self.heads[task](levels[self.branch_of(task)])
            if decoded(task) in wanted:
                found[decoded(task)] = levels[self.branch_of(task)]
        return found

    def modules_for(self, outputs: Collection[str]) -> list[nn.Module]:
        """What runs when these outputs are requested."""
        running = self._running(outputs)
        names = {self.encoder_of(branch) for branch in self._encoding(running)}
        names |= {SHARED} if FEATURES in outputs else set()
        parts: list[nn.Module] = [self.encoders[name] for name in self.encoders if name in names]
        for branch in running:
            decoder, last = self.decoder_of(branch), self._last_level(branch, outputs)
            parts += [decoder] if last is None else decoder.parts_down_to(last)
        if self.links is not None and self._read(outputs):
            parts.append(self.links)
        parts += [head for task, head in self.early_heads.items() if early(task) in outputs]
        return parts + [head for task, head in self.heads.items() if task in outputs]

    def reached(self, outputs: Collection[str]) -> list[nn.Parameter]:
        """The parameters that these outputs have a gradient for, by a pass over a small image: of what `modules_for`
        names, links to branches that are not read and the deepest maps of encoders that only send have none."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not outputs or not trained:
            return []
        with evaluating(self), torch.enable_grad():
            found = self(trained[0].new_full((1, 3, *_SMALL), 0.5), outputs)
        total = torch.stack([tensor.sum() for tensor in _tensors(found)]).sum()
        gradients = torch.autograd.grad(total, trained, allow_unused=True)
        return [parameter for parameter, gradient in zip(trained, gradients, strict=True) if gradient is not None]

    def after_encoders(self) -> list[nn.Module]:
        """Everything that sees feature maps and not the image."""
        links = () if self.links is None else (self.links,)
        return [self.decoders, self.heads, self.early_heads, *links]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that were (or could have been) pretrained, for their own learning rate."""
        return list(self.encoders.parameters())

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Those of a task's heads and of the decoder it brings: one that several tasks read is that of the first."""
        parts = [parts[task] for parts in (self.decoders, self.early_heads, self.heads) if task in parts]
        return [parameter for part in parts for parameter in part.parameters()]

    def shared_parameters(self, groups: Sequence[Collection[str]]) -> list[nn.Parameter]:
        """Those that more than one of these groups of outputs depend on, in the network's order."""
        reached = [{id(p) for part in self.modules_for(outputs) for p in part.parameters()} for outputs in groups]
        return [p for p in self.parameters() if sum(id(p) in own for own in reached) > 1]

    def shared_encoders(self, groups: Sequence[Collection[str]]) -> list[nn.Module]:
        """The encoders that more than one of these groups of outputs depend on."""
        parts = [self.modules_for(outputs) for outputs in groups]
        return [one for one in self.encoders.values() if sum(one in own for own in parts) > 1]

    def last_shared_weights(self, groups: Sequence[Collection[str]]) -> list[nn.Parameter]:
        """The weights, without biases and scales, of the last thing all of these groups of outputs depend on and train:
        a head, a decoder, else an encoder. Beyond an exchange of links an output depends more on one branch than on
        another, so with links it is always an encoder. Empty if they share nothing."""
        first, *others = [self.modules_for(outputs) for outputs in groups]
        encoders = list(self.encoders.values())
        trained = [part for part in first if any(p.requires_grad for p in part.parameters())]
        common = [part for part in trained if all(part in own for own in others)]
        usable = [part for part in common if self.links is None or part in encoders]
        return [p for p in usable[-1].parameters() if p.ndim > 1] if usable else []

    def _running(self, outputs: Collection[str]) -> list[str]:
        """The branches that must run, at least down to where they meet; always in the same order, for dropout."""
        running = self._read(outputs) | self._read_early(outputs)
        for receivers in self._receivers(outputs).values():
            running |= self._senders(receivers)
        return [branch for branch in self.decoders if branch in running]

    def _encoding(self, running: Sequence[str]) -> list[str]:
        """The branches whose encoders must run: with those that run, those that tell them something."""
        told = self.links.encoder_senders(running) if self.links is not None and self.links.on else frozenset()
        return [branch for branch in self.decoders if branch in running or branch in told]

    def _senders(self, receivers: frozenset[str]) -> frozenset[str]:
        """The branches whose decoders tell these something."""
        if self.links is None or not self.links.on or not receivers:
            return frozenset()
        return self.links.senders(receivers)

    def _read(self, outputs: Collection[str]) -> frozenset[str]:
        """The branches that run to their end for these outputs."""
        return frozenset(self.branch_of(task) for task in self.tasks if task in outputs or decoded(task) in outputs)

    def _read_early(self, outputs: Collection[str]) -> frozenset[str]:
        """The branches whose maps at `early_level` the early heads of these outputs take."""
        return frozenset(self.branch_of(task) for task in self.early_heads if early(task) in outputs)

    def _receivers(self, outputs: Collection[str]) -> dict[int, frozenset[str]]:
        """By level of the links the branches whose maps they change: those that heads of these outputs take, and those
        that are read further on."""
        found: dict[int, frozenset[str]] = {}
        needed = self._read(outputs)
        for level in () if self.links is None else reversed(self.links.levels):
            found[level] = needed
            needed |= self._senders(needed)
            if level == self.early_level:
                needed |= self._read_early(outputs)
        return found

    def _last_level(self, branch: str, outputs: Collection[str]) -> int | None:
        """Where a decoder may stop; None if it runs to its end."""
        return None if branch in self._read(outputs) or self.links is None else self.links.levels[-1]

    def _pyramids(
        self, image: Float[Tensor, "b 3 h w"], running: Collection[str], features: bool
    ) -> dict[str, Sequence[Map]]:
        names = {self.encoder_of(branch) for branch in running} | ({SHARED} if features else set())
        return {name: encoder(image) for name, encoder in self.encoders.items() if name in names}

    def _decoded(
        self, maps: Mapping[str, Sequence[Map]], wanted: Collection[str], found: Outputs
    ) -> dict[str, dict[int, Map]]:
        """All levels of every running decoder; early outputs are put into `found` on the way.

        A level keeps its map as it was before the exchange, unless the decoder ends there: what is predicted at the
        finest level always follows the exchange, coarser predictions at the link's own level do not.
        """
        levels: dict[str, dict[int, Map]] = {branch: {} for branch in maps}
        last: dict[str, tuple[Map, int]] = {}  # the map and level each decoder goes on from, as the links left it
        receivers = self._receivers(wanted)
        for level in () if self.links is None else self.links.levels:
            for branch in maps:
                levels[branch] |= self._run(branch, last.get(branch), maps[branch], level)
                last[branch] = levels[branch][level], level
            if level == self.early_level:
                heads = {task: head for task, head in self.early_heads.items() if early(task) in wanted}
                found |= {early(task): head(levels[self.branch_of(task)][level]) for task, head in heads.items()}
            if self.links is not None and self.links.on and receivers[level]:
                there = {branch: x for branch, (x, _) in last.items()}
                changed = self.links(level, there, [branch for branch in maps if branch in receivers[level]])
                last |= {branch: (x, level) for branch, x in changed.items()}
        read = self._read(wanted)
        for branch in (branch for branch in maps if branch in read):  # always in the same order, for dropout
            levels[branch] |= self._run(branch, last.get(branch), maps[branch], None)
            if branch in last and last[branch][1] == self.decoder_of(branch).finest:
                levels[branch][last[branch][1]] = last[branch][0]
        return levels

    def _run(
        self, branch: str, feature: tuple[Map, int] | None, maps: Sequence[Map], down_to: int | None
    ) -> dict[int, Map]:
        """The next levels of a decoder: from the beginning, or from a map that a link has changed."""
        decoder = self.decoder_of(branch)
        if feature is None:
            return decoder.levels(maps, down_to)
        return decoder.levels_from(*feature, maps, down_to)

    def encoder_of(self, task: str) -> str:
        """The name of the encoder whose maps a task is decoded from."""
        return self.branch_of(task) if self.branch_of(task) in self.encoders else SHARED

    def branch_of(self, task: str) -> str:
        """The branch whose maps the head of a task takes: its own, unless it has none."""
        return self.reads.get(task, task)

    def decoder_of(self, task: str) -> DecoderModule:
        """The decoder whose maps the head of a task takes."""
        return cast(DecoderModule, self.decoders[self.branch_of(task)])


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """Those of outputs, or of one: maps, or lists of maps."""
    if isinstance(outputs, Tensor):
        yield outputs
        return
    for part in outputs.values() if isinstance(outputs, Mapping) else outputs:
        yield from _tensors(part)
