"""`fathom distill`: a teacher predicts what images of a dataset lack, to be learned from in the place of truth.

OUT/provenance.json        teacher, settings, classes or unit, and which images were shown to it
OUT/ids/<id>.png           segmentation: in the dataset's own ids
OUT/depth/<id>.npz         depth: float32, in metres or relative (disparity/<id>.npz of a relative Hugging Face model)
OUT/normals/<id>.png       normals: 16-bit RGB
OUT/confidence/<id>.png    round(255 confidence), where there is one
OUT/soft/<id>.npz          with --soft: the most probable classes and their probabilities
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from fathomseg.config import load, read_yaml
from fathomseg.data.class_match import match_classes, read_mapping
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import dataset_kinds, resolve_dataset
from fathomseg.data.held_out import HeldOut
from fathomseg.distillation.files import CONFIDENCE, SOFT
from fathomseg.distillation.huggingface import PREFIX, HuggingFaceLabels, HuggingFaceMaps
from fathomseg.distillation.provenance import Provenance, StoredClasses
from fathomseg.distillation.teachers import RunTeacher, TaskName, Teacher
from fathomseg.distillation.writing import Distillation
from fathomseg.errors import ConfigError, FathomError, Problem
from fathomseg.inference.card import as_weights
from fathomseg.io.files import refuse_unwritable
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import progress, say
from fathomseg.named_recipes import packaged
from fathomseg.parallel import open_team
from fathomseg.stages.overrides import INFERENCE, of_inference
from fathomseg.text import at_home
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import budgets

_BATCH: Final = 4
"""Images that go through the teacher at once, unless said. The result may depend on it in the last digits."""

_BUDGETS: Final = re.compile(
    r"seed|evaluation\.split|streams\.[^.]+\.(data|split|labels|labelled_too|distilled)(\..+)?"
)
"""The keys of a recipe that say which labels its trainings may see."""

Gives = Literal["depth", "disparity"]


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came of a distillation; stands for its folder wherever a path is taken."""

    folder: Path
    images: int
    """Images whose predictions are there, made now or before."""
    problems: tuple[Problem, ...] = ()
    """Images that could not be used, each with the reason."""

    def __fspath__(self) -> str:
        """The folder."""
        return str(self.folder)

    def __repr__(self) -> str:
        """How many, and where."""
        bad = f", {len(self.problems)} could not be used" if self.problems else ""
        return f"Distilled({self.images} images{bad}; {self.folder})"


