"""`fathom evaluate`: how good a run is at all of its tasks that the data has truth for, in numbers and as a page."""

from __future__ import annotations

import json as json_format
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.patterns import is_pattern
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.engine.logging import METRICS
from fathomseg.errors import FathomError
from fathomseg.evaluation.baselines import compared, parse_baselines, refuse_without_task
from fathomseg.evaluation.motion import MEANING, Drive, cameras_of, clips, motion_scores, predict_drives
from fathomseg.evaluation.ranks import processes
from fathomseg.evaluation.scenes import Pool, pool_of, retrieval_scores
from fathomseg.evaluation.scoring import FromNetwork, Scored, Source, score, with_truth
from fathomseg.evaluation.stored import FromFolder, refuse_other_classes, stored_task
from fathomseg.geometry.trajectory import SNIPPET
from fathomseg.inference.card import WEIGHTS, ModelCard, Weights, load_card, load_pose
from fathomseg.inference.onnx import is_onnx
from fathomseg.inference.predicted import model_files, record_of
from fathomseg.inference.predictor import load, task_names
from fathomseg.inference.settings import Inference, trained_inference
from fathomseg.io.files import CONFIG, digest, read_tree, refuse_unwritable
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import progress, say
from fathomseg.io.ranks import rank_and_world
from fathomseg.metrics import retrieval
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.models.scene.saved import load_scene, same_classes
from fathomseg.report.examples import examples
from fathomseg.report.links import links_sections
from fathomseg.report.page import PAGE, sections, write_page
from fathomseg.report.scores import show, write_scores
from fathomseg.stages.overrides import parted
from fathomseg.stages.score_folders import elsewhere, of_baseline
from fathomseg.tasks.base import Task
from fathomseg.training.run_folder import origin, own_data, own_device

MOTION: Final = "motion"
"""What camera motion is called beside the tasks."""

SCENES: Final = "scenes"
"""And a scene model."""

_SHOWN: Final = ("scores", "motion", "scenes", "delta_m")
"""What of scores.json its page shows as numbers."""


def scored(
    target: str,
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    split: str = "val",
    weights: str = "both",
    mode: str | None = None,
    against: Path | str | None = None,
    json: bool = False,
    report: bool = True,
    limit: int | None = None,
    tasks: str | Collection[str] | None = None,
    flip: bool = False,
    links: bool | str | None = None,
    max_depth: float | None = None,
    crop: str | None = None,
    alignment: str | None = None,
    baseline: str | Path | Sequence[str] | Mapping[str, str | Path] = (),
) -> dict[str, Any]:
    """Score a run folder, an exported file, or stored predictions, and print the result, which `evaluate_run` gives.

    `tasks` are in a list, or separated by commas; `mode` is for tasks predicted in windows, `max_depth` (metres),
    `crop` and `alignment` for depth; `links` is on or off (or True, False); `baseline` is, for Delta_m, one run, or
    ["TASK=RUN"] or {TASK: RUN} with one for each task.
    """
    folder = Path(target)
    inference_settings, data_settings = parted("evaluate", overrides)
    dataset = resolve_dataset(data or own_data(folder), data_settings)
    names = task_names(tasks)
    chosen = _chosen(folder, load_card(folder), names)[0]
    chooses = flip or mode is not None or links is not None or inference_settings or weights != "both"
    if against is not None and chooses:
        raise FathomError(
            f"The predictions in {against} are scored as they are; leave out --flip, --mode, --links and --weights, "
            "and settings of evaluation.inference."
        )
    if is_onnx(folder) and weights != "both":
        raise FathomError(f"The weights in {folder} were chosen when it was exported; leave out --weights.")
    if mode is not None and not any(task.windowed for task in chosen.values()):
        raise FathomError(
            f"{folder} predicts nothing in windows, and depth always sees the whole image; leave out --mode."
        )
    depth = {"max_depth": max_depth, "crop": crop, "alignment": alignment}
    given: dict[str, Any] = {name: value for name, value in depth.items() if value is not None}
    if given and not any(task.depth_range for task in chosen.values()):
        raise FathomError(
            f"No depth of {folder} is scored; --max-depth, --crop and --alignment are for runs with the task depth."
        )
    how = Scoring(
        split=split,
        weights=weights,
        inference=trained_inference(folder, mode, flip, inference_settings, links),
        dataset=dataset,
        against=None if against is None else Path(against),
        tasks=names,
        protocol=DepthProtocol(**given),
        limit=limit,
        baselines=parse_baselines(baseline, list(chosen)) if baseline else {},
    )
    return evaluate_run(folder, how, report=report, as_json=json)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What of a run is scored, and how."""

    split: str = "val"
    weights: str = "both"
    inference: Inference | None = None
    """None = as the run predicts."""
    dataset: Dataset | None = None
    """None = the run's own."""
    against: Path | None = None
    """Where predictions of one task are stored, to be scored in the place of the network's."""
    tasks: Collection[str] | None = None
    """None = all the split has truth for; camera motion ("motion") where the run has a pose network and the split clips
    with poses; retrieval ("scenes") where it has a scene model and the split labels and depths of the same images."""
    protocol: DepthProtocol = field(default_factory=DepthProtocol)
    limit: int | None = None
    """The first images with a truth, and the first frames."""
    baselines: Mapping[str, Path] = field(default_factory=dict)
    """By task the run it is compared with (Delta_m), scored in the same way before."""


