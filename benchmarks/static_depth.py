"""How right the depth of a run is where nothing but the camera moves, from video with known poses and no depth.

    python benchmarks/static_depth.py RUN DATASET [KEY=VALUE ...] [--split all] [--frames 40] [--last 200]
                                      [--sky RUN] [--out FILE]

The depth to compare with is a plane sweep (Collins 1996): of 160 inverse depths the one at which frames before, and
frames after, look the same as the frame, by zero-mean normalised differences in windows of 9 x 9. It counts where

- before and after, which are independent, agree to 5 percent: neither hidden nor chance;
- a tenth of its depth moves the farthest frame by more than a pixel: not sky, not straight ahead;
- the frame has texture, and no other depth explains it nearly as well.

Of a kilometre of street this is an eighth of the pixels, edges and near things above all; where the camera stands,
none. Cars that drive along with a constant velocity are wrong and look right to both sides. --frames are evenly spread
over the last frames (--last) of each clip with poses, which a training may leave out (`data.val`). Scores as `fathom
evaluate`, median scaling.

--sky gives a run that predicts a class `sky`: where it is sure of it, in as many frames of all clips, how many times as
far as everything else that is predicted to be, by the medians of each frame; sky is to be far, and moves nowhere.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

import fathomseg
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.data.places import evenly
from fathomseg.evaluation.motion import clips
from fathomseg.inference.predictor import Predictor
from fathomseg.metrics.depth import DepthProtocol, DepthScores
from fathomseg.training.run_folder import origin

NEAREST_M, FARTHEST_M, PLANES = 2.0, 60.0, 160
OFFSETS: Final = (1, 2, 4)
"""How many frames before and after are looked at."""
WINDOW: Final = 9
AGREE: Final = 0.05
TEXTURE: Final = 4.0
"""The least standard deviation of grey values (0..255) in a window."""

SURE, LEAST_SKY = 0.9, 0.01
"""Confidence from which on a pixel is sky, and the share of these from which on a frame counts."""

APART, DISTINCT, ALIKE = 5, 0.8, 0.5
"""Planes within so many steps are the same answer; the best of all others must cost this much more, and the best itself
no more than this mean difference of normalised grey values."""

Map = Float32[np.ndarray, "h w"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("settings", nargs="*", default=[])
    parser.add_argument("--split", default="all")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--last", type=int, default=200)
    parser.add_argument("--sky", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    dataset = resolve_dataset(arguments.data, arguments.settings)
    predictor = fathomseg.load(arguments.run, tasks=("depth",))
    scores, share = DepthScores(DepthProtocol(max_depth=FARTHEST_M)), []
    for id, truth in swept(dataset, dataset.ids(arguments.split), arguments.frames, arguments.last):
        depth = predictor.predict(dataset.image(id)).depth
        assert depth is not None, "the task was asked for"
        scores.update(id, torch.from_numpy(depth), torch.from_numpy(truth))
        share.append(float((truth > 0).mean()))
    result = {
        "claim": "depth of static pixels against a plane sweep with known poses",
        "run": arguments.run.name,
        "data": dataset.name,
        "frames": len(share),
        "share_of_pixels": sum(share) / len(share),
        "scores": scores.result(),
        "origin": origin(),
    }
    if arguments.sky:
        result["sky"] = how_far_sky_is(dataset, arguments.split, arguments.frames, predictor, arguments.sky)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = {key: result[key] for key in ("run", "frames", "share_of_pixels", "sky") if key in result}
    print(json.dumps(shown | result["scores"]["median"]))


def how_far_sky_is(dataset: Dataset, split: str, frames: int, predictor: Predictor, run: Path) -> dict[str, Any]:
    """Median over frames of: median depth of the sky / median depth of the rest; and the least of it in nine of ten."""
    segmenter = fathomseg.load(run, tasks=("segmentation",))
    sky = segmenter.card.classes.index("sky")
    times = []
    for id in evenly(dataset.ids(split), frames):
        image = dataset.image(id)
        seen, depth = segmenter.predict(image), predictor.predict(image).depth
        assert depth is not None, "the task was asked for"
        assert seen.label is not None, "the task was asked for"
        assert seen.confidence is not None, "it comes with labels"
        where = (seen.label == sky) & (seen.confidence > SURE)
        if where.mean() > LEAST_SKY:
            times.append(float(np.median(depth[where]) / np.median(depth[~where])))
    tenth, median = np.quantile(times, (0.1, 0.5)) if times else (float("nan"),) * 2
    return {"frames": len(times), "times_as_far": float(median), "nine_of_ten_at_least": float(tenth), "by": run.name}


def swept(dataset: Dataset, ids: Sequence[str], frames: int, last: int) -> Iterator[tuple[str, Map]]:
    """Frames and their depth by plane sweep, in metres; 0 = not known."""
    reach = max(OFFSETS)
    able = [
        (clip, place)
        for clip in clips(dataset, ids)
        for place in range(max(reach, len(clip) - last), len(clip) - reach)
    ]
    for clip, place in evenly(able, frames):
        sides = ([clip[place - k] for k in OFFSETS], [clip[place + k] for k in OFFSETS])
        yield clip[place], agreed(dataset, clip[place], sides)


def agreed(dataset: Dataset, id: str, sides: Sequence[Sequence[str]]) -> Map:
    """The depth two sets of other frames agree on."""
    camera = dataset.camera(id)
    assert camera is not None, "--data must know its camera"
    target, K = _grey(dataset, id), camera.matrix()
    found = [
        sweep(target, [_grey(dataset, other) for other in others], motions(dataset, id, others), K) for others in sides
    ]
    mean = 2 / (1 / found[0] + 1 / found[1])
    moves = np.maximum.reduce([parallax(mean, motions(dataset, id, others)[-1], K) for others in sides])
    known = (np.abs(found[0] - found[1]) < AGREE * mean) & (moves > 1) & _textured(target)
    depth: Map = np.where(known & (mean > NEAREST_M) & (mean < FARTHEST_M), mean, 0).astype(np.float32)
    return depth


def motions(dataset: Dataset, id: str, others: Sequence[str]) -> list[Float64[np.ndarray, "4 4"]]:
    """other_T_target of each."""
    here, there = dataset.world_T_cam(id), [dataset.world_T_cam(other) for other in others]
    assert here is not None, "clips are made of frames with poses"
    return [np.linalg.inv(pose) @ here for pose in there if pose is not None]


def sweep(target: Map, others: Sequence[Map], poses: Sequence[Float64[np.ndarray, "4 4"]], K: np.ndarray) -> Map:
    """z of the plane, parallel to the image, on which the others look most like the target, to a part of a step."""
    inverse = np.linspace(1 / FARTHEST_M, 1 / NEAREST_M, PLANES)
    reference, size = _normalised(target), target.shape[::-1]
    sources = [_normalised(other) for other in others]
    costs = np.empty((PLANES, *target.shape), np.float32)
    for number, q in enumerate(inverse):
        total = np.zeros(target.shape, np.float32)
        for source, pose in zip(sources, poses, strict=True):
            # of the plane z = 1 / q: X' = (R + t (0, 0, q)) X
            homography = K @ (pose[:3, :3] + np.outer(pose[:3, 3], (0, 0, q))) @ np.linalg.inv(K)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            warped = cv2.warpPerspective(
                source, homography, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=9
            )
            total += np.minimum(np.abs(warped - reference), 2.0)
        costs[number] = cv2.boxFilter(total, -1, (WINDOW, WINDOW))
    least = costs.argmin(0)
    best = least.clip(1, PLANES - 2)
    before, at, after = (np.take_along_axis(costs, (best + k)[None], 0)[0] for k in (-1, 0, 1))
    curve = before - 2 * at + after
    offset = np.where(curve > 1e-6, 0.5 * (before - after) / np.maximum(curve, 1e-6), 0).clip(-0.5, 0.5)
    elsewhere = np.abs(np.arange(PLANES)[:, None, None] - best) > APART
    unique = at < DISTINCT * np.where(elsewhere, costs, np.inf).min(0)
    alike = at < ALIKE * len(others)
    depth = 1 / (inverse[0] + (best + offset) * (inverse[1] - inverse[0]))
    between = least == best  # what fits best at an end may lie anywhere beyond it
    found: Map = np.where(between & unique & alike, depth, np.nan).astype(np.float32)
    return found


def parallax(depth: Map, pose: Float64[np.ndarray, "4 4"], K: np.ndarray) -> Map:
    """Pixels by which a point moves in the other frame when its depth grows by a tenth."""
    v, u = np.indices(depth.shape, dtype=np.float64)
    rays = np.linalg.inv(K) @ np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    places = []
    for factor in (1.0, 1.1):
        points = K @ (pose[:3, :3] @ (rays * (factor * depth).ravel()) + pose[:3, 3:])
        places.append(points[:2] / np.maximum(points[2], 1e-6))
    moved: Map = np.linalg.norm(places[1] - places[0], axis=0).reshape(depth.shape).astype(np.float32)
    return moved


def _grey(dataset: Dataset, id: str) -> Map:
    grey: Map = cv2.cvtColor(dataset.image(id), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey


def _moments(image: Map) -> tuple[Map, Map]:
    mean = cv2.boxFilter(image, -1, (WINDOW, WINDOW))
    deviation = np.sqrt(np.maximum(cv2.boxFilter(image * image, -1, (WINDOW, WINDOW)) - mean * mean, 0))
    return mean, deviation


def _normalised(image: Map) -> Map:
    mean, deviation = _moments(image)
    normalised: Map = (image - mean) / (deviation + 2)
    return normalised


def _textured(image: Map) -> Bool[np.ndarray, "h w"]:
    textured: Bool[np.ndarray, "h w"] = _moments(image)[1] > TEXTURE
    return textured


if __name__ == "__main__":
    main()
