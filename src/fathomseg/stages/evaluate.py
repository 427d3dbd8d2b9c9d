"""`fathom evaluate`: how good a run is at all of its tasks that the data has truth for, in numbers and as a page."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.errors import FathomError
from fathomseg.evaluation.motion import MEANING, clips, motion_scores, predict_drives
from fathomseg.evaluation.ranks import processes, rank_and_world
from fathomseg.evaluation.scoring import FromNetwork, Source, score, with_truth
from fathomseg.evaluation.stored import FromFolder, stored_task
from fathomseg.geometry.trajectory import SNIPPET
from fathomseg.inference.card import WEIGHTS, ModelCard, load_card, load_pose
from fathomseg.inference.onnx import is_onnx
from fathomseg.inference.predictor import load
from fathomseg.inference.settings import Inference, trained_inference
from fathomseg.io.progress import progress
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.report.examples import examples
from fathomseg.report.page import sections, write_page
from fathomseg.report.scores import show, write_scores
from fathomseg.stages.run_folder import CONFIG, origin, own_data, own_device
from fathomseg.tasks.base import Task

MOTION: Final = "motion"
"""What camera motion is called beside the tasks."""


def run(
    target: str,
    *,
    data: str | None,
    overrides: Sequence[str],
    split: str,
    weights: str,
    mode: str | None,
    against: Path | None,
    as_json: bool,
    report: bool,
    limit: int | None,
    tasks: str | None = None,
    flip: bool = False,
    max_depth: float | None = None,
    crop: str | None = None,
) -> int:
    """Score a run folder, an exported file, or stored predictions, and print the result. Returns the exit code.

    `tasks` is a list with commas; `mode` is for tasks predicted in windows, `max_depth` (metres) and `crop` for depth.
    """
    folder = Path(target)
    dataset = resolve_dataset(data or own_data(folder), [o for o in overrides if not o.startswith("evaluation.")])
    names = None if tasks is None else [name.strip() for name in tasks.split(",")]
    chosen = _chosen(folder, load_card(folder), names)[0].values()
    if against is not None and (flip or mode is not None):
        raise FathomError(f"The predictions in {against} are scored as they are; leave out --flip and --mode.")
    if mode is not None and not any(task.windowed for task in chosen):
        raise FathomError(
            f"{folder} predicts nothing in windows, and depth always sees the whole image; leave out --mode."
        )
    if (max_depth is not None or crop is not None) and not any(task.depth_range for task in chosen):
        raise FathomError(f"No depth of {folder} is scored; --max-depth and --crop are for runs with the task depth.")
    given: dict[str, Any] = {k: v for k, v in (("max_depth", max_depth), ("crop", crop)) if v is not None}
    evaluate_run(
        folder,
        split=split,
        weights=weights,
        inference=trained_inference(folder, mode, flip, overrides),
        dataset=dataset,
        against=against,
        tasks=names,
        protocol=DepthProtocol(**given),
        limit=limit,
        report=report,
        as_json=as_json,
    )
    return 0


def evaluate_run(
    folder: Path,
    *,
    split: str = "val",
    weights: str = "both",
    inference: Inference | None = None,
    dataset: Dataset | None = None,
    against: Path | None = None,
    tasks: Collection[str] | None = None,
    protocol: DepthProtocol | None = None,
    limit: int | None = None,
    report: bool = True,
    as_json: bool = False,
    optional: bool = False,
) -> dict[str, Any]:
    """Score a run on a split of its own dataset (or `dataset`), or the predictions of one task stored in `against`.

    `folder` may be a file that `fathom export` wrote; what is written goes into FILE.evaluation/ beside it then.

    Every task the split has truth for is scored, or those named in `tasks`; camera motion ("motion" among them) where
    the run has a pose network and the split clips with poses. `limit` takes the first images with a truth, and the
    first frames. Prints tables (or JSON), and writes `evaluation/<split>/` into the folder: scores.json, images.csv,
    report.html. In a distributed run every rank must call it; rank 0 prints and writes. Raises `FathomError` if nothing
    can be measured, saying what is missing; if the scores are `optional`, returns {} then.
    """
    if not (names := [name for name in WEIGHTS if weights in {name, "both"}]):
        raise FathomError(f"There are no weights {weights!r}; choose from {', '.join(WEIGHTS)}, both.")
    exported = is_onnx(folder)
    if limit is not None and limit < 1:
        raise FathomError(f"--limit is {limit}; give the number of images to score, at least 1.")
    dataset = dataset or resolve_dataset(own_data(folder))
    card, usual = load_card(folder), trained_inference(folder)
    inference, protocol = inference or usual, protocol or DepthProtocol()
    chosen, narrowed = _chosen(folder, card, tasks)
    if optional and split not in dataset.splits:
        return {}
    split_ids = tuple(dataset.ids(split))
    if against is not None:
        stored = stored_task(against, chosen)
        chosen = {stored.name: stored}
    ids, known = with_truth(dataset, chosen, split_ids, limit)
    moves = card.pose is not None and against is None and (tasks is None or MOTION in tasks)
    moving = split_ids[:limit] if moves and any(len(clip) >= SNIPPET for clip in clips(dataset, split_ids)) else ()
    if not known and not moving:
        if optional:
            return {}
        raise FathomError(_nothing_to_measure(folder, card, chosen, dataset, split, against))
    with processes(own_device(folder)) as device:
        sources: dict[str, Source] = {}
        if against is not None:
            sources["predictions"] = FromFolder(against, stored, dataset, split_ids, protocol)
        elif known:
            for misfit in filter(None, (task.misfit(card.classes, dataset) for task in known.values())):
                raise FathomError(f"{folder} {misfit}")
            if exported:
                sources["onnx"] = FromNetwork(load(folder, inference=inference, tasks=known), dataset)
            else:
                sources |= {name: FromNetwork(load(folder, name, device, inference, known), dataset) for name in names}
        scored, drives = {}, []
        for name, source in sources.items():
            with progress(f"scoring {name}", len(ids)) as tick:
                scored[name] = score(source, dataset, ids, known, device, protocol, tick, card.shared_classes)
        if moving:
            with progress("camera motion", len(moving)) as tick:
                drives = predict_drives(load_pose(folder).to(device), dataset, moving, card.size, device, tick=tick)
        result = {
            "run": str(folder),
            "dataset": dataset.name,
            "split": split,
            "limit": limit,
            "against": None if against is None else str(against),
            "size": list(inference.size or card.size),
            "inference": None if against else inference.model_dump(mode="json"),
            "scores": {name: {task: one.result for task, one in found.items()} for name, found in scored.items()},
            "motion": motion_scores(drives) if drives else None,
            "meaning": {
                **{name: task.meaning for name, task in known.items()},
                **({MOTION: MEANING} if drives else {}),
            },
            "origin": origin(),
        }
        if rank_and_world()[0] == 0:  # scores of another kind never take the place of the run's own
            parts = [split, *([against.resolve().name] if against else []), *([f"first{limit}"] if limit else [])]
            how = [*narrowed, *([] if against else inference.differences(usual)), *protocol.differences()]
            place = folder.with_suffix(".evaluation") if exported else folder / "evaluation"
            out = place / "-".join([*parts, *how])
            rows = {name: {task: one.rows for task, one in found.items()} for name, found in scored.items()}
            write_scores(out, result, ids, rows)
            if report:
                name = next(iter(sources), "")
                best = {t: examples(sources[name], dataset, known[t], rows[name][t]) for t in rows.get(name, ())}
                write_page(out, result, sections(result, dataset, best, drives), folder / CONFIG)
            if as_json:
                print(json.dumps(result))
            else:
                show(result, sections(result, dataset), out)
    return result


def _chosen(folder: Path, card: ModelCard, names: Collection[str] | None) -> tuple[dict[str, Task], list[str]]:
    """The tasks of these names (or all), and the names if they are not all. Raises `FathomError` for one it lacks."""
    offered = [*card.tasks, *([] if card.pose is None else [MOTION])]
    if unknown := [name for name in names or () if name not in offered]:
        raise FathomError(f"{folder} cannot be scored on {unknown[0]!r}; --tasks may name {', '.join(offered)}.")
    named = [name for name in offered if names is None or name in names]
    return {n: task for n, task in card.tasks.items() if n in named}, [] if named == offered else named


def _nothing_to_measure(
    folder: Path, card: ModelCard, tasks: Mapping[str, Task], dataset: Dataset, split: str, against: Path | None
) -> str:
    """The message that says what is missing."""
    ids = dataset.ids(split)
    reasons = (
        [f"none of its {len(ids)} images has {' or '.join(t.truth_kind for t in tasks.values())}"] if tasks else []
    )
    if card.pose is not None:
        short = f"no clip of it has poses of {SNIPPET} frames or more"
        reasons.append(short if against is None else "stored predictions tell nothing of camera motion")
    elif clips(dataset, ids):
        reasons.append(f"{folder} has no network for camera motion")
    return (
        f"Nothing in split {split!r} of {dataset.name} can be measured: {', and '.join(reasons)}. Give another --split "
        f"({', '.join(dataset.splits)}) or --data."
    )