def evaluate_run(
    folder: Path, how: Scoring = Scoring(), *, report: bool = True, as_json: bool = False, optional: bool = False
) -> dict[str, Any]:
    """Score a run.

    `folder` may be a file that `fathom export` wrote; what is written goes into FILE.evaluation/ beside it then.

    Prints tables (or JSON), and writes `evaluation/<split>/` into the folder: scores.json, images.csv, report.html. In
    a distributed run every rank must call it; rank 0 prints and writes. Raises `FathomError` if nothing can be
    measured, saying what is missing; if the scores are `optional`, returns {} then. Rank 0's result has the `folder` it
    was written to.
    """
    asked = _asked(folder, how)
    if optional and how.split not in asked.dataset.splits:
        return {}
    found = _measurable(asked)
    if not (found.known or found.moving or found.pool):
        if optional:
            return {}
        raise FathomError(_nothing_to_measure(asked, found.tasks))
    with processes(own_device(folder)) as device:
        measured = _measured(asked, found, device)
        result = _result(asked, found, measured)
        _warn_of_one_class(result["scores"])
        if rank_and_world()[0] == 0:
            out = _written(asked, found, measured, result, report)
            _tell(asked, result, out, as_json)
            result["folder"] = str(out)
    return result


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be scored and how, with all that was left out or follows from it."""

    folder: Path
    how: Scoring
    weights: Sequence[Weights]
    inference: Inference
    dataset: Dataset
    card: ModelCard
    usual: Inference
    """How the run predicts unless told otherwise."""
    chosen: Mapping[str, Task]
    narrowed: Sequence[str]
    """The names in `tasks` if they are not all there is."""
    place: Path
    """In which each kind of scores has a folder."""

    @property
    def first(self) -> list[str]:
        """The word for a limit in the name of such a folder."""
        return [f"first{self.how.limit}"] if self.how.limit else []

    def beside(self, name: str) -> bool:
        """Whether what the run has beside its tasks, by this name, is asked for."""
        return self.how.against is None and (self.how.tasks is None or name in self.how.tasks)


@dataclass(frozen=True, slots=True)
class _Measurable:
    """What the split has truth for."""

    split_ids: tuple[str, ...]
    tasks: Mapping[str, Task]
    """Those asked for; of stored predictions the one they are of."""
    ids: Sequence[str]
    known: Mapping[str, Task]
    """The images to score on, and the tasks that some of them have a truth for."""
    moving: Sequence[str]
    """The frames to score camera motion on; none if it cannot be."""
    pool: Pool | None
    """The images to score the scene model on; None if it cannot be."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What was found: by weights and task the scores; camera motion and retrieval if they were scored."""

    sources: Mapping[str, Source]
    scores: Mapping[str, Mapping[str, Scored]]
    drives: Sequence[Drive]
    retrieved: Mapping[str, Any] | None


