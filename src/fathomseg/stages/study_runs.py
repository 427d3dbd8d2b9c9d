"""The runs of a study's cells: their commands, output, and what sets them apart from those of other studies."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import yaml

from fathomseg.config import flat, load
from fathomseg.engine.logging import METRICS
from fathomseg.errors import DataError, FathomError
from fathomseg.io.files import CONFIG
from fathomseg.io.owned import clear
from fathomseg.stages.study_config import Training, labelled
from fathomseg.study.folder import LABELLED_HASH, SETTINGS, JobFolder, scores, scores_file
from fathomseg.study.report import redact_paths
from fathomseg.study.runner import Job
from fathomseg.study.table import (
    CLASSES,
    HEADLINES,
    LABEL_BUDGET,
    LABEL_FILE,
    LABEL_SEED,
    MAIN_SCORES,
    SEED,
    Cell,
    Record,
)
from fathomseg.study.terminal import last_step
from fathomseg.text import read_text
from fathomseg.training.phases import trainings_in
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import ORIGIN, labelled_ids, may_change

_OF_A_CELL: Final = frozenset((SEED, LABEL_BUDGET, LABEL_FILE, LABEL_SEED))
"""Settings that differ between cells of an arm; the labelled images are compared by themselves."""


def job(cell: Cell, training: Training, run: Path) -> Job:
    """The command of a training, and how its run is read."""
    allowed = [text for text in training.overrides if may_change(text.partition("=")[0])]
    return Job(
        name=str(cell),
        start=("train", str(training.path), *training.overrides, "--out", str(run)),
        resume=("train", "--resume", str(run), *allowed),
        result=lambda: result(cell, run, training),
    )


def result(cell: Cell, run: Path, training: Training) -> Record | None:
    """What a finished run says: scores in per cent, images, settings, commit, machine. None if it has no scores.

    Of a run in phases, what the last one says, and the steps of all. Labelled images are those of the data it is scored
    on; labels of other data, such as the source of an adaptation, are no part of a budget.
    """
    trainings = list(trainings_in(training.recipe, run).values())
    final = trainings[-1]
    split, tasks = final.evaluation.split or "", final.network.tasks
    if not scores_file(run, split).is_file():
        return None
    all_tasks = scores(run, split, "ema")
    ema, last = (scores(run, split, weights).get("segmentation", {}) for weights in ("ema", "last"))
    made = json.loads((run / ORIGIN).read_text(encoding="utf-8"))
    used = labelled_ids(run, final.streams)
    target = {id for stream, ids in used.items() if final.dataset(stream) == final.data for id in ids}
    return {
        "arm": cell.arm,
        "budget": cell.budget,
        "seed": cell.seed,
        "images": len(target),
        LABELLED_HASH: hashed(id for ids in used.values() for id in ids),
        "steps": sum(one.train.steps for one in trainings),
        "miou": _percent(ema.get("miou")),
        "miou_last": _percent(last.get("miou")),
        "boundary_miou": _percent(ema.get("boundary_miou")),
        "pixel_accuracy": _percent(ema.get("pixel_accuracy")),
        "ece": ema.get("ece"),
        "scored_images": max((one["images"] for one in all_tasks.values()), default=0),
        MAIN_SCORES: {name: asdict(tasks[name].main_score(one)) for name, one in all_tasks.items() if name in tasks},
        CLASSES: {row["name"]: _percent(row["iou"]) for row in ema.get("classes", ())},
        HEADLINES: {name: tasks[name].headline(one) for name, one in all_tasks.items() if name in tasks},
        **{key: made[key] for key in ("commit", "date", "machine", "processor", "gpu", "threads", "torch")},
        SETTINGS: settings_of_arm(training),
    }


def progress(run: Path, recipe: Recipe) -> float:
    """The part of a training, 0..1, that its run has logged, over all phases."""
    trainings = trainings_in(recipe, run)
    return sum(last_step(path / METRICS) for path in trainings) / sum(one.train.steps for one in trainings.values())


def _percent(score: float | None) -> float | None:
    return None if score is None else 100 * score


def take_known(folder: JobFolder, trainings: Mapping[Cell, Training], path: Path) -> int:
    """Count the trainings in the results.json at `path` as finished, where they are open cells of the study.

    Returns how many. Raises `FathomError` if one was trained with other settings or on other labelled images than the
    study would, and takes none then.
    """
    known = {c: r for c, r in _read_known(path).items() if c in trainings and not folder.settled(c)}
    _refuse(
        {cell: _unlike(record, trainings[cell]) for cell, record in known.items()},
        f"trainings in {path} are not those of this study",
        "Change the study back, or leave the file out and train them again.",
    )
    for cell, record in known.items():
        folder.finish(cell, record)
    return len(known)


def _read_known(path: Path) -> dict[Cell, Record]:
    """The finished trainings in a results.json, as they stand in the folder of a study."""
    try:
        tree = json.loads(read_text(path))
        return {
            Cell(record["arm"], record["budget"], record["seed"]): {**record, SETTINGS: tree["recipes"][record["arm"]]}
            for record in tree["cells"]
        }
    except OSError as error:
        raise FathomError(f"{path} cannot be read: {error.strerror}. Give the results.json of a study.") from None
    except DataError:
        raise
    except (ValueError, KeyError, TypeError):
        raise FathomError(
            f"{path} is not the results.json of a study: `cells` (trainings) or `recipes` (of arms) is missing."
        ) from None


def _unlike(record: Record, training: Training, only: Container[str] | None = None) -> list[str]:
    """In what a known training is not the one of the study; settings that are not among `only` are not compared."""
    then, now = record[SETTINGS], redact_paths(settings_of_arm(training))
    same = {key for key in training.written if _as_earlier(key, then, now)}
    same |= _OF_A_CELL  # earlier versions noted them
    compared = {key for key in then.keys() | now.keys() if key not in same and (only is None or key in only)}
    found = differences(*({key: v for key, v in one.items() if key in compared} for one in (then, now)))
    if hashed(labelled(training.recipe)) != record.get(LABELLED_HASH):
        found.append("it had labels of other images than the study gives it")
    return found


def _as_earlier(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a setting is as results.json of earlier versions has it: of one seed, or left out as a folder of data."""
    if key not in then:
        return key.endswith(".root")
    of_a_seed = re.escape(str(now.get(key))).replace(re.escape("{seed}"), r"\d+")
    return re.fullmatch(of_a_seed, str(then[key])) is not None


