"""Starting a training from what an earlier one has learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self, get_args

from pydantic import Field, model_validator
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.inference.card import POSE, WEIGHTS, ModelCard, Weights, load_card
from fathomseg.models.init_from import transfer
from fathomseg.models.network import SHARED, Network, early
from fathomseg.models.pose import PoseNetwork
from fathomseg.models.saved import load_weights
from fathomseg.tasks.base import Task
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.segmentation import Segmentation

BranchPart = Literal["encoder", "decoder", "head"]
InitPart = Literal[BranchPart, "links", "pose"]
EVERYTHING: Final[tuple[InitPart, ...]] = get_args(InitPart)


class Runs:
    """Where what earlier runs have learned is read."""

    def card(self, run: Path) -> ModelCard:
        """What the network of a run is. Raises `FathomError`."""
        return load_card(run)

    def weights(self, run: Path, file: str) -> Mapping[str, Tensor]:
        """One of its files of weights. Raises `FathomError`."""
        return load_weights(run / file)


ON_DISK: Final = Runs()


class TaskFrom(Part):
    """The run that one task starts from."""

    run: Path
    """The folder of a run of that task, alone or among others, that has reached its end."""
    parts: tuple[BranchPart, ...] = ("encoder", "decoder", "head")
    """`encoder`: that of the task's own branch, from the encoder the task has in the run; `decoder`; `head`."""
    weights: Weights = "ema"
    """Averaged or last weights."""


class InitFrom(Part):
    """Earlier runs, and which of their parts are taken over. What is loaded and what is not is always reported."""

    run: Path | None = None
    """The folder of a run that has reached its end; null where `tasks` says all."""
    parts: tuple[InitPart, ...] = ("encoder",)
    """`encoder`; `decoder`: that which the same task reads, or depth for a task the run does not have (of one kind);
    `head`: of the same task, for depth its disparity; `links`; `pose`: the pose network and learned focal lengths. A
    decoder and its head may have levels the other lacks, which begin anew."""
    weights: Weights = "ema"
    """Averaged or last weights. There is one pose network, the last."""
    tasks: Mapping[str, TaskFrom] = Field(default_factory=dict)
    """By task a run of its own, for what its branch takes over: networks that were trained one by one, to be linked.
    What is said here goes before `run`."""

    @model_validator(mode="after")
    def _from_somewhere(self) -> Self:
        if self.run is None and (not self.tasks or {"links", "pose"} & set(self.parts)):
            raise ValueError("give run, the folder of an earlier run" + (", for links or pose" if self.tasks else ""))
        return self

    def fills(self, task: str) -> bool:
        """Whether the whole branch of a task is taken from an earlier run."""
        given = self.tasks.get(task, self)
        return given.run is not None and set(get_args(BranchPart)) <= set(given.parts)

    def kept(self, task: Task, classes: Sequence[str] = (), runs: Runs = ON_DISK) -> ModelCard:
        """The card of the run that a frozen task comes from. Raises `FathomError` if that run lacks the task, or means
        another thing by what it predicts: other `classes`, another range; depth may be in another unit."""
        run = self.tasks.get(task.name, self).run
        assert run is not None, "what is frozen comes from a run (`fills`)"
        card, place = runs.card(run), f"network.tasks.{task.name}"
        theirs = card.network.tasks.get(task.name)
        if theirs is None:
            raise FathomError(
                f"{place}.frozen=true keeps what {run} has learned, which predicts {', '.join(card.network.tasks)}: "
                f"give init_from.tasks.{task.name}.run"
            )
        if isinstance(task, Depth) and isinstance(theirs, Depth):
            same_shape = math.isclose(task.max_depth / task.min_depth, theirs.max_depth / theirs.min_depth)
            if task.output != theirs.output or not same_shape:
                ours, learned = (
                    [f"{place}.{key}={getattr(one, key)}" for key in ("output", "min_depth", "max_depth")]
                    for one in (task, theirs)
                )
                raise FathomError(
                    f"{place}.frozen=true keeps depth as {run} has learned it, with other settings than "
                    f"{' '.join(ours)}: set {' '.join(learned)}"
                )
        if isinstance(task, Segmentation) and classes and tuple(classes) != card.classes:
            raise FathomError(
                f"{place}.frozen=true keeps the classes that {run} has learned: {', '.join(card.classes)}. "
                f"The data's are {', '.join(classes)}: train with data of those classes, or without frozen"
            )
        return card

    def into(
        self,
        network: Network,
        ours: NetworkConfig,
        pose: PoseNetwork | None = None,
        classes: Sequence[str] = (),
        runs: Runs = ON_DISK,
    ) -> str:
        """Copy the parts of `runs` into `network` (as `ours` has built it) and `pose`, in place; returns what was
        loaded and what not.

        Raises `FathomError`, before anything is copied to the part in question, if a run lacks it or it differs; and if
        anything of a frozen branch is not copied, or is of other `classes`.
        """
        for task in network.frozen:
            self.kept(ours.tasks[task], classes, runs)
        lines: list[str] = []
        loaded: set[str] = set()
        for task, given in self.tasks.items():
            _demand_own(task, given, network)
            wanted = partial(_of, task=task)
            lines += _take(runs, given.run, given.weights, given.parts, network, ours, wanted, loaded)
        if self.run is not None:
            lines += self._take_rest(runs, self.run, network, ours, pose, loaded)
        frozen = tuple(f"{kind}s.{task}." for kind in get_args(BranchPart) for task in network.frozen)
        if random := [name for name in network.state_dict() if name.startswith(frozen) and name not in loaded]:
            raise FathomError(
                f"{len(random)} tensors of a frozen branch are in no earlier run and would stay random, for example "
                f"{random[0]}: give its decoder the settings it has there (decoder.stride), or leave frozen out."
            )
        return "\n".join(lines)

    def _take_rest(
        self, runs: Runs, run: Path, network: Network, ours: NetworkConfig, pose: PoseNetwork | None, loaded: set[str]
    ) -> list[str]:
        """What `run` gives beside `tasks`."""
        taken = {name for task, given in self.tasks.items() for part in given.parts for name in _of(part, task)}
        names = [*(f"encoders.{n}" for n in network.encoders), *(f"decoders.{n}" for n in network.decoders)]
        names += [f"{kind}.{task}" for kind in ("heads", "early_heads") for task in network.tasks]
        left = {*names, "links"} - taken
        lines = _take(runs, run, self.weights, self.parts, network, ours, lambda _: left, loaded, optional=bool(taken))
        if "pose" in self.parts:
            if pose is None:
                raise FathomError("init_from.parts has `pose`, but this training has no pose network. Leave it out.")
            lines.append(_load("pose network", pose, runs.weights(run, POSE), run))
        return lines


