"""Runs that recipes need; missing ones are reported before anything starts, with the command that makes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, stopped
from fathomseg.named_recipes import header
from fathomseg.text import read_text

_SETTINGS: Final = ("run", "prelabels")
"""What settings are called that hold the folder of a run, or an exported file."""


def refuse_missing_runs(recipes: Iterable[Part], recipe: Path | None, own: Path) -> None:
    """Raise `FathomError` naming each run that is not there, the settings that ask for it, and the command by which the
    header of the file `recipe` says it is made.
    """
    asked: dict[Path, dict[str, None]] = {}
    for key, run in needed_runs(recipes, own):
        if not (run.is_file() or (run / CARD).is_file()):
            asked.setdefault(run.absolute(), {})[key] = None
    if asked:
        head = " ".join(header(read_text(recipe))) if recipe is not None else ""
        raise FathomError("\n".join(_told(run, list(keys), head) for run, keys in asked.items()))


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


def _told(run: Path, keys: list[str], head: str) -> str:
    here = run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run
    made = re.search(rf"{re.escape(str(here))} \((fathom [^)]+)\)", head)
    asks, other = " and ".join(keys), " ".join(f"{key}=FOLDER" for key in keys)
    if (why := stopped(here)) is not None:
        return f"{why}\nOr give another run for {asks}: {other}"
    how = f"make it by `{made[1]}`" if made else "make it by `fathom train` or `fathom pretrain`"
    return (
        f"{here} holds no model ({CARD}): {asks} {'asks' if len(keys) == 1 else 'ask'} for a run that "
        f"has reached its end. First {how}, or give another run: {other}"
    )
