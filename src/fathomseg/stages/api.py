"""The verbs as functions of Python: what the command line does, with results instead of exit codes.

    run = fathomseg.train("own-data", data={"root": "mydata"}, out="runs/mine")
    run.scores["segmentation"]["miou"], run.load().predict("photo.jpg")

Settings are those of the recipe: `data={"root": "mydata"}` is `data.root=mydata` of the command line, and so is
`**{"data.root": "mydata"}`. All raise `FathomError`, with the words of the command line.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fathomseg.config import flat, read_yaml
from fathomseg.errors import FathomError
from fathomseg.inference.card import load_card
from fathomseg.inference.predictor import Predictor, load
from fathomseg.io.files import CONFIG, read_tree
from fathomseg.named_recipes import find

if TYPE_CHECKING:
    from fathomseg.selection.annotation import Imported
    from fathomseg.selection.result import Selection
    from fathomseg.stages.check_report import CheckReport
    from fathomseg.stages.distill import Distilled
    from fathomseg.stages.predict import Predicted

Place = str | PathLike[str]
_PLACES: Final = ("run", "target", "source", "out", "teacher")
"""Parameters of verbs that are no options."""
_GROUPS: Final = ("data", "evaluation", "streams", "seed")
"""Groups of settings that verbs with a finished run take, as far as they use them."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a run is on a split: what `fathom evaluate` writes into scores.json."""

    folder: Path
    """With scores.json, images.csv and, unless it was switched off, report.html."""
    dataset: str
    split: str
    by_weights: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """Weights (ema, last; onnx; predictions) -> task -> the scores by name."""
    headlines: Mapping[str, Mapping[str, float]]
    """Task -> the scores to look at first, of the first weights."""

    def __getitem__(self, task: str) -> Mapping[str, Any]:
        """All scores of a task, of the first weights."""
        return next(iter(self.by_weights.values()))[task]

    def __repr__(self) -> str:
        """The scores to look at first, and where the page is."""
        found = (f"{task} " + " ".join(f"{k} {v:.4f}" for k, v in one.items()) for task, one in self.headlines.items())
        return f"Scores({self.dataset} {self.split}: {', '.join(found)}; {self.folder})"

    @classmethod
    def of(cls, result: Mapping[str, Any], folder: Path) -> Scores:
        """Those in what `evaluate_run` gives or scores.json holds."""
        by_weights = result["scores"]
        tasks = load_card(Path(result["run"])).tasks
        first: Mapping[str, Mapping[str, Any]] = next(iter(by_weights.values()), {})
        headlines = {name: tasks[name].headline(scores) for name, scores in first.items()}
        return cls(folder, result["dataset"], result["split"], by_weights, headlines)


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder that training has finished; stands for it wherever a path is taken."""

    folder: Path
    scores: Scores | None
    """On its evaluation split; None if it has none."""

    def load(self, **options: Any) -> Predictor:
        """The trained network, ready to predict: `fathomseg.load`."""
        return load(self.folder, **options)

    def __fspath__(self) -> str:
        """The folder."""
        return str(self.folder)

    def __repr__(self) -> str:
        """The folder, and the scores."""
        return f"Run({self.folder}, {self.scores})"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which images to label."""

    folder: Path
    """With selection.txt, the page, and the imports for annotation tools."""
    selection: Selection

    @property
    def ids(self) -> tuple[str, ...]:
        """The chosen images, in order."""
        return self.selection.ids

    def __repr__(self) -> str:
        """How many, and where."""
        return f"Chosen({len(self.ids)} images: {', '.join(self.ids[:3])} ...; {self.folder})"


def check(data: Place, *, json: bool = False, report: bool = True, **settings: Any) -> CheckReport:
    """Decode a dataset once: what its splits hold, and in `problems` every file that cannot be used.

    `data` is a recipe, a dataset.yaml or its folder, or a dataset's name; settings are such as `**{"data.root": "x"}`.
    """
    from fathomseg.stages.check import checked

    return checked(fspath(data), overrides(settings), json, report)


def train(
    recipe: Place | None = None, *, out: Place | None = None, resume: Place | None = None, **settings: Any
) -> Run:
    """Train by a recipe into the folder `out` (runs/RECIPE), or resume the run in `resume`."""
    from fathomseg.stages.train import trained

    folder = trained(_recipe(recipe), overrides(settings), _path(out), _path(resume))
    return Run(folder, _own_scores(folder))


pretrain = train
"""Depth and camera motion from unlabelled video are learned by recipes, too."""


