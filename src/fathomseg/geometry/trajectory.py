"""How far a predicted camera trajectory is from the true one: snippet ATE, KITTI odometry errors, relative pose errors.

A trajectory is `world_T_cam`, float64 of n x 4 x 4, in metres: the pose of every frame, camera to world. Each measure
moves nothing but what it says it aligns; monocular predictions have no scale, so all of them can align that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float64

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.text import read_text

Poses = Float64[np.ndarray, "n 4 4"]
Alignment = Literal["none", "scale", "7dof"]

SNIPPET: Final = 5
"""Frames of a snippet in the evaluation of Zhou et al. 2017."""
SEGMENTS_M: Final = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
"""Lengths of the segments of the KITTI odometry benchmark, in metres."""
MOVES_M: Final = 0.05
"""From here on a step has a direction, in metres."""

MEANING: Final = {
    "ate_m": "root mean square position error within snippets of 5 frames, each seen from its first camera and "
    "scaled to fit best; metres, mean over all overlapping snippets",
    "ate_std_m": "standard deviation of the same over the snippets",
    "ate_zhou_m": "the same with the root of the SUM of squares divided by the number of frames, as the evaluation of "
    "Zhou et al. 2017 and its successors print it: smaller by the square root of 5",
    "t_rel_percent": "KITTI odometry translation error over segments of 100 to 800 m, after one alignment of the whole "
    "trajectory; percent; null if the drive is shorter than 100 m",
    "r_rel_deg_per_100m": "KITTI odometry rotation error over the same segments; degrees per 100 m",
    "segments": "how many segments the two numbers above are the mean of",
    "rotation_deg": "angle between predicted and true rotation from one frame to the next; degrees, mean",
    "direction_deg": "angle between predicted and true direction of travel from one frame to the next; degrees, mean "
    "over frames that move at least 5 cm; no predicted motion counts as 90",
    "scale": "true metres per predicted unit of the alignment of the whole trajectory",
    "frames": "number of poses",
}
"""What each key of `trajectory_scores` means; written beside the numbers."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]

    def poses(self, world_T_cam: Poses) -> Poses:
        """The trajectory moved as a whole; rotations stay rotations."""
        moved = world_T_cam.copy()
        moved[:, :3, :3] = self.rotation @ world_T_cam[:, :3, :3]
        moved[:, :3, 3] = self.scale * world_T_cam[:, :3, 3] @ self.rotation.T + self.translation
        return moved


def chain(before_T_after: Poses) -> Float64[np.ndarray, "n+1 4 4"]:
    """The n + 1 poses `world_T_cam` that n relative motions add up to, starting at the identity."""
    poses = [np.eye(4)]
    for step in before_T_after:
        poses.append(poses[-1] @ step)
    return np.stack(poses)


def steps(world_T_cam: Poses) -> Float64[np.ndarray, "n-1 4 4"]:
    """The n - 1 relative motions `before_T_after` between neighbouring poses; the inverse of `chain`."""
    moved: Float64[np.ndarray, "n-1 4 4"] = inverse(world_T_cam[:-1]) @ world_T_cam[1:]
    return moved


def inverse(poses: Float64[np.ndarray, "*n 4 4"]) -> Float64[np.ndarray, "*n 4 4"]:
    """The inverse rigid transforms: R^T and -R^T t."""
    rotation = poses[..., :3, :3].swapaxes(-1, -2)
    result = np.zeros_like(poses)
    result[..., :3, :3] = rotation
    result[..., :3, 3:] = -rotation @ poses[..., :3, 3:]
    result[..., 3, 3] = 1
    return result


def umeyama(source: Float64[np.ndarray, "n 3"], target: Float64[np.ndarray, "n 3"]) -> Similarity:
    """The similarity that maps `source` onto `target` with the least squared error (Umeyama, PAMI 1991, eq. 40-43).

    Where the points do not determine the rotation (a straight line), it is one of the best. Points that do not move
    have no scale; it is then 1.
    """
    mean_source, mean_target = source.mean(0), target.mean(0)
    a, b = source - mean_source, target - mean_target
    u, singular, vt = np.linalg.svd(b.T @ a / len(source))
    sign = np.array([1.0, 1.0, np.linalg.det(u) * np.linalg.det(vt)]).round()  # -1: a reflection would fit better
    rotation = u * sign @ vt
    variance = float((a**2).sum() / len(source))
    scale = float(singular @ sign) / variance if variance > 0 else 1.0
    return Similarity(scale, rotation, mean_target - scale * rotation @ mean_source)


