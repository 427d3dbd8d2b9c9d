"""Depth in metres for a run that learned it from video: what tells the scale, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import PositiveFloat

from fathomseg.config import Part
from fathomseg.data.datasets.base import Dataset
from fathomseg.evaluation.metric_scale import scale_from_camera_height, scale_from_poses, scale_from_speed
from fathomseg.inference.card import ModelCard
from fathomseg.inference.depth_scale import DepthScale, ScaleSource
from fathomseg.inference.predictor import Predictor
from fathomseg.io.progress import say
from fathomseg.models.network import Network
from fathomseg.models.pose import PoseNetwork
from fathomseg.types import Camera


class MetricScale(Part):
    """How depth that is learned from video gets a scale, which one camera leaves open; looked for after training."""

    source: Literal["auto", "poses", "speed", "camera_height", "none"] = "auto"
    """poses: the clips' known poses. speed: `metres_per_frame`. camera_height: the camera's height above the ground.
    auto: the first of these that is known and can be relied on. none: depth stays relative."""
    metres_per_frame: PositiveFloat | None = None
    """The mean distance from a frame to the next: metres driven / frames, or metres per second / frames per second."""
    camera_height: PositiveFloat | None = None
    """Metres from the ground to the camera, which looks ahead and is held level. null = what the dataset says
    (`camera_height` in dataset.yaml)."""

    def measure(
        self,
        card: ModelCard,
        network: Network,
        pose: PoseNetwork,
        dataset: Dataset,
        ids: Sequence[str],
        every: Sequence[str],
        camera: Callable[[str], Camera | None],
    ) -> DepthScale | None:
        """Metres per unit of a trained network and its pose network, on frames it learned from (`ids`); None if nothing
        tells it. The first source that can be relied on, else the first that says anything.

        `every` frame of the clips, those included in which the camera stands, counts for a mean speed. `camera` is that
        of a stored image. Networks are left as they are.
        """
        device, size = next(network.parameters()).device, card.pose_size or card.size

        def by_speed() -> DepthScale | None:
            metres = self.metres_per_frame
            return None if metres is None else scale_from_speed(pose, dataset, every, size, metres, device)

        def by_height() -> DepthScale | None:
            predictor = Predictor(network, card, device, tasks=["depth"])
            return scale_from_camera_height(
                predictor, dataset, ids, camera, lambda id: self.camera_height or dataset.camera_height(id)
            )

        ways: Mapping[ScaleSource, Callable[[], DepthScale | None]] = {
            "poses": lambda: scale_from_poses(pose, dataset, ids, size, device),
            "speed": by_speed,
            "camera_height": by_height,
        }
        first = None
        for name, measured in ways.items():
            found = measured() if self.source in {"auto", name} else None
            if found is not None and found.reliable:
                return found
            first = first or found
        return first


def with_scale(card: ModelCard, scale: DepthScale | None) -> ModelCard:
    """The card in metres if the scale can be relied on; says how long a unit is and how that is known, or what to
    do."""
    if scale is not None and scale.reliable:
        say(f"Depth is in metres: {scale}. The card says so, and predictions are in metres.")
        return card.in_metres(scale)
    if scale is not None:
        say(f"Depth stays relative: the measurements of its scale differ too much or are too few ({scale}).")
    else:
        say(
            "Depth stays relative: neither poses, speed nor the camera's height tell its scale. To get metres, give "
            "camera_height: METRES in dataset.yaml, metric_scale.camera_height=METRES or metric_scale.metres_per_frame."
        )
    return card
