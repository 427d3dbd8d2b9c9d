"""Links from the encoder of one branch to the decoder of another: where they are, when they are on, what is measured.

The synchronised networks of Sinha & Panda (2023), section 3.2: at every level of a pyramid, what a decoder reads of its
own encoder is changed by what another branch's encoder sees at the same resolution. How, says the kind of link.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import permutations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map, Norm, resize_to
from fathomseg.models.encoders import Pyramid
from fathomseg.models.links.base import Branches, LinkModule, LinkPart

BOTH = "both"


class EncoderLinkPart(LinkPart):
    """The settings of all links between encoders and decoders; every branch they join has an encoder of its own."""

    direction: str = BOTH
    """both: every branch hears every other. Or one way, as depth_to_segmentation or segmentation_to_depth."""
    detach: bool = False
    """Stop the gradient at the sender: what one task's loss asks for never reaches the other's encoder."""
    start_step: int = Field(default=0, ge=0)
    """The optimiser step from which the links take part; before it the branches are networks of their own."""
    deepest: bool = False
    """Whether the deepest map is linked too. The paper's drawing has no link there, ControlNet has one."""

    @abstractmethod
    def unit(self, own: int, others: Mapping[str, int], norm: Norm) -> Unit:
        """What changes a map of `own` channels by maps of other branches, given the channels of each.

        Raises `ValueError` for widths that it cannot join, saying which it can.
        """

    def misfit(self, encoders: Mapping[str, str]) -> str | None:
        """Branches that read one encoder have nothing to tell each other."""
        ways = {f"{a}_to_{b}": (a, b) for a, b in permutations(encoders, 2)}
        if self.direction not in {BOTH, *ways}:
            return f"links.direction is {self.direction!r}, but there is: {', '.join([BOTH, *ways])}"
        for sender, receiver in self.pairs(tuple(encoders)):
            if encoders[sender] == encoders[receiver]:
                return (
                    f"links.name={self.name} carries what the encoder of {sender!r} sees to the decoder of "
                    f"{receiver!r}, which reads the same encoder: give tasks.{receiver}.encoder=own"
                )
        return None

    def pairs(self, branches: Sequence[str]) -> list[tuple[str, str]]:
        """(sender, receiver) of every link."""
        return [(a, b) for a, b in permutations(branches, 2) if self.direction in {BOTH, f"{a}_to_{b}"}]

    def build(self, branches: Branches) -> EncoderLinks:
        """Raises `FathomError` if a pair of branches has no maps of one stride, or of widths that cannot be joined."""
        return EncoderLinks(self, branches)


class Unit(nn.Module):
    """One level of one branch: x' = after(own(x) + sum over senders s of heard_s(x_s)), all of one height and width.

    `own` and `after` are identities unless the kind of link says otherwise.
    """

    def __init__(
        self, heard: Mapping[str, nn.Module], own: nn.Module | None = None, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.heard = nn.ModuleDict(heard)
        self.own = own or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Map, others: Mapping[str, Map], shares: dict[str, Tensor] | None = None) -> Map:
        """The changed map. Into `shares`, if given, goes ||heard_s(x_s)|| / ||own(x)|| of every sender."""
        changed = kept = self.own(x)
        for sender, module in self.heard.items():
            added = module(others[sender])
            changed = changed + added
            if shares is not None:
                shares[sender] = _norm(added) / _norm(kept).clamp(min=1e-12)
        result: Map = self.after(changed)
        return result