def _take(
    runs: Runs,
    run: Path,
    weights: Weights,
    parts: Sequence[InitPart],
    network: Network,
    ours: NetworkConfig,
    wanted: Callable[[InitPart], Collection[str]],
    loaded: set[str],
    optional: bool = False,
) -> list[str]:
    """Copy the parts of one run, as far as they are among the `wanted` ones; what became of each. The names of tensors
    that are copied are added to `loaded`. A run without any of a part is an error unless `optional`."""
    theirs, state = runs.card(run).network, runs.weights(run, WEIGHTS[weights])
    lines = [f"Starting from {run} ({weights} weights), parts: {', '.join(parts)}"]
    routes: dict[str, str] = {}
    for part in (part for part in parts if part != "pose"):
        found, anew = _routes(part, network, ours, theirs)
        found = {name: origin for name, origin in found.items() if name in wanted(part)}
        if not found and not optional:
            raise FathomError(
                f"init_from.parts has {part!r}, but {run} has none that fits: its tasks are "
                f"{', '.join(theirs.tasks)}, those to be trained {', '.join(network.tasks)}. Leave it out."
            )
        routes |= found
        lines += [f"{name} begins anew: {run} has none of its kind" for name in anew if name in wanted(part)]
    if not routes:
        return lines
    report = transfer(state, network, routes)
    loaded.update(report.loaded)
    return [*lines, str(report)]


def _of(part: InitPart, task: str) -> set[str]:
    """What a part of a task's branch is called in a network."""
    return {f"{part}s.{task}", f"early_{part}s.{task}"}


def _demand_own(task: str, given: TaskFrom, network: Network) -> None:
    """Raises `FathomError` for what is not the task's own, so that no other task is changed by it."""
    if task not in network.tasks:
        raise FathomError(f"init_from.tasks has {task!r}, but this network predicts {', '.join(network.tasks)}.")
    for part, own in (("encoder", network.encoders), ("decoder", network.decoders)):
        if part in given.parts and task not in own:
            raise FathomError(
                f"init_from.tasks.{task} takes over the {part}, but {task!r} shares that of other tasks: set "
                f"network.tasks.{task}.{part}{'=own' if part == 'encoder' else ''}, or leave {part} out of its parts."
            )


def _routes(
    part: str, network: Network, ours: NetworkConfig, theirs: NetworkConfig
) -> tuple[dict[str, str], list[str]]:
    """{part of this network: that of the run it starts from}, and parts of this network that start from nothing."""
    found: dict[str, str] = {}
    if part == "encoder":
        for name in network.encoders:
            own = name in theirs.branches and theirs.branches[name].encoder != SHARED
            if own or theirs.has_shared_encoder:
                found[f"encoders.{name}"] = f"encoders.{name if own else SHARED}"
    elif part == "decoder":
        for task in network.decoders:
            origin = theirs.branch_of(task) or theirs.branch_of("depth")
            if origin is not None and _decoder_name(theirs, origin) == _decoder_name(ours, task):
                found[f"decoders.{task}"] = f"decoders.{origin}"
    elif part == "head":
        found = {f"heads.{task}": f"heads.{task}" for task in network.tasks if task in theirs.tasks}
        early_too = [task for task in network.early_heads if early(task) in theirs.outputs]
        return found | {f"early_heads.{task}": f"early_heads.{task}" for task in early_too}, []
    elif network.links is not None and theirs.links.name != "none":
        found["links"] = "links"
    everything = {"encoder": tuple(network.encoders), "decoder": tuple(network.decoders)}.get(part, ())
    return found, [f"{part}s.{name}" for name in everything if f"{part}s.{name}" not in found]


def _decoder_name(network: NetworkConfig, branch: str) -> str:
    decoder = network.branches[branch].decoder
    return decoder if isinstance(decoder, str) else decoder.name


def _load(what: str, module: nn.Module, state: Mapping[str, Tensor], run: Path) -> str:
    """Load a part that must agree in every tensor."""
    wanted = module.state_dict()
    odd = sorted(
        name
        for name in wanted.keys() | state.keys()
        if name not in wanted or name not in state or wanted[name].shape != state[name].shape
    )
    if odd:
        raise FathomError(
            f"The {what} of {run} differs from the one to be trained in {len(odd)} tensors, for example {odd[0]}. Give "
            "both the same settings (objectives.photometric.pose), or leave it out."
        )
    module.load_state_dict(state)
    return f"{len(state)} tensors loaded: {what}"
