"""A study: ways to train x label budgets x seeds, and the recipe of every cell of that grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from fathomseg.config import Part, flat, load
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import load_card
from fathomseg.named_recipes import find, packaged
from fathomseg.study.table import LABEL_BUDGET, LABEL_FILE, LABEL_SEED, SEED, Cell, grid
from fathomseg.training.needed_runs import needed_runs
from fathomseg.training.phases import trainings_in
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import budgets

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]
Budgets = Annotated[tuple[Annotated[int, Field(ge=0)] | Literal["all"], ...], Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Refuse dotted keys, which could contradict nested ones, and what the grid decides."""
    if dotted := [key for key in settings if "." in key]:
        raise ValueError(f"write {dotted[0]!r} as nested mappings, as in a recipe")
    decided = [key for key, _ in flat(settings) if key in (SEED, LABEL_BUDGET)]
    if decided:
        raise ValueError(f"{decided[0]} is what `budgets` and `seeds` of the study are for")
    return settings


_NO_FOLDER_YET: Final = Path("/folder of a training")
"""In place of the folder a training will have."""

Settings = Annotated[dict[str, Any], AfterValidator(_nested)]


class Arm(Part):
    """One way to train."""

    recipe: Path
    """Its recipe, by path or by name."""
    title: str | None = None
    """How it is called in table and plot; null = its name."""
    settings: Settings = Field(default_factory=dict)
    """What is different from the recipe, nested as in a recipe; stands over the settings of the study. `{seed}` in a
    text stands for the seed."""
    selection: str | None = None
    """A text file of sample ids in the order of `fathom select`, whose first ones are labelled; `{seed}` stands for the
    seed. null = random images. Has no effect on the budget `all`."""
    budgets: Budgets | None = None
    """Label budgets of this arm; null = those of the study."""


class Study(Part):
    """Which trainings are compared."""

    title: str | None = None
    """Heading of table and plot; null = the name of the file."""
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    """The ways to train, by names of letters, digits, `-`, `_` and `+`."""
    budgets: Budgets | None = None
    """Numbers of labelled images; `all` = every one that has a label. 0 = none, where another stream has labels. null =
    what each recipe says, as for depth from video, where there are no labels."""
    seeds: Seeds = (0, 1, 2)
    """Every arm and budget is trained once with each."""
    settings: Settings = Field(default_factory=dict)
    """What is different from the recipes in all arms, nested as in a recipe."""
    baseline: str | None = None
    """The arm the others are compared with; null = the first."""
    delta_m: dict[str, Name] = Field(default_factory=dict)
    """For Delta_m in the table: by task the arm it is compared with, usually one that learns this task alone, such as
    {segmentation: labels, depth: depths}. Cells are paired by seed and budget. Empty = no Delta_m."""
    keep_checkpoints: bool = False
    """Keep checkpoint.pt, about four times as large as the model, of finished trainings."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Study:
        if self.baseline is not None and self.baseline not in self.arms:
            raise ValueError(f"baseline {self.baseline!r} is none of the arms, which are {', '.join(self.arms)}")
        if unknown := [arm for arm in self.delta_m.values() if arm not in self.arms]:
            raise ValueError(f"delta_m names {unknown[0]!r}, which is none of the arms: {', '.join(self.arms)}")
        for values in (self.budgets or (), self.seeds, *(arm.budgets or () for arm in self.arms.values())):
            if len(set(values)) < len(values):
                raise ValueError(f"{list(values)} has a value twice")
        return self

    @property
    def reference_arm(self) -> str:
        """The arm the others are compared with."""
        return self.baseline or next(iter(self.arms))

    def cells(self) -> list[Cell]:
        """All trainings, in the order they are done."""
        return grid({name: arm.budgets or self.budgets or ("all",) for name, arm in self.arms.items()}, self.seeds)

    def overrides(self, cell: Cell) -> list[str]:
        """The settings of a cell over its arm's recipe, as `a.b=c`, in the order they are applied."""
        arm = self.arms[cell.arm]
        own: list[tuple[str, Any]] = [(SEED, cell.seed)]
        if arm.budgets or self.budgets:
            every = cell.budget == "all"
            own += [(LABEL_BUDGET, None if every else cell.budget)]
            own += [(LABEL_FILE, None if every else arm.selection)] if every or arm.selection is not None else []
            own += [(LABEL_SEED, None)] if not every and arm.selection is not None else []  # the file chooses
        settings = [*flat(self.settings), *flat(arm.settings), *own]
        return [
            f"{key}={json.dumps(_found(key, value, cell.seed), default=str)}".replace("{seed}", str(cell.seed))
            for key, value in settings
        ]

    def written(self, arm: str) -> dict[str, Any]:
        """Settings of an arm as they are written, by dotted key: those with a `{seed}`, and where the arm alone has its
        data. Where that of all arms is, each machine knows."""
        own = dict(flat(self.arms[arm].settings))
        found = {**dict(flat(self.settings)), **own}
        return {k: v for k, v in found.items() if "{seed}" in str(v) or (k.endswith(".root") and k in own)}

    def trainings(self, only: Collection[str] = ()) -> dict[Cell, Training]:
        """Every cell, or those of the arms `only`, with its recipe.

        Raises `ConfigError` naming everything that would make one of them fail at its start.
        """
        trainings: dict[Cell, Training] = {}
        mistakes: dict[str, list[Cell]] = {}
        for cell in self.cells():
            if only and cell.arm not in only:
                continue
            try:
                path, overrides = find(str(self.arms[cell.arm].recipe)), self.overrides(cell)
                recipe = load(Recipe, path, overrides, "by the study")
                trainings[cell] = Training(path, tuple(overrides), recipe, self.written(cell.arm))
                found = lacking(trainings[cell].recipe)
            except ConfigError as error:
                found = [str(error)]
            for mistake in found:
                mistakes.setdefault(mistake, []).append(cell)
        if mistakes:
            raise ConfigError("Nothing was started.\n" + "\n".join(_blame(mistakes)))
        return trainings