class EncoderLinks(LinkModule):
    """A unit for every linked map of every receiving branch; all of them hear the maps as the encoders gave them."""

    decays = False

    def __init__(self, part: EncoderLinkPart, branches: Branches) -> None:
        super().__init__()
        self.part = part
        self.pairs = part.pairs(tuple(branches.decoders))
        self.places = {
            receiver: _places(part, branches, receiver, [a for a, b in self.pairs if b == receiver])
            for receiver in dict.fromkeys(b for _, b in self.pairs)
        }
        """By receiver and index of its map: the index of the map that is heard, by sender."""
        self.units = nn.ModuleDict()
        for receiver, places in self.places.items():
            self.units[receiver] = nn.ModuleDict(
                {str(i): _unit(part, branches, receiver, i, heard) for i, heard in places.items()}
            )
        self.measuring = False
        self._shares: dict[str, Tensor] = {}

    def encoder_senders(self, receivers: Collection[str]) -> frozenset[str]:
        """Those with a link to one of them."""
        return frozenset(sender for sender, receiver in self.pairs if receiver in receivers)

    def pyramids(self, maps: Mapping[str, Sequence[Map]], receivers: Collection[str]) -> Mapping[str, Sequence[Map]]:
        """The maps of each receiver, the linked ones changed."""
        found: dict[str, Sequence[Map]] = {}
        for receiver in receivers:
            changed = list(maps[receiver])
            for index, heard in self.places.get(receiver, {}).items():
                others = {s: resize_to(maps[s][i], changed[index]) for s, i in heard.items()}
                if self.part.detach:
                    others = {sender: x.detach() for sender, x in others.items()}
                shares: dict[str, Tensor] | None = {} if self.measuring else None
                changed[index] = self._of(receiver, index)(changed[index], others, shares)
                for sender, share in (shares or {}).items():
                    self._shares[f"{sender}_to_{receiver}.{index}"] = share
            found[receiver] = changed
        return found

    def begin_step(self, step: int, measuring: bool = False) -> None:
        """On from `start_step`."""
        self.on, self.measuring = step >= self.part.start_step, measuring
        self._shares = {}

    def measured(self) -> dict[str, Float[Tensor, ""]]:
        """By link, `SENDER_to_RECEIVER.MAP`: the norm of its weights, and its share of what it is added to."""
        norms = {f"{name}.norm": norm for name, norm in self._norms()}
        shares = {
            f"{name}.share": self._shares.get(name, torch.zeros_like(norms[f"{name}.norm"])) for name in self.names
        }
        return {**norms, **shares}

    @property
    def names(self) -> tuple[str, ...]:
        """`SENDER_to_RECEIVER.MAP` of every link; MAP is the index in the receiver's pyramid, 0 = the image."""
        return tuple(
            f"{sender}_to_{receiver}.{index}"
            for receiver, places in self.places.items()
            for index, heard in places.items()
            for sender in heard
        )

    def _norms(self) -> Iterator[tuple[str, Float[Tensor, ""]]]:
        for receiver, places in self.places.items():
            for index, heard in places.items():
                for sender in heard:
                    weights = [_norm(p) for p in self._of(receiver, index).heard[sender].parameters()]
                    yield f"{sender}_to_{receiver}.{index}", torch.stack(weights).norm()

    def _of(self, receiver: str, index: int) -> Unit:
        levels = self.units[receiver]
        assert isinstance(levels, nn.ModuleDict)
        unit = levels[str(index)]
        assert isinstance(unit, Unit)
        return unit


def _places(
    part: EncoderLinkPart, branches: Branches, receiver: str, senders: Sequence[str]
) -> dict[int, dict[str, int]]:
    """{map of the receiver: {sender: its map}}, only of maps that the decoder reads; the image itself is never one."""
    own, decoder = branches.pyramids[receiver], branches.decoders[receiver]
    last = len(own.strides) - 1
    found: dict[int, dict[str, int]] = {}
    for index in (i for i in decoder.inputs if i > 0 and (part.deepest or i < last)):
        of = {sender: _counterpart(own, index, branches.pyramids[sender]) for sender in senders}
        if heard := {sender: other for sender, other in of.items() if other is not None}:
            found[index] = heard
    for sender in senders:
        if not any(sender in heard for heard in found.values()):
            theirs = branches.pyramids[sender]
            raise FathomError(
                f"links.name={part.name} finds no map to carry from {sender!r} (encoder {theirs.model!r}, strides "
                f"{_strides(theirs, range(1, len(theirs.strides)))}) to the decoder of {receiver!r}, which reads "
                f"strides {_strides(own, decoder.inputs)} of {own.model!r}. Choose encoders with strides in common, "
                "another decoder, or links.deepest=true if all it reads is the deepest map."
            )
    return found


def _counterpart(own: Pyramid, index: int, theirs: Pyramid) -> int | None:
    """The other pyramid's map at the place of map `index`: of the same stride, and the same in turn among those."""
    stride = own.strides[index]
    turn = own.strides[1:index].count(stride)
    same = [i for i, at in enumerate(theirs.strides) if at == stride and i > 0]
    return same[turn] if turn < len(same) else None


def _unit(part: EncoderLinkPart, branches: Branches, receiver: str, index: int, heard: Mapping[str, int]) -> Unit:
    widths = {sender: branches.pyramids[sender].channels[i] for sender, i in heard.items()}
    try:
        return part.unit(branches.pyramids[receiver].channels[index], widths, branches.norm)
    except ValueError as error:
        raise FathomError(f"At map {index} of the encoder of {receiver!r}, {error}") from None


def _strides(pyramid: Pyramid, indices: Collection[int]) -> str:
    return ", ".join(str(pyramid.strides[i]) for i in indices)


def _norm(x: Tensor) -> Float[Tensor, ""]:
    """The Euclidean norm, at least in float32, without a gradient."""
    found: Tensor = torch.linalg.vector_norm(x.detach(), dtype=torch.promote_types(x.dtype, torch.float32))
    return found
