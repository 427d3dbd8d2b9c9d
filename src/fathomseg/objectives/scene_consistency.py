"""The objective `scene_consistency`: predicted depth and segmentation must look like one scene to a frozen scene model.

Sinha & Panda 2023, section 3.2: 1 - cosine similarity of E(depth) and E(segmentation).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.geometry.camera import inverse_depth
from fathomseg.losses.class_groups import SKY, among
from fathomseg.models.network import Network, Outputs
from fathomseg.models.scene.inputs import NEUTRAL, painted, palette
from fathomseg.models.scene.model import SceneModel
from fathomseg.models.scene.saved import SCENE, SceneCard, load_scene, same_classes
from fathomseg.objectives.base import Base, Nets, Objective, Request, Setup, SteppedObjective
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch, StepResult, Term


class SceneConsistency(Objective):
    """1 - cos of what a trained scene model makes of the two predictions, averaged over images; needs no targets.

    Where the predicted class is `sky`, depth is shown as unknown, as it is in true maps.
    """

    name: Literal["scene_consistency"] = "scene_consistency"
    stream: str | tuple[str, ...] = "labelled"
    run: Path
    """The folder of a run with the objective `contrastive` that has reached its end, of the same classes."""
    weight: NonNegativeFloat = 0.1
    """Weight beside the other objectives, after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    """Steps over which the weight grows linearly from zero: the scene model has seen true maps alone, and has nothing
    to say about early predictions."""
    depth_weight: NonNegativeFloat = 1.0
    """Factor of the gradient that reaches depth; 0 = depth is taken as it is, and only classes learn."""
    segmentation_weight: NonNegativeFloat = 1.0
    """Factor of the gradient that reaches the classes; 0 = only depth learns."""

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """No output by itself: two constants agree as well as two true maps, so others must train both."""
        return frozenset()

    def misfit(self, network: NetworkConfig) -> str | None:
        """Needs both predictions, and something to move."""
        lacking = [task for task in ("segmentation", "depth") if task not in network.tasks]
        if lacking:
            return f"it compares depth with classes, but the network lacks one: give network.tasks.{lacking[0]}={{}}"
        if self.depth_weight == self.segmentation_weight == 0:
            return "it trains nothing with depth_weight=0 and segmentation_weight=0: give one of them, or leave it out"
        return None

    def brings(self, network: Network, pretrained: bool) -> nn.ModuleDict:
        """The scene model of the run, a resumed one too: no checkpoint holds it."""
        return nn.ModuleDict({"scene": Frozen(*load_scene(self.run), digest(self.run / SCENE))})

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> SceneConsistencyObjective:
        """Raises `FathomError` if the classes of the scene model are not those of the labels."""
        frozen = brought["scene"]
        assert isinstance(frozen, Frozen)
        depth = setup.network.tasks["depth"]
        assert isinstance(depth, Depth)
        if setup.classes is not None:
            same_classes(self.run, frozen.card, setup.classes)
        return SceneConsistencyObjective(self, frozen, depth)


class SceneConsistencyObjective(SteppedObjective):
    """The similarity of one batch of predictions."""

    colours: Float[Tensor, "c 3"]
    sky: Float[Tensor, "c 1 1"]
    """1 for classes that are infinitely far."""

    def __init__(self, config: SceneConsistency, frozen: Frozen, depth: Depth) -> None:
        super().__init__()
        self.config, self.frozen, self.depth = config, frozen, depth
        self.register_buffer("colours", palette(frozen.card.colours), persistent=False)
        sky = torch.zeros(len(frozen.card.classes), 1, 1)
        sky[list(among(SKY, frozen.card.classes))] = 1
        self.register_buffer("sky", sky, persistent=False)

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """Both predictions of the images."""
        return Request(lambda outputs, _: self._losses(batch, outputs), frozenset({"segmentation", "depth"}))

    def get_extra_state(self) -> dict[str, Any]:
        """The steps done, and which scene model has judged them."""
        return {**super().get_extra_state(), "scene": self.frozen.digest}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue from the steps done. Raises `FathomError` if the scene model is another one by now."""
        if state["scene"] != self.frozen.digest:
            raise FathomError(
                f"The scene model in {self.config.run} is not the one this run began with, so that it cannot go on as "
                "before. Put the old one back, or start the run anew."
            )
        super().set_extra_state(state)

    def _losses(self, batch: Batch, outputs: Outputs) -> StepResult:
        disparity = self.depth.disparity(outputs["depth"])
        inverse = inverse_depth(disparity, *self.depth.depth_range)
        probabilities = outputs["segmentation"].float().softmax(1)
        picture = painted(probabilities, self.colours)
        # True maps are 0 in the sky, where predictions are not supervised.
        sky = (probabilities.detach() * self.sky).sum(1, keepdim=True).clamp(max=1)
        inverse = inverse * (1 - F.interpolate(sky, inverse.shape[2:], mode="bilinear"))
        if batch.valid is not None:
            inverse = inverse * shown(batch.valid, inverse)
            picture = torch.lerp(torch.full_like(picture, NEUTRAL), picture, shown(batch.valid, picture))
        first, second = self.frozen.model(
            passing(inverse, self.config.depth_weight), passing(picture, self.config.segmentation_weight)
        )
        distance = 1 - (first * second).sum(1)
        count = distance.new_full((), len(distance))
        return StepResult({"": Term(distance.sum(), count, self.warmed(self.config.warmup_steps))})


class Frozen(nn.Module):
    """A scene model that moves with the step from device to device and is no part of it otherwise: no parameter to
    train, to average or to save."""

    def __init__(self, card: SceneCard, model: SceneModel, digest: str) -> None:
        super().__init__()
        self.card, self.digest = card, digest
        self._held = (model.requires_grad_(False).eval(),)  # in a tuple, where PyTorch does not look for modules

    @property
    def model(self) -> SceneModel:
        """In eval mode, whatever `train()` says of the step."""
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.model._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def passing(x: Tensor, factor: float) -> Tensor:
    """x, with `factor` times its gradient."""
    return x if factor == 1 else x.detach() + factor * (x - x.detach())


def shown(valid: Tensor, like: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b 1 h w"]:
    """1 where the photograph is, 0 in padding, at the size of a prediction."""
    return F.interpolate(valid[:, None].float(), like.shape[2:], mode="nearest-exact")


def digest(path: Path) -> str:
    """SHA-256 of a file; "" if it is missing, which loading will tell."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