def hashed(ids: Iterable[str]) -> str:
    """Twelve digits that tell one set of images from another, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:12]


def forgive(folder: JobFolder, trainings: Mapping[Cell, Training]) -> None:
    """Let failed trainings be tried again: from their checkpoint, or anew where settings have changed since; the run of
    the old settings is moved beside it then."""
    for cell in folder.failures(trainings):
        if _changed(folder.run(cell), trainings[cell].recipe):
            clear(folder.run(cell))
        folder.forgive(cell)


def refuse_other_settings(folder: JobFolder, trainings: Mapping[Cell, Training]) -> None:
    """Raise `FathomError` if there are runs that were started with other settings than the study now has, or results
    without a run, of another machine (`take_known`) or of one that was removed."""
    odd = {cell: _changed(folder.run(cell), training.recipe) for cell, training in trainings.items()}
    for cell, record in folder.records(trainings).items():
        if not (folder.run(cell) / CONFIG).is_file() and SETTINGS in record:
            # Settings that are new since are no difference: a run that is there would have their defaults.
            there = redact_paths(record[SETTINGS])
            odd[cell] = _unlike({**record, SETTINGS: there}, trainings[cell], only=there)
    _refuse(
        odd,
        f"trainings in {folder.path} were started with other settings than the study has now",
        f"Give another --out, or change the study back, or delete their folders in {folder.path / 'runs'} and their "
        f"files in {folder.notes}.",
    )


def _refuse(odd: Mapping[Cell, list[str]], what: str, remedy: str) -> None:
    odd = {cell: found for cell, found in odd.items() if found}
    if odd:
        cell, found = next(iter(odd.items()))
        raise FathomError("\n  ".join([f"{len(odd)} {what}, for example {cell}:", *found]) + f"\n{remedy}")


def _changed(run: Path, recipe: Recipe) -> list[str]:
    """Settings of a run that are not those of the recipe, but for what does not change what is learned."""
    path = run / CONFIG
    return differences(comparable(load(Recipe, path)), comparable(recipe)) if path.is_file() else []


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings by dotted key that are not equal."""
    return [
        f"{key}: then {then.get(key, 'nothing')}, now {now.get(key, 'nothing')}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]


def settings_of_arm(training: Training) -> dict[str, Any]:
    """What is comparable of a training and the same in all cells of an arm."""
    found = {**comparable(training.recipe), **{key: _named(value) for key, value in training.written.items()}}
    return {key: value for key, value in found.items() if key not in _OF_A_CELL}


def comparable(recipe: Recipe) -> dict[str, Any]:
    """All settings by dotted key; of a folder or file of this machine only its name."""
    tree = yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))
    return {k: _named(value) for k, value in flat(tree) if not may_change(k)}


def _named(value: Any) -> Any:
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
