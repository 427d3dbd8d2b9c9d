"""The teacher of pseudo-labels: which network it is, what it is shown, and what it predicts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.losses.depth_agreement import DepthAgreement
from fathomseg.models.network import Outputs
from fathomseg.models.norms import evaluating
from fathomseg.objectives.base import Base, Nets, Whom, to_unit
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.source_depth import SOURCE_DEPTH
from fathomseg.types import Batch

Who = Literal["ema", "self", "finished"]
Sees = Literal["whole", "view"]


def shows_whole(sees: Sees, batch: Batch) -> bool:
    """Whether a teacher that `sees` this is shown whole images of this batch, else the clean views."""
    return sees == "whole" and "whole" in batch.targets


class Predictions(NamedTuple):
    """What a teacher predicts of what it is shown, of any size."""

    logits: Float[Tensor, "b c _ _"] | None
    """None of a finished teacher, whose labels the batch brings."""
    disparity: Float[Tensor, "b 1 _ _"] | None
    """0..1, if mixing needs it and the batch has none."""
    depths: tuple[Float[Tensor, "b 1 _ _"], Float[Tensor, "b 1 _ _"]] | None
    """Of source and target, in the unit of `DepthAgreement.target`, if they are to be compared."""


@dataclass(frozen=True)
class Teacher:
    """In eval mode and without a gradient. Objectives of one stream whose teachers see the same share its pass."""

    who: Who
    """ema: the averaged network. self: the network as it is. finished: another one, of which labels are kept; depth is
    the averaged network's."""
    sees: Sees
    by_depth: bool
    """Whether the mixing rule compares disparities."""
    agreement: DepthAgreement | None = None
    """How its two depths are compared."""
    depth: Depth | None = None
    """The network's task, if it has one."""
    source_depth: Depth | None = None
    """The same for the source."""

    @torch.no_grad()
    def predictions(self, batch: Batch, base: Base, nets: Nets) -> Predictions:
        """All that is wanted of it."""
        outputs = self.outputs(batch, base, nets)
        disparity = self._disparity(outputs) if self._mixes_by_own_depth(batch) else None
        return Predictions(outputs.get("segmentation"), disparity, self._depths(outputs))

    @torch.no_grad()
    def outputs(self, batch: Batch, base: Base, nets: Nets) -> Outputs:
        """The outputs its predictions are made of, from one pass over what it is shown; none if all are kept."""
        if not (wanted := self.asks(batch)):
            return {}
        return nets.shared_pass(
            self.whom(batch), wanted, lambda outputs: self._run(nets, self.seen(batch, base.clean), outputs)
        )

    def asks(self, batch: Batch) -> frozenset[str]:
        """The outputs it needs."""
        compared = () if self.agreement is None else ("depth", SOURCE_DEPTH)
        mixed = ("depth",) if self._mixes_by_own_depth(batch) else ()
        classes = () if self.who == "finished" else ("segmentation",)
        return frozenset({*classes, *mixed, *compared})

    def whom(self, batch: Batch) -> Whom:
        """The network it is, and what it is shown of this batch."""
        return "student" if self.who == "self" else "averaged", "whole" if shows_whole(self.sees, batch) else "view"

    def seen(self, batch: Batch, clean: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 _ _"]:
        """The images, 0..1, that it is shown: the whole ones if they come along, else the clean views."""
        return to_unit(batch.targets["whole"]) if shows_whole(self.sees, batch) else clean

    @torch.no_grad()
    def disparity(self, batch: Batch, nets: Nets) -> Float[Tensor, "b 1 _ _"] | None:
        """Of the images of a partner, 0..1, if mixing needs it and the batch has none."""
        if not self._mixes_by_own_depth(batch):
            return None
        return self._disparity(self._run(nets, self.seen(batch, to_unit(batch.image)), ("depth",)))

    def _run(self, nets: Nets, image: Float[Tensor, "b 3 _ _"], wanted: Collection[str]) -> Outputs:
        """One pass of the network that teaches."""
        network = nets.student if self.who == "self" else nets.averaged
        with evaluating(network):
            return cast(Outputs, network(image, wanted))

    def _mixes_by_own_depth(self, batch: Batch) -> bool:
        """Whether the mixing rule goes by its disparity."""
        return self.by_depth and "disparity" not in batch.targets

    def _disparity(self, outputs: Outputs) -> Float[Tensor, "b 1 _ _"]:
        """Of its depth head."""
        assert self.depth is not None, "checked: mixing by depth has a disparity from somewhere"
        return self.depth.disparity(outputs["depth"])

    def _depths(self, outputs: Outputs) -> tuple[Float[Tensor, "b 1 _ _"], Float[Tensor, "b 1 _ _"]] | None:
        """What its two depth heads say, of source and target, if they are to be compared."""
        if self.agreement is None:
            return None
        assert self.source_depth is not None, "checked: the network has both tasks"
        source, own = self.source_depth.disparity(outputs[SOURCE_DEPTH]), self._disparity(outputs)
        if self.agreement.target == "disparity":
            return source, own
        depth_range = self.source_depth.depth_range  # checked: that of both
        return disparity_to_depth(source, *depth_range), disparity_to_depth(own, *depth_range)