def _found(key: str, value: Any, seed: int) -> Any:
    """A list of chosen images that comes with the package, recipes/studies/choices/NAME.txt, where it lies."""
    path = str(value).replace("{seed}", str(seed))
    if key != LABEL_FILE or value is None or Path(path).exists():
        return value
    return value if (inside := packaged(path)) is None else str(inside)


@dataclass(frozen=True, slots=True)
class Training:
    """The training of one cell."""

    path: Path
    overrides: tuple[str, ...]
    recipe: Recipe
    written: Mapping[str, Any] = field(default_factory=dict)
    """`Study.written`."""


def labelled(recipe: Recipe) -> Iterable[str]:
    """The ids of the images whose labels a recipe uses, the last of its phases if it has any."""
    *_, final = trainings_in(recipe, Path()).values()
    return [id for ids in budgets(final).values() for id in ids]


def lacking(recipe: Recipe) -> list[str]:
    """What a recipe needs and is not there: labels, a split, other data, earlier runs. No image is read."""
    looks: list[Callable[[], object]] = [partial(labelled, recipe), partial(_scored, recipe)]
    looks += [partial(getattr, s.data, "splits") for s in recipe.streams.values() if s.data]  # listing finds its files
    runs = needed_runs(trainings_in(recipe, _NO_FOLDER_YET).values(), _NO_FOLDER_YET)
    looks += [partial(load_card, run) for run in dict.fromkeys(run for _, run in runs)]
    found = []
    for look in looks:
        try:
            look()
        except FathomError as error:
            found.append(str(error))
    return found


def _scored(recipe: Recipe) -> None:
    if recipe.evaluation.split not in recipe.data.splits:
        raise ConfigError(
            f"evaluation.split is {recipe.evaluation.split!r}, and {recipe.data.name} has only "
            f"{', '.join(recipe.data.splits)}; a training of a study must have scores."
        )


def _blame(mistakes: Mapping[str, list[Cell]]) -> Iterator[str]:
    """Each mistake once, with the cells that have it."""
    for mistake, cells in mistakes.items():
        others = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        yield f"{cells[0]}{others}: {mistake}"
