"""`fathom evaluate` on a depth run: how far depth and camera motion are from the truth, in numbers and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.errors import FathomError
from fathomseg.evaluation import motion as motion_scoring
from fathomseg.evaluation.depth_scoring import (
    DepthPredictions,
    FromDepthNetwork,
    Rows,
    evaluate_depth,
    evaluate_depth_network,
    has_depth,
)
from fathomseg.evaluation.motion import Drive, clips, motion_scores, predict_drives
from fathomseg.evaluation.scoring import processes
from fathomseg.evaluation.stored_depth import DepthFromFolder
from fathomseg.geometry.trajectory import SNIPPET
from fathomseg.inference.card import WEIGHTS, ModelCard, load_card, load_pose
from fathomseg.inference.depth_predictor import load_depth
from fathomseg.io.progress import progress
from fathomseg.metrics import depth as depth_metrics
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.report.depth_examples import DepthExample, depth_examples
from fathomseg.report.depth_page import write_depth_page
from fathomseg.report.depth_scores import show_depth, write_depth_scores
from fathomseg.stages.evaluation import (
    check_flip,
    check_limit,
    check_weights,
    is_main,
    own_data,
    own_device,
    result_name,
)
from fathomseg.stages.run_folder import CONFIG, origin

__all__ = ["evaluate_depth_network", "evaluate_depth_run", "protocol"]


def evaluate_depth_run(
    folder: Path,
    *,
    split: str = "val",
    weights: str = "both",
    dataset: Dataset | None = None,
    against: Path | None = None,
    protocol: DepthProtocol | None = None,
    flip: bool = False,
    limit: int | None = None,
    report: bool = True,
    as_json: bool = False,
    optional: bool = False,
) -> dict[str, Any]:
    """Score a depth run on a split of its own dataset (or `dataset`), or the depth maps stored in `against`.

    Depth is scored where the split has depth, camera motion where it has clips with poses; `limit` takes the first
    images with depth, and the first frames; `flip` averages with the mirrored images. Prints a table (or JSON), and
    writes `evaluation/<split>/` into the folder: scores.json, images.csv, report.html. In a distributed run every rank
    must call it; rank 0 prints and writes. Raises `FathomError` if there is nothing to measure, saying what is missing;
    if the scores are `optional`, returns {} then.
    """
    check_weights(weights)
    check_limit(limit)
    check_flip(flip, against)
    card, dataset = load_card(folder), dataset or resolve_dataset(own_data(folder))
    protocol = protocol or DepthProtocol()
    if optional and split not in dataset.splits:
        return {}
    split_ids = tuple(dataset.ids(split))
    deep = _with_depth(dataset, split_ids, limit)
    moving = split_ids[:limit] if card.pose is not None and against is None and _has_clip(dataset, split_ids) else ()
    if not deep and not moving:
        if optional:
            return {}
        raise FathomError(_nothing_to_measure(folder, card, dataset, split, split_ids, against))
    with processes(own_device(folder)) as device:
        sources = _sources(folder, card, dataset, split_ids, weights, against, protocol, flip, device) if deep else {}
        scored = {name: _scored(name, source, dataset, deep, protocol) for name, source in sources.items()}
        drives = _drives(folder, card, dataset, moving, device)
        result = {
            "run": str(folder),
            "dataset": dataset.name,
            "split": split,
            "limit": limit,
            "against": None if against is None else str(against),
            "size": list(card.size),
            "flip": flip,
            "depth_range": None if card.depth_range is None else list(card.depth_range),
            "scores": {name: scores for name, (scores, _) in scored.items()},
            "motion": motion_scores(drives) if drives else None,
            "meaning": {**depth_metrics.MEANING, **(motion_scoring.MEANING if drives else {})},
            "origin": origin(),
        }
        if is_main():
            out = folder / "evaluation" / result_name(split, against, limit, _differences(protocol, flip))
            write_depth_scores(out, result, {name: rows for name, (_, rows) in scored.items()})
            if report:
                best, worst = _examples(sources, scored, dataset, protocol)
                write_depth_page(out, result, drives, best, worst, folder / CONFIG)
            if as_json:
                print(json.dumps(result))
            else:
                show_depth(result, out)
    return result


def protocol(max_depth: float | None, crop: str | None) -> DepthProtocol:
    """The protocol of the command's options; what is not given has its default. Raises `FathomError`."""
    given: dict[str, Any] = {"max_depth": max_depth, "crop": crop}
    return DepthProtocol(**{key: value for key, value in given.items() if value is not None})