def _asked(folder: Path, how: Scoring) -> _Asked:
    """The same with its defaults. Raises `FathomError` for what cannot be asked of this run."""
    if not (names := [name for name in WEIGHTS if how.weights in {name, "both"}]):
        raise FathomError(f"There are no weights {how.weights!r}; choose from {', '.join(WEIGHTS)}, both.")
    if how.limit is not None and how.limit < 1:
        raise FathomError(f"--limit is {how.limit}; give the number of images to score, at least 1.")
    dataset = how.dataset or resolve_dataset(own_data(folder))
    card, usual = load_card(folder), trained_inference(folder)
    inference = how.inference or usual
    place = folder.with_suffix(".evaluation") if is_onnx(folder) else folder / "evaluation"
    if rank_and_world()[0] == 0:
        refuse_unwritable(place, "run folder")
    chosen, narrowed = _chosen(folder, card, how.tasks)
    refuse_without_task(how.baselines)
    if how.against is None and rank_and_world()[0] == 0 and (warning := inference.misfit(card.size)) is not None:
        say(warning)
    if is_pattern(split := how.split):
        raise FathomError(f"--split {split} is a pattern; hold it out as val in dataset.yaml (`val: [{split}]`).")
    return _Asked(folder, how, names, inference, dataset, card, usual, chosen, narrowed, place)


def _measurable(asked: _Asked) -> _Measurable:
    """What of it the data has truth for."""
    dataset, how, tasks = asked.dataset, asked.how, asked.chosen
    split_ids = tuple(dataset.ids(how.split))
    if how.against is not None:
        stored = stored_task(how.against, tasks)
        if stored.name == "segmentation":
            refuse_other_classes(how.against, dataset)
        tasks = {stored.name: stored}
    ids, known = with_truth(dataset, tasks, split_ids, how.limit)
    moves = asked.card.pose is not None and asked.beside(MOTION)
    moving = split_ids[: how.limit] if moves and any(len(clip) >= SNIPPET for clip in clips(dataset, split_ids)) else ()
    pool = None
    if (scene := asked.card.scene) is not None and asked.beside(SCENES) and not is_onnx(asked.folder):
        pool = pool_of(dataset, split_ids, scene.apart, how.limit)
    return _Measurable(split_ids, tasks, ids, known, moving, pool if pool is not None and len(pool.ids) > 1 else None)


def _sources(asked: _Asked, found: _Measurable, device: torch.device) -> dict[str, Source]:
    """Where predictions come from, by weights. Raises `FathomError` if they do not fit the data."""
    if (against := asked.how.against) is not None:
        (stored,) = found.tasks.values()
        of_folder = FromFolder(against, stored, asked.dataset, found.split_ids, asked.how.protocol, asked.card)
        return {"predictions": of_folder}
    for misfit in filter(None, (task.misfit(asked.card.classes, asked.dataset) for task in found.known.values())):
        raise FathomError(f"{asked.folder} {misfit}")
    if not found.known:
        return {}
    if is_onnx(asked.folder):
        return {"onnx": FromNetwork(load(asked.folder, inference=asked.inference, tasks=found.known), asked.dataset)}
    networks = {name: load(asked.folder, name, device, asked.inference, found.known) for name in asked.weights}
    return {name: FromNetwork(network, asked.dataset) for name, network in networks.items()}


