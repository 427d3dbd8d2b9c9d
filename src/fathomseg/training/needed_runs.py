"""Runs that recipes need; missing ones are reported before anything starts, with the command that makes them."""

from __future__ import annotations

import re
import shlex
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fathomseg.config import Part, read_yaml
from fathomseg.data.datasets.layout import Layout
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, no_run, stopped
from fathomseg.named_recipes import header, packaged
from fathomseg.text import at_home, read_text

_SETTINGS: Final = ("run", "prelabels")
"""What settings are called that hold the folder of a run, or an exported file."""


def refuse_missing_runs(recipes: Iterable[Part], recipe: Path | None, own: Path) -> None:
    """Raise `FathomError` naming each run that is not there, the settings that ask for it, and the command by which the
    header of the file `recipe` says it is made.
    """
    asked: dict[Path, dict[str, None]] = {}
    recipes = list(recipes)
    for key, run in needed_runs(recipes, own):
        if not (run.is_file() or (run / CARD).is_file()):
            asked.setdefault(run.absolute(), {})[key] = None
    if asked:
        head = " ".join(header(read_text(recipe))) if recipe is not None else ""
        data = next((found for one in recipes if (found := getattr(one, "data", None)) is not None), None)
        raise FathomError("\n".join(_told(run, list(keys), head, data) for run, keys in asked.items()))


def needed_runs(recipes: Iterable[Part], own: Path | None = None) -> Iterator[tuple[str, Path]]:
    """The settings of these recipes that hold the folder of a run or an exported file, with their values; without those
    in the folder `own`, which are earlier phases of the same run."""
    for one in recipes:
        for key, run in _runs(one):
            if own is None or not run.absolute().is_relative_to(own.absolute()):
                yield key, run


def _runs(part: Any, key: str = "") -> Iterator[tuple[str, Path]]:
    """The settings of a part, and of the parts in it, that hold a run."""
    if isinstance(part, Part | Mapping):
        for name, value in part.items() if isinstance(part, Mapping) else part:
            if name in _SETTINGS and isinstance(value, Path):
                yield f"{key}{name}", value
            else:
                yield from _runs(value, f"{key}{name}.")


def _told(run: Path, keys: list[str], head: str, data: Any) -> str:
    here = _here(run)
    made = re.search(rf"{re.escape(str(here))} \((fathom [^)]+)\)", head)
    asks, other = " and ".join(keys), " ".join(f"{key}=FOLDER" for key in keys)
    if (why := stopped(here)) is not None:
        return f"{why}\nOr give another run for {asks}: {other}"
    how = f"make it by `{_of_data(made[1], data)}`" if made else "make it by `fathom train` or `fathom pretrain`"
    return no_run(
        here,
        f"{asks} {'asks' if len(keys) == 1 else 'ask'} for a run that has reached its end. First {how}, or give "
        f"another run: {other}",
    )


def _of_data(command: str, data: Any) -> str:
    """The command with the place of the data, if its recipe is for the same kind and looks for it elsewhere."""
    root, recipe = getattr(data, "root", None), packaged(command.split()[2])
    theirs = read_yaml(recipe).get("data") if recipe is not None else None
    if (
        not isinstance(root, Path)
        or not isinstance(theirs, dict)
        or at_home(str(theirs.get("root"))).absolute() == root
    ):
        return command
    own = typing.get_args(Layout)  # a recipe for one's own data takes each of them
    if theirs.get("name") != data.name and not (theirs.get("name") in own and data.name in own):
        return command
    return f"{command} {shlex.quote(f'data.root={_here(root)}')}"


def _here(path: Path) -> Path:
    """A path as it is seen from the working folder, if it lies in there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
