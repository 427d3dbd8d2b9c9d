"""Metres per unit of a depth learned from video, which one camera leaves open: from poses, speed, or the camera's
height."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.places import evenly
from fathomseg.evaluation.motion import clips, frame, predict_motions
from fathomseg.geometry.camera import intrinsics
from fathomseg.geometry.ground import camera_heights
from fathomseg.inference.depth_scale import DepthScale, mean_scale, median_scale
from fathomseg.inference.predictor import Predictor
from fathomseg.types import Camera, Size

FRAMES: Final = 64
"""Frames that are looked at."""
_WINDOW: Final = 8
"""Neighbouring frames that are looked at together: windows lie evenly over all clips."""
_LEAST_M: Final = 0.05
"""Shorter motions than this, in metres, tell no scale."""


def scale_from_poses(
    pose: nn.Module,
    dataset: Dataset,
    runs: Sequence[Sequence[str]],
    size: Size,
    camera: Callable[[str], Camera],
    device: torch.device | str = "cpu",
) -> DepthScale | None:
    """The median of |true translation| / |predicted translation| from each frame of a run to the next: of the runs with
    poses, evenly spread, as many as together have at least 64 frames; None without poses.

    `pose` and `camera` are as for `evaluation.motion.predict_drives`. Depth and translations are in one unit, for views
    are synthesised from their ratio. Raises `DataError` for a frame that cannot be read.
    """
    ratios: list[float] = []
    for part in _enough([run for run in runs if all(dataset.world_T_cam(id) is not None for id in run)]):
        motions = _motions(pose, dataset, part, size, camera, device)
        places = [dataset.world_T_cam(id) for id in part]
        for motion, (before, after) in zip(motions, pairwise(places), strict=True):
            assert before is not None, "runs without poses are left out"
            assert after is not None, "runs without poses are left out"
            true = float(np.linalg.norm(after[:3, 3] - before[:3, 3]))
            predicted = float(np.linalg.norm(motion[:3, 3]))
            if true >= _LEAST_M and predicted > 0:
                ratios.append(true / predicted)
    return median_scale(ratios, "poses")


def scale_from_speed(
    pose: nn.Module,
    dataset: Dataset,
    ids: Sequence[str],
    size: Size,
    camera: Callable[[str], Camera],
    metres_per_frame: float,
    step: int = 1,
    device: torch.device | str = "cpu",
) -> DepthScale | None:
    """The mean distance from each frame to the one `step` frames later, `step` times `metres_per_frame`, over the mean
    predicted one, in windows all over the clips; None without clips. Otherwise as `scale_from_poses`."""
    distances = []
    for part in windows(clips(dataset, ids, step, posed=False)):
        motions = _motions(pose, dataset, part, size, camera, device)
        distances.append(np.linalg.norm(motions[:, :3, 3], axis=1).tolist())
    return mean_scale(distances, step * metres_per_frame)


def scale_from_camera_height(
    predictor: Predictor,
    dataset: Dataset,
    ids: Sequence[str],
    camera: Callable[[str], Camera | None],
    height: Callable[[str], float | None],
) -> DepthScale | None:
    """The median of the known height of the camera over the one the predicted depth shows (`geometry.ground`).

    `camera` gives that of the stored image, `height` metres above the ground. None if no image has both, or none shows
    ground. Raises `DataError` for an image that cannot be read.
    """
    ratios: list[float] = []
    for id in evenly(ids, FRAMES):
        known, metres = camera(id), height(id)
        if known is None or metres is None:
            continue
        (fields,) = predictor.decoded([dataset.image(id)], [predictor.size])
        K = intrinsics([known.resized(predictor.size)], predictor.device)
        ratios.append(metres / float(camera_heights(fields["depth"][None, None], K)))
    return median_scale(ratios, "camera_height")


def _motions(
    pose: nn.Module,
    dataset: Dataset,
    ids: Sequence[str],
    size: Size,
    camera: Callable[[str], Camera],
    device: torch.device | str,
) -> Float64[np.ndarray, "n 4 4"]:
    """Those from each of these frames to the next, as `predict_motions` gives them."""
    return predict_motions(pose, (frame(dataset, id, size, camera) for id in ids), device)


def windows(clips: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Runs of up to 8 neighbouring frames, evenly spread over clips, as many as together have at least 64 frames; all
    of them if there are fewer. A frame alone is none."""
    return _enough([clip[start : start + _WINDOW] for clip in clips for start in range(0, len(clip) - 1, _WINDOW)])


def _enough(runs: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """As many of these runs, evenly spread, as together have at least 64 frames; all of them if there are fewer."""
    frames = sum(len(run) for run in runs)
    return evenly(runs, -(-FRAMES * len(runs) // frames)) if runs else []
