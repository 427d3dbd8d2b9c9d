"""Scoring the camera motion a pose network predicts against the poses of a dataset, clip by clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor, nn

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.description import CameraEntry
from fathomseg.data.intrinsics import FieldOfView, pinhole
from fathomseg.data.intrinsics import device as device_of
from fathomseg.errors import DataError, Problem
from fathomseg.geometry import trajectory
from fathomseg.geometry.camera import intrinsics
from fathomseg.geometry.pose import se3
from fathomseg.geometry.trajectory import SNIPPET, Poses
from fathomseg.inference.predictor import stacked
from fathomseg.io.prefetch import ahead
from fathomseg.io.ranks import gathered, rank_and_world
from fathomseg.models.norms import evaluating
from fathomseg.types import Camera, Size

Frame = tuple[UInt8[Tensor, "3 h w"], Camera]
"""A frame of a video, and its camera at the same size."""

_BATCH: Final = 8
"""Pairs of frames in one pass of the network."""

MEANING: Final = {
    **trajectory.MEANING,
    "clips": "clips that were scored: runs of at least 5 neighbouring frames with poses",
    "clips_too_short": "shorter runs, which count nowhere",
    "scale": "true metres per predicted unit of the alignment of the whole trajectory by rotation, translation and "
    "scale (Umeyama 1991); over all clips their median",
    "scale_spread": "standard deviation over the clips of that scale divided by its median",
}
"""What each key of `motion_scores` means; written beside the numbers."""


@dataclass(frozen=True, slots=True)
class Drive:
    """The poses of a clip's frames: `world_T_cam`, n x 4 x 4; the predicted ones begin at the identity."""

    ids: tuple[str, ...]
    predicted: Poses
    """Translations in the network's own unit of length."""
    truth: Poses
    """Metres."""


def predict_drives(
    pose: nn.Module,
    dataset: Dataset,
    ids: Sequence[str],
    size: Size,
    device: torch.device | str = "cpu",
    step: int = 1,
    tick: Callable[[], None] = lambda: None,
    camera: Callable[[str], Camera] | None = None,
) -> list[Drive]:
    """Every clip's true poses, and the motions predicted from each frame to the next, chained.

    `pose(first, second, K)` gives axis-angle and translation of second_T_first for RGB frames 0..1 at the working
    `size` (height, width); it lies on `device` and is left as it is. Neighbours are `step` frames apart. `camera`:
    that of a stored image, None = `cameras_of(dataset)`. In a distributed run every rank must call it, and all return
    the same. Raises one `DataError` naming every frame that cannot be read.
    """
    camera = camera or cameras_of(dataset)
    rank, world = rank_and_world()
    problems: list[Problem] = []
    drives: list[Drive] = []
    for clip in clips(dataset, ids, step)[rank::world]:
        motions = predict_motions(pose, _frames(dataset, clip, size, camera, problems, tick), device)
        if len(motions) == len(clip) - 1:  # fewer if a frame could not be read
            truth = np.stack([_pose(dataset, id) for id in clip])
            drives.append(Drive(clip, trajectory.chain(motions), truth))
    if problems := gathered(problems):
        raise DataError(problems)
    place = {id: i for i, id in enumerate(ids)}
    return sorted(gathered(drives), key=lambda drive: place[drive.ids[0]])


def cameras_of(dataset: Dataset, learned: Mapping[str, CameraEntry] | None = None) -> Callable[[str], Camera]:
    """What gives the camera of a stored image: that the dataset knows, else the `learned` one of its device, by its
    name, else one of 65 degrees, as `data.intrinsics` assumes it. Images of a clip without
    a camera share the one found for the first of them."""

    @cache
    def of_clip(clip: str, first: str) -> Camera:
        assumed = pinhole(dataset.size_of(first), FieldOfView().degrees)
        found = (learned or {}).get(device_of(dataset, clip, assumed))
        return assumed if found is None else found.camera()

    firsts: dict[str, str] = {}

    def camera(id: str) -> Camera:
        clip = id.rpartition("/")[0]
        return dataset.camera(id) or of_clip(clip, firsts.setdefault(clip, id))

    return camera


def frame(dataset: Dataset, id: str, size: Size, camera: Callable[[str], Camera]) -> Frame:
    """A frame and its camera at a size. Raises `DataError` if it cannot be read."""
    return stacked([dataset.image(id)], size)[0], camera(id).resized(size)


def frames_apart(dataset: Dataset, before: str, after: str) -> int:
    """How many frames after one frame of a clip another one comes."""
    return next(step for step in count(1) if dataset.neighbour(before, step) == after)


