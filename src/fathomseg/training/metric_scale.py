"""Depth in metres for a run that learned it from video: what tells the scale, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

from pydantic import PositiveFloat

from fathomseg.config import Part
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.places import evenly
from fathomseg.evaluation.metric_scale import FRAMES, scale_from_camera_height, scale_from_poses, scale_from_speed
from fathomseg.evaluation.motion import frames_apart
from fathomseg.inference.card import ModelCard
from fathomseg.inference.depth_scale import AGREE, DepthScale, ScaleSource
from fathomseg.inference.predictor import Predictor
from fathomseg.io.progress import say
from fathomseg.models.network import Network
from fathomseg.models.pose import PoseNetwork
from fathomseg.types import Camera


class MetricScale(Part):
    """How depth that is learned from video gets a scale, which one camera leaves open; looked for after training."""

    source: Literal["auto", "poses", "speed", "camera_height", "none"] = "auto"
    """poses: the clips' known poses. speed: `metres_per_frame`. camera_height: the camera's height above the ground.
    auto: the first of these that is known and can be relied on, if others that are say the same but for 20 %. none:
    depth stays relative."""
    metres_per_frame: PositiveFloat | None = None
    """The mean distance from a frame to the next: metres driven / frames, or metres per second / frames per second."""
    camera_height: PositiveFloat | None = None
    """Metres from the ground to the camera, which looks ahead and is held level. null = what the dataset says
    (`camera_height` in dataset.yaml)."""

    def knows_height(self, dataset: Dataset, ids: Sequence[str]) -> bool:
        """Whether the height of the camera is looked at, and known of any of these images."""
        if self.source not in {"auto", "camera_height"}:
            return False
        return self.camera_height is not None or any(dataset.camera_height(id) is not None for id in ids)

    def measure(
        self,
        card: ModelCard,
        network: Network,
        pose: PoseNetwork,
        dataset: Dataset,
        runs: Sequence[Sequence[str]],
        every: Sequence[str],
        camera: Callable[[str], Camera | None],
    ) -> list[DepthScale]:
        """Metres per unit of a trained network and its pose network, by every source that can be relied on; else by the
        first that says anything, if one does.

        `runs`: frames that were learned from together, in the order of time. `every` frame of the clips, those included
        in which the camera stands, counts for a mean speed. `camera` is that of a stored image between two others of a
        run. Networks are left as they are.
        """
        device, size = next(network.parameters()).device, card.pose_size or card.size
        ids = [run[len(run) // 2] for run in runs]
        of_clip = {id.rpartition("/")[0]: id for id in ids}

        def seen(id: str) -> Camera:
            """Frames that are not learned from have the camera of their clip."""
            found = camera(id) or camera(of_clip.get(id.rpartition("/")[0], ids[0]))
            assert found is not None, "what is learned from has a camera"
            return found

        def by_speed() -> DepthScale | None:
            if self.metres_per_frame is None:
                return None
            pairs = [pair for run in evenly(runs, FRAMES) for pair in pairwise(run)]
            step = round(median(frames_apart(dataset, *pair) for pair in pairs))
            return scale_from_speed(pose, dataset, every, size, seen, self.metres_per_frame, step, device)

        def by_height() -> DepthScale | None:
            predictor = Predictor(network, card, device, tasks=["depth"])
            return scale_from_camera_height(
                predictor, dataset, ids, camera, lambda id: self.camera_height or dataset.camera_height(id)
            )

        ways: Mapping[ScaleSource, Callable[[], DepthScale | None]] = {
            "poses": lambda: scale_from_poses(pose, dataset, runs, size, seen, device),
            "speed": by_speed,
            "camera_height": by_height,
        }
        measured = [way() for name, way in ways.items() if self.source in {"auto", name}]
        found = [one for one in measured if one is not None]
        return [one for one in found if one.reliable] or found[:1]


def with_scale(card: ModelCard, scales: Sequence[DepthScale], height_known: bool = False) -> ModelCard:
    """The card in metres by the first scale, if it can be relied on and the others say the same; says how long a unit
    is and how that is known, or what to do."""
    if not scales and height_known:
        say(
            "Depth stays relative: the camera's height is known, but predicted depth shows no level ground ahead. "
            "Train for longer, see that the camera looks ahead and is level, or give metric_scale.metres_per_frame."
        )
        return card
    if not scales:
        say(
            "Depth stays relative: neither poses, speed nor the camera's height tell its scale. To get metres, give "
            "camera_height: METRES in dataset.yaml and resume this run, or train with "
            "metric_scale.camera_height=METRES or metric_scale.metres_per_frame."
        )
        return card
    first, *others = scales
    if not first.reliable:
        say(f"Depth stays relative: the measurements of its scale differ too much or are too few ({first}).")
        return card
    if other := next((one for one in others if not first.agrees(one)), None):
        say(
            f"Depth stays relative: what tells its scale differs by more than {100 * (AGREE - 1):.0f} %: {first}; but "
            f"{other}. Set metric_scale.source to the one that is right ({first.source} or {other.source})."
        )
        return card
    say(f"Depth is in metres: {first}. The card says so, and predictions are in metres.")
    return card.in_metres(first)