def distilled(
    teacher: str,
    data: str,
    overrides: Sequence[str],
    *,
    task: str,
    out: Path,
    split: str = "train",
    everything: bool = False,
    soft: bool = False,
    flip: bool = False,
    classes: Path | str | Mapping[str, str | None] | None = None,
    weights: str = "ema",
    gives: str | None = None,
    device: str | None = None,
    batch: int = _BATCH,
    engine: str = "local",
    workers: int = 1,
) -> Distilled:
    """Write the predictions of a teacher for images that lack the modality. Images that cannot be used stop nothing.

    `overrides` are of evaluation.inference (how images go through a run), of the data, and of a recipe's label budgets.
    Repeated, it resumes where it stopped, and predicts again for images that have changed since. Raises `FathomError`
    for a folder of another teacher or other settings.
    """
    wanted = _task(task)
    if soft and wanted != "segmentation":
        raise FathomError(f"--soft keeps probabilities of classes, and {task} has none; leave it out.")
    if classes is not None and wanted != "segmentation":
        raise FathomError(f"--classes says which class is which, and {task} has none; leave it out.")
    if batch < 1:
        raise FathomError(f"--batch is {batch}; give the number of images that are predicted at once, at least 1.")
    inference, others = of_inference(overrides)
    dataset, labelled = known_data(data, others)
    ids = list(dataset.ids(split))
    if len(kept := HeldOut.of(dataset, asked=split).without(dataset, ids)) < len(ids):
        say(f"{len(ids) - len(kept)} of {len(ids)} images of split {split!r} are held out and left out.")
        ids = kept
    lacking = ids if everything else [id for id in ids if lacks(dataset, id, wanted, labelled)]
    if not lacking:
        every = f"All {len(ids)} images of split {split!r} of {dataset.name}"
        say(f"{every} have {task}; --everything predicts it all the same.")
        conclude(f"all {len(ids)} images had {task} before")
        return Distilled(out, 0)
    how = teacher, wanted, dataset, weights, gives, device, flip, inference
    asked = _teacher(*how)
    match = None
    if wanted == "segmentation":
        mapping = read_mapping(classes) if isinstance(classes, str | Path) else classes
        match = match_classes(asked.classes, dataset.classes.names, mapping, "--classes")
        say("\n".join(["Classes of the dataset, and those of the teacher that become them:", *match.lines()]))
    provenance = Provenance(
        task=wanted,
        gives=asked.target,
        teacher=asked.note.model_copy(update={"settings": {**asked.note.settings, "batch": batch}}),
        dataset=dataset.name,
        split=split,
        unit=asked.unit,
        classes=None if match is None else StoredClasses.of(dataset, ids),
        matched=None if match is None else match.by_name,
        confidence=CONFIDENCE if asked.has_confidence else None,
        soft=SOFT if soft else None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    work = Distillation(asked, dataset, out, provenance, match, batch)
    refuse_unwritable(out)
    with alone_in(out, f"fathom distill {teacher}"), open_team(engine, workers) as team:
        work.open()
        todo = work.todo(lacking)
        count = sum(map(len, todo))
        with progress(f"distilling {task}", count) as work.tick:
            work.do(todo, team, (_distillation, (how, (out, provenance, match, batch))))
    there = f"; {len(lacking) - count} were there already" if count < len(lacking) else ""
    unit = f", in {asked.unit} units" if asked.unit == "relative" else f", in {asked.unit}" if asked.unit else ""
    say(f"{task} of {work.written} of {len(ids)} images written into {out}{unit}{there}.")
    if work.problems:
        say("\n".join([f"{len(work.problems)} images could not be used:", *(f"  {one}" for one in work.problems)]))
    conclude(
        f"{task} of {len(lacking)} images in {out}" + (f", {len(work.problems)} unusable" if work.problems else "")
    )
    return Distilled(out, len(lacking) - len(work.problems), tuple(work.problems))


def _distillation(asked: tuple[Any, ...], work: tuple[Any, ...]) -> Distillation:
    """The same work in another process, with a teacher of its own."""
    return Distillation(_teacher(*asked), asked[2], *work)


def known_data(text: str, overrides: Sequence[str]) -> tuple[Dataset, frozenset[str] | None]:
    """The dataset, and by a recipe the images whose labels its trainings may see; None: all that have one."""
    path = at_home(text)
    if not path.exists() and text not in dataset_kinds():
        path = packaged(text) or path
    if not path.is_file() or "data" not in read_yaml(path):
        return resolve_dataset(text, overrides), None
    _refuse_unused(overrides)
    recipe = load(Recipe, path, overrides)
    of_data = [name for name in recipe.streams if recipe.dataset(name) == recipe.data]
    chosen = budgets(recipe)
    if not any(recipe.streams[name].labels is not None for name in of_data):
        return recipe.data, None
    return recipe.data, frozenset(id for name in of_data for id in chosen.get(name, ()))


def _refuse_unused(overrides: Sequence[str]) -> None:
    """Raise `ConfigError` for a setting of a recipe that changes neither its data nor which labels it may see; what is
    no recipe's is left to its reader."""
    for text in overrides:
        key = text.partition("=")[0].strip()
        group = key.partition(".")[0]
        if group in Recipe.model_fields and group != "data" and not _BUDGETS.fullmatch(key):
            raise ConfigError(
                f"{text!r} is not used by `fathom distill`, which takes {INFERENCE}KEY (how a run sees images), "
                "data.KEY, and of a recipe what hides labels: seed, evaluation.split, and labels, split and data of "
                "streams.NAME."
            )


def lacks(dataset: Dataset, id: str, task: TaskName, labelled: frozenset[str] | None) -> bool:
    """Whether an image lacks every target of the task; a label outside the budget is not known."""
    if task == "segmentation":
        return not dataset.has_label(id) or (labelled is not None and id not in labelled)
    return not (dataset.has_depth(id) if task == "depth" else dataset.has_normals(id))


def _task(name: str) -> TaskName:
    for task in get_args(TaskName):
        if task == name:
            return task  # type: ignore[no-any-return]
    raise FathomError(f"There is no task {name!r}; a teacher predicts {', '.join(get_args(TaskName))}.")


def _teacher(
    text: str,
    task: TaskName,
    dataset: Dataset,
    weights: str,
    gives: str | None,
    device: str | None,
    flip: bool,
    inference: Sequence[str],
) -> Teacher:
    """The teacher that is meant. Raises `FathomError`."""
    kinds: dict[str | None, Gives | None] = {"depth": "depth", "disparity": "disparity", None: None}
    if gives not in kinds:
        raise ConfigError(f"--gives is {gives!r}; choose depth or disparity.")
    if not text.startswith(PREFIX):
        if gives is not None:
            raise FathomError("--gives is for depth models of Hugging Face that do not say it; leave it out.")
        return RunTeacher(text, task, as_weights(weights), device, flip, inference)
    if inference:
        raise ConfigError(f"{inference[0]!r} is for runs; {text} sees images as its own processor prepares them.")
    if task == "segmentation":
        return HuggingFaceLabels(text, device, flip)
    if task == "depth":
        return HuggingFaceMaps(text, dataset, device, flip, kinds[gives])
    raise FathomError(f"{text}: models of Hugging Face give segmentation or depth, not {task}. Give a run.")
