"""`fathom evaluate`: how good a run is, at the native size of the labels, as numbers and as a page to look at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.errors import FathomError
from fathomseg.evaluation.scoring import FromNetwork, Source, evaluate_network, processes, score
from fathomseg.evaluation.stored import FromFolder
from fathomseg.inference.card import WEIGHTS, load_card
from fathomseg.inference.predictor import Inference, Window, load, trained_inference
from fathomseg.io.progress import progress
from fathomseg.metrics.segmentation import MEANING
from fathomseg.report.examples import examples
from fathomseg.report.page import write_page
from fathomseg.report.scores import show, write_scores
from fathomseg.stages import evaluate_depth
from fathomseg.stages.evaluation import (
    check_flip,
    check_limit,
    check_weights,
    is_depth_run,
    is_main,
    own_data,
    own_device,
    result_name,
)
from fathomseg.stages.run_folder import CONFIG, origin
from fathomseg.types import ClassList

__all__ = ["evaluate_network", "evaluate_run", "run"]


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
    flip: bool = False,
    max_depth: float | None = None,
    crop: str | None = None,
) -> int:
    """Score a run folder, or stored predictions, and print the result. Returns the exit code.

    `mode` is for runs that segment, `max_depth` (metres) and `crop` for those that give depth. `flip` averages with the
    predictions of the mirrored images.
    """
    check_weights(weights)
    check_flip(flip, against)
    folder = Path(target)
    if is_depth_run(folder):
        if mode is not None:
            raise FathomError(f"{folder} gives depth, and depth is predicted for the whole image; leave out --mode.")
        evaluate_depth.evaluate_depth_run(
            folder,
            split=split,
            weights=weights,
            dataset=resolve_dataset(data or own_data(folder), overrides),
            against=against,
            protocol=evaluate_depth.protocol(max_depth, crop),
            flip=flip,
            limit=limit,
            report=report,
            as_json=as_json,
        )
        return 0
    if max_depth is not None or crop is not None:
        raise FathomError(f"{folder} gives no depth; --max-depth and --crop are for runs of `fathom pretrain`.")
    for_data = [text for text in overrides if not text.startswith("evaluation.")]
    evaluate_run(
        folder,
        split=split,
        weights=weights,
        inference=trained_inference(folder, mode, flip, overrides),
        dataset=resolve_dataset(data or own_data(folder), for_data),
        against=against,
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
    limit: int | None = None,
    report: bool = True,
    as_json: bool = False,
) -> dict[str, Any]:
    """Score a run on a split of its own dataset (or `dataset`), or the predictions stored in `against`.

    Prints a table (or JSON), and writes `evaluation/<split>/` into the folder: scores.json, images.csv, report.html. In
    a distributed run every rank must call it; rank 0 prints and writes. Raises `FathomError` if the classes of network
    and data differ or no image has a label.
    """
    dataset = dataset or resolve_dataset(own_data(folder))
    trained = trained_inference(folder)
    inference = inference or trained
    how = () if against else _differences(inference, trained)
    split_ids = tuple(dataset.ids(split))
    ids = _labelled(dataset, split, split_ids, limit)
    with processes(own_device(folder)) as device:
        sources: dict[str, Source] = {}
        if against is not None:
            sources["predictions"] = FromFolder(against, len(dataset.classes), split_ids)
        else:
            _same_classes(load_card(folder).class_list, dataset.classes, folder, dataset.name)
            for name in (name for name in WEIGHTS if weights in {name, "both"}):
                sources[name] = FromNetwork(load(folder, name, device, inference), dataset)
        scored = {name: _scored(name, source, dataset, ids, device) for name, source in sources.items()}
        result = {
            "run": str(folder),
            "dataset": dataset.name,
            "split": split,
            "limit": limit,
            "against": None if against is None else str(against),
            "inference": None if against else inference.model_dump(mode="json"),
            "scores": {name: scores for name, (scores, _) in scored.items()},
            "meaning": MEANING,
            "origin": origin(),
        }
        if is_main():
            images = {name: own for name, (_, own) in scored.items()}
            out = folder / "evaluation" / result_name(split, against, limit, how)
            write_scores(out, result, images)
            if report:
                first = next(iter(sources))
                best, worst = examples(sources[first], dataset, images[first])
                write_page(out, result, dataset.classes, best, worst, folder / CONFIG)
            if as_json:
                print(json.dumps(result))
            else:
                show(result, out)
    return result


def _differences(inference: Inference, trained: Inference) -> list[str]:
    """A word for each setting that is not the run's own; they tell the folders of its results apart."""
    size = "trained-size" if inference.size is None else "{}x{}".format(*inference.size)
    words = {"mode": inference.mode, "size": size, "window": _word(inference.window)}
    words["flip"] = "flip" if inference.flip else "no-flip"
    return [word for name, word in words.items() if getattr(inference, name) != getattr(trained, name)]


def _word(window: Window) -> str:
    """A window as a part of a folder's name."""
    size = "" if window.size is None else "{}x{}-".format(*window.size)
    return f"window-{size}stride-{window.stride:.4g}"


def _labelled(dataset: Dataset, split: str, ids: Sequence[str], limit: int | None) -> list[str]:
    check_limit(limit)
    labelled = [id for id in ids if dataset.has_label(id)]
    if not labelled:
        raise FathomError(
            f"None of the {len(ids)} images of split {split!r} of {dataset.name} has a label to be scored against."
            f" Give another --split ({', '.join(dataset.splits)}) or --data."
        )
    return labelled[:limit]


def _same_classes(run: ClassList, data: ClassList, folder: Path, name: str) -> None:
    """The indices of network and labels must mean the same; colours may differ."""
    if run.names == data.names:
        return
    pairs = zip(run.names, data.names, strict=False)
    lines = [f"  class {i}: {a!r} in the run, {b!r} in the data" for i, (a, b) in enumerate(pairs) if a != b]
    for names, other, where in ((run.names, data.names, "run"), (data.names, run.names, "data")):
        lines += [f"  class {i}: {names[i]!r} only in the {where}" for i in range(len(other), len(names))]
    raise FathomError(
        f"{folder} was trained on {len(run)} classes that are not the {len(data)} classes of {name}:\n"
        + "\n".join(lines[:10] + ["  ..."] * (len(lines) > 10))
        + "\nScore it on data with the same class list, in the same order."
    )


def _scored(
    name: str, source: Source, dataset: Dataset, ids: Sequence[str], device: torch.device
) -> tuple[dict[str, Any], dict[str, float | None]]:
    """Score one source, with a progress bar on a terminal."""
    with progress(f"scoring {name}", len(ids)) as tick:
        return score(source, dataset, ids, device, tick)