def align(predicted: Poses, truth: Poses, how: Alignment) -> tuple[Poses, float]:
    """The predicted trajectory aligned to the true one as a whole, and the scale (true metres per predicted unit).

    With "none" and "scale" it begins at the identity, and the scale is the least-squares factor between the positions
    seen from the first camera. "7dof" moves it into the truth's world by `umeyama`.
    """
    _check(predicted, truth)
    if how == "7dof":
        similarity = umeyama(predicted[:, :3, 3], truth[:, :3, 3])
        return similarity.poses(predicted), similarity.scale
    predicted, truth = from_first(predicted), from_first(truth)
    scale = _scale(predicted[:, :3, 3], truth[:, :3, 3]).item() if how == "scale" else 1.0
    return Similarity(scale, np.eye(3), np.zeros(3)).poses(predicted), scale


def from_first(world_T_cam: Poses) -> Poses:
    """The same trajectory seen from its first camera, which becomes the identity."""
    moved: Poses = inverse(world_T_cam[0]) @ world_T_cam
    return moved


def snippet_errors(predicted: Poses, truth: Poses, length: int = SNIPPET) -> Float64[np.ndarray, " snippets"]:
    """Root mean square position error in metres of every `length` consecutive frames (Zhou et al., CVPR 2017).

    Each snippet is seen from its first camera and scaled by the factor that fits best; a negative one, which would
    forgive driving backwards, counts as 0. Raises `FathomError` if there are fewer frames than that.
    """
    _check(predicted, truth)
    if len(truth) < length:
        raise FathomError(f"A snippet has {length} frames, but the trajectory only {len(truth)}; give a longer one.")
    windows = np.arange(len(truth) - length + 1)[:, None] + np.arange(length)
    p, t = ((inverse(poses[windows[:, :1]]) @ poses[windows])[..., :3, 3] for poses in (predicted, truth))
    errors: Float64[np.ndarray, " snippets"] = np.sqrt(((_scale(p, t) * p - t) ** 2).sum(2).mean(1))
    return errors


def segment_errors(
    predicted: Poses, truth: Poses, lengths_m: Sequence[float] = SEGMENTS_M, every: int = 10
) -> Float64[np.ndarray, "segments 2"]:
    """Translation (metres per metre) and rotation (radians per metre) errors of the KITTI odometry benchmark.

    A segment begins at every tenth frame and ends at the first frame more than its length further along the true path
    (Geiger et al., CVPR 2012). Nothing is aligned here; see `align`. Empty if the drive is too short.
    """
    _check(predicted, truth)
    travelled = np.concatenate([[0.0], np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).cumsum()])
    starts = np.repeat(np.arange(0, len(truth), every), len(lengths_m))
    lengths = np.tile(np.asarray(lengths_m, np.float64), len(starts) // len(lengths_m))
    ends = np.searchsorted(travelled, travelled[starts] + lengths, side="right")
    inside = ends < len(truth)
    starts, ends, lengths = starts[inside], ends[inside], lengths[inside]
    true, guess = (inverse(poses[starts]) @ poses[ends] for poses in (truth, predicted))
    error = inverse(guess) @ true
    return np.stack([np.linalg.norm(error[:, :3, 3], axis=1) / lengths, angles(error[:, :3, :3]) / lengths], axis=1)


def step_errors(predicted: Poses, truth: Poses) -> tuple[Float64[np.ndarray, " steps"], Float64[np.ndarray, " moving"]]:
    """Errors from each frame to the next, in degrees: of the rotation, and of the direction of travel.

    The direction is compared only where the truth moves at least `MOVES_M` metres, and needs no scale; a prediction
    that does not move there counts as 90 degrees.
    """
    _check(predicted, truth)
    p, t = steps(predicted), steps(truth)
    rotation = angles(p[:, :3, :3].swapaxes(1, 2) @ t[:, :3, :3])
    a, b = p[:, :3, 3], t[:, :3, 3]
    moving = np.linalg.norm(b, axis=1) >= MOVES_M
    sine, cosine = np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1)
    direction = np.where((a == 0).all(1), np.pi / 2, np.arctan2(sine, cosine))
    return np.degrees(rotation), np.degrees(direction[moving])