def _differences(protocol: DepthProtocol, flip: bool) -> list[str]:
    """A word for each thing that is not as usual; they tell the folders of results apart."""
    usual = DepthProtocol()
    words = {"min_depth": f"min{protocol.min_depth:g}", "max_depth": f"max{protocol.max_depth:g}"}
    words["crop"] = protocol.crop
    different = [word for name, word in words.items() if getattr(protocol, name) != getattr(usual, name)]
    return [*different, "flip"] if flip else different


def _with_depth(dataset: Dataset, ids: Sequence[str], limit: int | None) -> list[str]:
    """The ids to score: all if any has depth, or the first `limit` that have."""
    if limit is None:
        return list(ids) if any(has_depth(dataset, id) for id in ids) else []
    return list(islice((id for id in ids if has_depth(dataset, id)), limit))


def _has_clip(dataset: Dataset, ids: Sequence[str]) -> bool:
    return any(len(clip) >= SNIPPET for clip in clips(dataset, ids))


def _sources(
    folder: Path,
    card: ModelCard,
    dataset: Dataset,
    ids: tuple[str, ...],
    weights: str,
    against: Path | None,
    protocol: DepthProtocol,
    flip: bool,
    device: torch.device,
) -> dict[str, DepthPredictions]:
    """What is scored, by its name in the results."""
    if against is not None:
        assert card.depth_range is not None, "a network without classes gives disparity"
        return {"predictions": DepthFromFolder(against, ids, card.depth_range, protocol)}
    wanted = (name for name in WEIGHTS if weights in {name, "both"})
    return {name: FromDepthNetwork(load_depth(folder, name, device, flip), dataset) for name in wanted}


def _scored(
    name: str, source: DepthPredictions, dataset: Dataset, ids: Sequence[str], protocol: DepthProtocol
) -> tuple[dict[str, Any], Rows]:
    with progress(f"scoring {name}", len(ids)) as tick:
        return evaluate_depth(source, dataset, ids, protocol, tick)


def _examples(
    sources: Mapping[str, DepthPredictions],
    scored: Mapping[str, tuple[dict[str, Any], Rows]],
    dataset: Dataset,
    protocol: DepthProtocol,
) -> tuple[list[DepthExample], list[DepthExample]]:
    """The best and the worst images of the first kind of weights."""
    for name, source in sources.items():
        return depth_examples(source, dataset, scored[name][1], protocol)
    return [], []


def _drives(folder: Path, card: ModelCard, dataset: Dataset, ids: Sequence[str], device: torch.device) -> list[Drive]:
    """True and predicted trajectories of the clips among `ids`; none if there are no ids."""
    if not ids:
        return []
    with progress("camera motion", len(ids)) as tick:
        return predict_drives(load_pose(folder).to(device), dataset, ids, card.size, device, tick=tick)


def _nothing_to_measure(
    folder: Path, card: ModelCard, dataset: Dataset, split: str, ids: Sequence[str], against: Path | None
) -> str:
    """The message that says what is missing."""
    reasons = [f"none of its {len(ids)} images has depth"]
    if against is not None:
        reasons.append("stored maps tell nothing of camera motion")
    elif card.pose is None:
        reasons.append(f"{folder} has no network for camera motion")
    elif clips(dataset, ids):
        reasons.append(f"no clip with poses has {SNIPPET} frames or more")
    else:
        reasons.append("none of its clips has camera poses")
    return (
        f"Nothing in split {split!r} of {dataset.name} can be measured: {', and '.join(reasons)}. Give another --split "
        f"({', '.join(dataset.splits)}) or --data."
    )