def select(
    recipe: Place | None = None,
    *,
    out: Place | None = None,
    resume: Place | None = None,
    budget: int | None = None,
    engine: str = "local",
    workers: int = 1,
    **settings: Any,
) -> Chosen:
    """Choose which images to label by a recipe into the folder `out` (runs/RECIPE), or resume the one in `resume`."""
    from fathomseg.stages.select import chosen

    return Chosen(*chosen(_recipe(recipe), overrides(settings), _path(out), _path(resume), budget, engine, workers))


def import_labels(
    source: Place, *, selection: Place, out: Place, overwrite: bool = False, json: bool = False
) -> Imported:
    """Turn what annotators drew on the images of `selection` (a folder of `select`) into labels of the dataset folder
    `out`; what cannot be used is in `unusable`.
    """
    from fathomseg.stages.import_labels import imported

    return imported(Path(source), Path(selection), Path(out), overwrite, json)


def evaluate(
    run: Place, *, data: Place | Mapping[str, Any] | None = None, split: str = "val", **options: Any
) -> Scores:
    """Score a run folder or an exported file on a split of its own data, or of other `data`.

    `options` are those of `fathom evaluate` (weights, tasks, mode, flip, limit, report, max_depth ...) and settings, as
    `train` takes them: `evaluation={"inference": {"mode": "slide"}}`, `data={"root": "elsewhere"}`.
    """
    from fathomseg.stages.evaluate import scored

    result = scored(fspath(run), split=split, **_taken("evaluate", scored, {**_data(data), **options}))
    return Scores.of(result, Path(result["folder"]))


def predict(run: Place, source: Place, out: Place, **options: Any) -> Predicted:
    """Predict an image, a video, a folder of them or a pattern into the folder `out`.

    `options` are those of `fathom predict` (tasks, format, batch, device, engine, workers ...) and settings of
    `evaluation={"inference": {...}}`. For predictions in memory: `load(run).predict(image)`.
    """
    from fathomseg.stages.predict import predicted

    return predicted(fspath(run), fspath(source), fspath(out), **_taken("predict", predicted, options))


def distill(teacher: Place, data: Place, out: Place, *, task: str, **options: Any) -> Distilled:
    """Let a teacher (a run, an exported file, hf:OWNER/NAME) predict what images of `data` lack, into the folder `out`;
    `options` are those of `fathom distill` and settings, such as `**{"data.root": "mydata"}`.
    """
    from fathomseg.stages.distill import distilled

    given = _taken("distill", distilled, options)
    return distilled(fspath(teacher), fspath(data), task=task, out=Path(out), **given)


def export(run: Place, out: Place, *, data: Place | Mapping[str, Any] | None = None, **options: Any) -> Path:
    """Write a run as one ONNX file, which is returned; `options` are those of `fathom export` and settings, such as
    `evaluation={"inference": {"size": [512, 1024]}}`.
    """
    from fathomseg.stages.export import exported

    return exported(Path(run), Path(out), **_taken("export", exported, {**_data(data), **options}))


def _data(data: Place | Mapping[str, Any] | None) -> dict[str, Any]:
    """Other data, or settings of a run's own."""
    return {} if data is None else {"data": data if isinstance(data, Mapping) else fspath(data)}


def _taken(verb: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a verb by name, and in `overrides` those given so and all settings.

    Raises `FathomError` for what is neither.
    """
    known = [name for name in inspect.signature(function).parameters if name not in _PLACES]
    grouped = {name for name, value in given.items() if name in _GROUPS and isinstance(value, Mapping)}
    options = {name: value for name, value in given.items() if name in known and name not in grouped}
    settings = {name: value for name, value in given.items() if name not in options}
    for name in settings:
        if name.partition(".")[0] not in _GROUPS:
            near = difflib.get_close_matches(name, known, 1)
            raise FathomError(
                f"{verb} takes no {name!r}" + (f"; did you mean {near[0]!r}?" if near else ".") + f" Its options are "
                f"{', '.join(known)}; settings begin with {', '.join(_GROUPS)}."
            )
    return {**options, "overrides": [*options.get("overrides", ()), *overrides(settings)]}


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Nested settings as the `a.b=c` of the command line."""
    return [f"{key}={_text(value)}" for key, value in flat(settings)]


def _text(value: Any) -> str:
    """A value as it would be typed."""
    return fspath(value) if isinstance(value, str | PathLike) else json.dumps(value, default=str)


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)


def _recipe(recipe: Place | None) -> Path | None:
    """The file of a path or a name, as the command line finds it."""
    return None if recipe is None else find(fspath(recipe))


def _own_scores(folder: Path) -> Scores | None:
    """What a training has scored itself on."""
    tree: Any = read_yaml(folder / CONFIG).get("evaluation")
    place = folder / "evaluation" / str(tree.get("split") if isinstance(tree, dict) else None)
    return Scores.of(read_tree(place / "scores.json"), place) if (place / "scores.json").is_file() else None