def angles(rotations: Float64[np.ndarray, "n 3 3"]) -> Float64[np.ndarray, " n"]:
    """The angle of each rotation, 0..pi radians; by sine and cosine, since arccos has no digits left near 0."""
    skew = rotations - rotations.swapaxes(1, 2)
    sine = np.linalg.norm(np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1), axis=1) / 2
    cosine = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    found: Float64[np.ndarray, " n"] = np.arctan2(sine, cosine)
    return found


def trajectory_scores(predicted: Poses, truth: Poses, how: Alignment = "7dof") -> dict[str, Any]:
    """All measures as plain JSON values, null where undefined; `MEANING` says what the keys mean.

    Raises `FathomError` if the trajectories do not have the same number of poses, at least 5.
    """
    snippets = snippet_errors(predicted, truth)
    aligned, scale = align(predicted, truth, how)
    segments = segment_errors(aligned, truth)
    rotation, direction = step_errors(predicted, truth)
    t_rel, r_rel = segments.mean(0) if len(segments) else (math.nan, math.nan)
    return {
        "ate_m": float(snippets.mean()),
        "ate_std_m": float(snippets.std()),
        "ate_zhou_m": float(snippets.mean() / math.sqrt(SNIPPET)),
        "t_rel_percent": _plain(100 * t_rel),
        "r_rel_deg_per_100m": _plain(100 * np.degrees(r_rel)),
        "segments": len(segments),
        "rotation_deg": float(rotation.mean()),
        "direction_deg": _plain(direction.mean() if len(direction) else math.nan),
        "scale": scale,
        "frames": len(truth),
    }


def read_poses(path: Path) -> Poses:
    """The poses of a KITTI file: 12 numbers a line, the first three rows of `world_T_cam`, metres.

    Raises `DataError` naming the first bad line.
    """
    try:
        lines = read_text(path).rstrip().splitlines()
    except OSError as error:
        raise DataError([Problem(str(path), f"cannot be read ({error})")]) from None
    poses = np.tile(np.eye(4), (len(lines), 1, 1))
    for number, line in enumerate(lines, start=1):
        values = _numbers(line.split())
        if values is None or len(values) != 12:
            reason = "is not a pose; expected 12 finite numbers, the rows of the 3 x 4 matrix world_T_cam"
            raise DataError([Problem(f"{path} line {number}", reason)])
        poses[number - 1, :3] = values.reshape(3, 4)
    return poses


def _scale(
    predicted: Float64[np.ndarray, "*n k 3"], truth: Float64[np.ndarray, "*n k 3"]
) -> Float64[np.ndarray, "*n 1 1"]:
    """The factor of least squared error between positions, not negative; 0 if nothing is predicted to move."""
    squares, products = ((predicted * other).sum((-2, -1), keepdims=True) for other in (predicted, truth))
    factor: Float64[np.ndarray, "*n 1 1"] = np.divide(
        products, squares, out=np.zeros_like(squares), where=squares > 0
    ).clip(0)
    return factor


def _check(predicted: Poses, truth: Poses) -> None:
    for what, poses in (("predicted", predicted), ("true", truth)):
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or len(poses) < 2:
            raise FathomError(f"The {what} poses have shape {poses.shape}; expected n x 4 x 4 with n at least 2.")
        if not np.isfinite(poses).all():
            raise FathomError(f"The {what} poses hold numbers that are not finite.")
    if len(predicted) != len(truth):
        raise FathomError(f"{len(predicted)} predicted poses for {len(truth)} true ones; give one for every frame.")


def _numbers(words: Sequence[str]) -> Float64[np.ndarray, " n"] | None:
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)