def _measured(asked: _Asked, found: _Measurable, device: torch.device) -> _Measured:
    """Score it."""
    folder, dataset, card = asked.folder, asked.dataset, asked.card
    sources = _sources(asked, found, device)
    scores = {}
    for name, source in sources.items():
        with progress(f"scoring {name}", len(found.ids)) as tick:
            scores[name] = score(source, dataset, found.ids, found.known, device, asked.how.protocol, tick)
    drives: list[Drive] = []
    if found.moving:
        with progress("camera motion", len(found.moving)) as tick:
            pose, seen = load_pose(folder).to(device), card.pose_size or card.size
            camera = cameras_of(dataset, card.cameras)
            drives = predict_drives(pose, dataset, found.moving, seen, device, tick=tick, camera=camera)
    retrieved = None
    if found.pool is not None:
        scene_card, scene = load_scene(folder)
        same_classes(folder, scene_card, dataset.classes)
        with progress("scene model", len(found.pool.ids)) as tick:
            retrieved = retrieval_scores(scene.to(device), scene_card, dataset, found.pool, device, tick)
    return _Measured(sources, scores, drives, retrieved)


def _result(asked: _Asked, found: _Measurable, measured: _Measured) -> dict[str, Any]:
    """All that scores.json holds. Raises `FathomError` for baselines that cannot be compared with."""
    how, known, drives, retrieved = asked.how, found.known, measured.drives, measured.retrieved
    against, inference = how.against, None if how.against else asked.inference
    result: dict[str, Any] = {
        "run": str(asked.folder),
        "dataset": asked.dataset.name,
        "split": how.split,
        "limit": how.limit,
        "against": None if against is None else str(against),
        "size": list(asked.inference.size or asked.card.size),
        "depth_unit": None if against else asked.card.depth_unit,
        "inference": None if inference is None else inference.model_dump(mode="json"),
        "scores": {name: {task: one.result for task, one in by.items()} for name, by in measured.scores.items()},
        "sections": {name: task.section for name, task in known.items()},
        "motion": motion_scores(drives) if drives else None,
        "scenes": retrieved,
        "meaning": {
            **{name: task.meaning for name, task in known.items()},
            **({MOTION: MEANING} if drives else {}),
            **({SCENES: retrieval.MEANING} if retrieved else {}),
        },
        "made_by": _made_by(asked.folder, asked.weights, against),
        "origin": origin(),
    }
    if how.baselines:
        same = how.split, asked.dataset, asked.first, inference, how.protocol
        places = {task: of_baseline(run, *same) for task, run in how.baselines.items()}
        result["delta_m"] = compared(result, known, how.baselines, places)
    return result


def _written(asked: _Asked, found: _Measurable, measured: _Measured, result: Mapping[str, Any], report: bool) -> Path:
    """Write it. Returns the folder: scores of another kind never take the place of the run's own."""
    folder, dataset, against, protocol = asked.folder, asked.dataset, asked.how.against, asked.how.protocol
    other = [*elsewhere(folder, dataset), *([against.resolve().name] if against else [])]
    how = [*([] if against else asked.inference.differences(asked.usual)), *protocol.differences()]
    out = asked.place / "-".join([asked.how.split, *other, *asked.first, *asked.narrowed, *how])
    rows = {name: {task: one.rows for task, one in by.items()} for name, by in measured.scores.items()}
    if not report and not _shows(out, result):
        (out / PAGE).unlink(missing_ok=True)  # it would lie beside scores that are not those it shows
    write_scores(out, result, found.ids, rows)
    if report:
        name, scores = next(iter(measured.scores.items()), ("", {}))
        best = {t: examples(measured.sources[name], dataset, found.known[t], one) for t, one in scores.items()}
        shown = sections(result, dataset, best, measured.drives)
        shown += [] if against or not asked.inference.links else links_sections(folder / METRICS)
        write_page(out, result, shown, folder / CONFIG)
    return out


