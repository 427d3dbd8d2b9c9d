"""What the verbs share that start by a recipe or resume what they have started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fathomseg.config import Part, load
from fathomseg.errors import ConfigError
from fathomseg.io.files import refuse_unwritable
from fathomseg.training.run_folder import reopen

P = TypeVar("P", bound=Part)


def started(
    kind: type[P],
    recipe: Path | None,
    overrides: Sequence[str],
    out: Path | None,
    resume: Path | None,
    refuse: Callable[[Sequence[str]], None],
    named: tuple[str, str] = ("run", "RUN"),
) -> tuple[P, Path, str]:
    """The settings, the folder (`out`, runs/RECIPE, or `resume`), and the words that tell the command from others.

    `refuse` raises `ConfigError` for settings that what is resumed cannot be given; `named`: what is started, and its
    folder in the help. Raises `ConfigError` unless there is either a recipe or something to resume, in its own folder.
    """
    if (recipe is None) == (resume is None):
        what, folder = named
        raise ConfigError(f"Give either a recipe to start a {what}, or --resume {folder} to resume one.")
    if resume is not None and out is not None:
        raise ConfigError(f"--out {out} is not used: --resume goes on in the folder {resume}. Give one of the two.")
    if resume is not None:
        refuse(overrides)
        return load(kind, reopen(resume, named[0]), overrides), resume, f"--resume {resume}"
    assert recipe is not None
    place = out or Path("runs") / recipe.stem
    refuse_unwritable(place)
    return load(kind, recipe, overrides), place, str(recipe)