def clips(dataset: Dataset, ids: Sequence[str], step: int = 1, posed: bool = True) -> list[tuple[str, ...]]:
    """The runs of frames among these samples, of those with poses if they are to be `posed`, `step` frames apart; a
    frame alone is none."""
    among = {id for id in ids if not posed or dataset.world_T_cam(id) is not None}
    neighbours = ((id, dataset.neighbour(id, step)) for id in ids if id in among)
    after = {id: other for id, other in neighbours if other in among and other is not None}
    followers = set(after.values())
    return [tuple(_run(id, after)) for id in ids if id in after and id not in followers]


@torch.inference_mode()
def predict_motions(
    pose: nn.Module, frames: Iterable[Frame], device: torch.device | str
) -> Float64[np.ndarray, "n 4 4"]:
    """The motion `before_T_after` from each frame to the next; never holds more than a few frames."""
    motions = [np.zeros((0, 4, 4))]
    with evaluating(pose):
        for window in _windows(frames, _BATCH + 1):
            images = torch.stack([image for image, _ in window]).to(device).float() / 255
            K = intrinsics([camera for _, camera in window[:-1]], device)
            axis_angle, translation = pose(images[:-1], images[1:], K)
            after_T_before = se3(axis_angle.double(), translation.double()).cpu().numpy()
            motions.append(trajectory.inverse(after_T_before))
    return np.concatenate(motions)


def motion_scores(drives: Sequence[Drive]) -> dict[str, Any]:
    """All measures over all clips ("all") and for each one ("clips", by its first frame), as plain JSON values.

    Errors are means over the snippets, steps or segments of all clips, so a long clip counts more than a short one.
    Keys are explained by `MEANING`; null where there is nothing to measure.
    """
    scored = [drive for drive in drives if len(drive.ids) >= SNIPPET]
    rows = [{"clip": drive.ids[0], **trajectory.trajectory_scores(drive.predicted, drive.truth)} for drive in scored]
    snippets = _joined([trajectory.snippet_errors(drive.predicted, drive.truth) for drive in scored])
    aligned = [trajectory.align(drive.predicted, drive.truth, "7dof")[0] for drive in scored]
    segments = [trajectory.segment_errors(poses, drive.truth) for poses, drive in zip(aligned, scored, strict=True)]
    angles = [trajectory.step_errors(drive.predicted, drive.truth) for drive in scored]
    scales = np.array([row["scale"] for row in rows])
    ate, r_rel = _mean(snippets), _mean(_joined([part[:, 1] for part in segments]))
    over_all = {
        "ate_m": ate,
        "ate_std_m": float(snippets.std()) if snippets.size else None,
        "ate_zhou_m": None if ate is None else ate / math.sqrt(SNIPPET),
        "t_rel_percent": _mean(100 * _joined([part[:, 0] for part in segments])),
        "r_rel_deg_per_100m": None if r_rel is None else 100 * math.degrees(r_rel),
        "segments": sum(len(part) for part in segments),
        "rotation_deg": _mean(_joined([rotation for rotation, _ in angles])),
        "direction_deg": _mean(_joined([direction for _, direction in angles])),
        "scale": float(np.median(scales)) if rows else None,
        "scale_spread": _spread(scales),
        "frames": sum(len(drive.ids) for drive in scored),
        "clips": len(scored),
        "clips_too_short": len(drives) - len(scored),
    }
    return {"all": over_all, "clips": rows}


def _frames(
    dataset: Dataset,
    clip: Sequence[str],
    size: Size,
    camera: Callable[[str], Camera],
    problems: list[Problem],
    tick: Callable[[], None],
) -> Iterator[Frame]:
    """The frames at working size, those that cannot be read left out and named in `problems`."""
    for _, read in ahead(lambda id: frame(dataset, id, size, camera), clip):
        try:
            yield read.result()
        except DataError as error:
            problems += error.problems
        tick()


def _windows(frames: Iterable[Frame], length: int) -> Iterator[list[Frame]]:
    """Runs of at most `length` frames, each beginning with the last frame of the one before."""
    window: list[Frame] = []
    for one in frames:
        window.append(one)
        if len(window) == length:
            yield window
            window = window[-1:]
    if len(window) > 1:
        yield window


def _run(id: str, after: dict[str, str]) -> Iterator[str]:
    yield id
    while id in after:
        id = after[id]
        yield id


def _pose(dataset: Dataset, id: str) -> Float64[np.ndarray, "4 4"]:
    pose = dataset.world_T_cam(id)
    assert pose is not None, "clips are made of frames with poses"
    return pose


def _joined(parts: Sequence[Float64[np.ndarray, " _"]]) -> Float64[np.ndarray, " n"]:
    return np.concatenate([np.zeros(0), *parts])


def _mean(values: Float64[np.ndarray, " n"]) -> float | None:
    return float(values.mean()) if values.size else None


def _spread(scales: Float64[np.ndarray, " n"]) -> float | None:
    """Relative standard deviation; null where it means nothing."""
    middle = float(np.median(scales)) if scales.size else 0.0
    return float(scales.std() / middle) if middle > 0 else None