def _shows(out: Path, result: Mapping[str, Any]) -> bool:
    """Whether the scores that lie there are the same numbers, so that their page still holds."""
    try:
        known = read_tree(out / "scores.json")
    except (FileNotFoundError, FathomError):  # what cannot be read is written anew
        return False
    now = json_format.loads(json_format.dumps(result))
    return isinstance(known, dict) and all(known.get(key) == now.get(key) for key in _SHOWN)


def _tell(asked: _Asked, result: Mapping[str, Any], out: Path, as_json: bool) -> None:
    """Print it, and say last what to look at first."""
    told = sections(result, asked.dataset)
    conclude(f"{asked.folder} on {asked.how.split}: {', '.join(section.headline for section in told)}")
    if as_json:
        print(json_format.dumps(result))
    else:
        show(result, told, out)


def _made_by(folder: Path, names: Sequence[Weights], against: Path | None) -> dict[str, str] | None:
    """A hash of the weights of each kind that were scored; of stored predictions, who made them, if it is known."""
    if against is None:
        files = {name: model_files(folder, name) for name in (names[:1] if is_onnx(folder) else names)}
        return {name: digest(paths) for name, paths in files.items() if all(path.is_file() for path in paths)}
    record = record_of(against)
    claims = {} if record is None else {record.words(one): one for one in record.claims_below(against)}
    return {"predictions": "; ".join(sorted(claims))} if claims else None


def _warn_of_one_class(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Scores on labels of one class say nothing: predicting it everywhere is perfect."""
    found = next((one["segmentation"] for one in scores.values() if "segmentation" in one), None)
    if found is not None and found["classes_present"] < 2 and rank_and_world()[0] == 0:
        named = [one["name"] for one in found["classes"] if one["pixels"]]
        what = f"only the class {named[0]!r} occurs" if named else "every pixel is ignored"
        say(f"WARNING: in the {found['images']} labels scored {what}, so the scores say nothing; see `fathom check`.")


def _chosen(folder: Path, card: ModelCard, names: Collection[str] | None) -> tuple[dict[str, Task], list[str]]:
    """The tasks of these names (or all), and the names if they are not all. Raises `FathomError` for one it lacks."""
    beside = {MOTION: card.pose, SCENES: card.scene}
    offered = [*card.tasks, *(name for name, part in beside.items() if part is not None)]
    if unknown := [name for name in names or () if name not in offered]:
        raise FathomError(f"{folder} cannot be scored on {unknown[0]!r}; --tasks may name {', '.join(offered)}.")
    named = [name for name in offered if names is None or name in names]
    return {n: task for n, task in card.tasks.items() if n in named}, [] if named == offered else named


def _nothing_to_measure(asked: _Asked, tasks: Mapping[str, Task]) -> str:
    """The message that says what is missing."""
    dataset, split, card = asked.dataset, asked.how.split, asked.card
    ids = dataset.ids(split)
    reasons = [f"none of its {len(ids)} images has {' or '.join(map(_in_words, tasks.values()))}"] if tasks else []
    if card.scene is not None:
        reasons.append("not two samples of different scenes have a label and a depth")
    if card.pose is not None:
        short = f"no clip of it has poses of {SNIPPET} frames or more"
        reasons.append(short if asked.how.against is None else "stored predictions tell nothing of camera motion")
    elif clips(dataset, ids):
        reasons.append(f"{asked.folder} has no network for camera motion")
    others = [other for other in dataset.splits if other != split]
    if tasks:  # else it is camera motion or a scene model alone that is asked for
        others = [other for other in others if with_truth(dataset, tasks, dataset.ids(other))[1]]
    remedy = f"Give another --split ({', '.join(others)}) or" if others else "Label some images of it, or give other"
    if not others and "label" not in (task.truth_kind for task in tasks.values()):
        remedy = "Give other"
    return f"Nothing in split {split!r} of {dataset.name} can be measured: {', and '.join(reasons)}. {remedy} --data."


def _in_words(task: Task) -> str:
    """ "a label", "depth"."""
    return "a label" if task.truth_kind == "label" else task.truth_kind
