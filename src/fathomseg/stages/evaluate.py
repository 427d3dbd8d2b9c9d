"""`fathom evaluate`: how good a run is at all of its tasks that the data has truth for, in numbers and as a page."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.errors import FathomError
from fathomseg.evaluation.motion import MEANING, Drive, clips, motion_scores, predict_drives
from fathomseg.evaluation.ranks import processes, rank_and_world
from fathomseg.evaluation.scoring import FromNetwork, Source, score
from fathomseg.evaluation.stored import FromFolder, stored_task
from fathomseg.geometry.trajectory import SNIPPET
from fathomseg.inference.card import WEIGHTS, ModelCard, load_card, load_pose
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
    """Score a run folder, or stored predictions, and print the result. Returns the exit code.

    `tasks` is a list with commas. `mode` is for tasks predicted in windows, `max_depth` (metres) and `crop` for depth.
    `flip` averages with the predictions of the mirrored images.
    """
    folder = Path(target)
    for_data = [text for text in overrides if not text.startswith("evaluation.")]
    dataset = resolve_dataset(data or own_data(folder), for_data)
    names = None if tasks is None else [name.strip() for name in tasks.split(",")]
    chosen = _chosen(folder, load_card(folder), names).values()
    if against is not None and (flip or mode is not None):
        raise FathomError(f"The predictions in {against} are scored as they are; leave out --flip and --mode.")
    if mode is not None and not any(task.windowed for task in chosen):
        raise FathomError(
            f"{folder} predicts nothing in windows, and depth always sees the whole image; leave out --mode."
        )
    if (max_depth is not None or crop is not None) and not any(task.depth_range for task in chosen):
        raise FathomError(f"No depth of {folder} is scored; --max-depth and --crop are for runs with the task depth.")
    given: dict[str, Any] = {"max_depth": max_depth, "crop": crop}
    evaluate_run(
        folder,
        split=split,
        weights=weights,
        inference=trained_inference(folder, mode, flip, overrides),
        dataset=dataset,
        against=against,
        tasks=names,
        protocol=DepthProtocol(**{key: value for key, value in given.items() if value is not None}),
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

    Every task the split has truth for is scored, or those named in `tasks`; camera motion ("motion" among them) where
    the run has a pose network and the split clips with poses. `limit` takes the first images with a truth, and the
    first frames. Prints tables (or JSON), and writes `evaluation/<split>/` into the folder: scores.json, images.csv,
    report.html. In a distributed run every rank must call it; rank 0 prints and writes. Raises `FathomError` if there is
    nothing to measure, saying what is missing; if the scores are `optional`, returns {} then.
    """
    _check(weights, limit)
    dataset = dataset or resolve_dataset(own_data(folder))
    card, usual = load_card(folder), trained_inference(folder)
    inference, protocol, chosen = inference or usual, protocol or DepthProtocol(), _chosen(folder, card, tasks)
    if optional and split not in dataset.splits:
        return {}
    split_ids = tuple(dataset.ids(split))
    if against is not None:
        stored = stored_task(against, chosen)
        chosen = {stored.name: stored}
    ids, known = _with_truth(dataset, chosen, split_ids, limit)
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
            if misfits := [misfit for task in known.values() if (misfit := task.misfit(card.classes, dataset))]:
                raise FathomError(f"{folder} {misfits[0]}")
            names = [name for name in WEIGHTS if weights in {name, "both"}]
            sources |= {name: FromNetwork(load(folder, name, device, inference, known), dataset) for name in names}
        scored = {}
        for name, source in sources.items():
            with progress(f"scoring {name}", len(ids)) as tick:
                scored[name] = score(source, dataset, ids, known, device, protocol, tick)
        drives = _drives(folder, card, dataset, moving, device)
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
            "meaning": {name: dict(task.meaning) for name, task in known.items()}
            | ({MOTION: MEANING} if drives else {}),
            "origin": origin(),
        }
        if rank_and_world()[0] == 0:
            words = [*_narrowed(card, tasks), *([] if against else inference.differences(usual))]
            out = folder / "evaluation" / _result_name(split, against, limit, [*words, *protocol.differences()])
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


def _check(weights: str, limit: int | None) -> None:
    """Raise `FathomError` for weights there are not, and for a limit below 1."""
    if weights not in {*WEIGHTS, "both"}:
        raise FathomError(f"There are no weights {weights!r}; choose from {', '.join(WEIGHTS)}, both.")
    if limit is not None and limit < 1:
        raise FathomError(f"--limit is {limit}; give the number of images to score, at least 1.")


def _offered(card: ModelCard) -> list[str]:
    """Everything a run can be scored on."""
    return [*card.tasks, *([] if card.pose is None else [MOTION])]


def _chosen(folder: Path, card: ModelCard, names: Collection[str] | None) -> dict[str, Task]:
    """The tasks of these names, or all. Raises `FathomError` for one the run lacks."""
    offered = _offered(card)
    if unknown := [name for name in names or () if name not in offered]:
        raise FathomError(f"{folder} cannot be scored on {unknown[0]!r}; --tasks may name {', '.join(offered)}.")
    return {name: task for name, task in card.tasks.items() if names is None or name in names}


def _narrowed(card: ModelCard, names: Collection[str] | None) -> list[str]:
    """The tasks by name if they are not all there are."""
    offered = _offered(card)
    return [] if names is None or set(names) == set(offered) else [name for name in offered if name in names]


def _with_truth(
    dataset: Dataset, tasks: Mapping[str, Task], ids: Sequence[str], limit: int | None
) -> tuple[list[str], dict[str, Task]]:
    """The ids to score (all, or the first `limit` that have any truth), and the tasks that have a truth among them."""
    if limit is not None:
        ids = list(islice((id for id in ids if any(task.has_truth(dataset, id) for task in tasks.values())), limit))
    return list(ids), {n: task for n, task in tasks.items() if any(task.has_truth(dataset, id) for id in ids)}


def _drives(folder: Path, card: ModelCard, dataset: Dataset, ids: Sequence[str], device: torch.device) -> list[Drive]:
    """True and predicted trajectories of the clips among `ids`; none if there are no ids."""
    if not ids:
        return []
    with progress("camera motion", len(ids)) as tick:
        return predict_drives(load_pose(folder).to(device), dataset, ids, card.size, device, tick=tick)


def _result_name(split: str, against: Path | None, limit: int | None, how: Sequence[str]) -> str:
    """The folder of the results: scores of something else, or taken in another way (`how`, a word for each difference
    from the run's own), never take the place of the run's own."""
    parts = [split]
    parts += [against.resolve().name] if against else []
    parts += [f"first{limit}"] if limit is not None else []
    return "-".join([*parts, *how])


def _nothing_to_measure(
    folder: Path, card: ModelCard, tasks: Mapping[str, Task], dataset: Dataset, split: str, against: Path | None
) -> str:
    """The message that says what is missing."""
    ids, reasons = dataset.ids(split), []
    if tasks:
        reasons.append(f"none of its {len(ids)} images has a {' or a '.join(t.truth_kind for t in tasks.values())}")
    found = clips(dataset, ids)
    if found and against is not None:
        reasons.append("stored predictions tell nothing of camera motion")
    elif found and card.pose is None:
        reasons.append(f"{folder} has no network for camera motion")
    elif found:
        reasons.append(f"no clip with poses has {SNIPPET} frames or more")
    elif card.pose is not None:
        reasons.append("none of its clips has camera poses")
    return (
        f"Nothing in split {split!r} of {dataset.name} can be measured: {', and '.join(reasons)}. Give another --split "
        f"({', '.join(dataset.splits)}) or --data."
    )
