"""Which files of a folder the program has put there, so that it never takes a user's file for its own.

A folder has a hidden list of the files written into it: of each its size and time of change, or where a link leads to.
A file is the program's own only while that is true of it; one that was edited since is the user's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fathomseg.errors import FathomError
from fathomseg.io.files import read_tree, write_text
from fathomseg.io.listing import stamp
from fathomseg.io.lock import HOLDER, LOCK

LIST: Final = ".fathom-wrote.json"
_LOCKS: Final = frozenset({LOCK, HOLDER})
"""A command that is alone in the folder holds them, and removes them itself."""
_GROWS: Final = "grows"


def own(folder: Path, names: Iterable[str], grows: bool = False) -> None:
    """Note that the program has written these files of a folder. Those that `grows` may change, and may come later."""
    known = _known(folder) | {name: _GROWS if grows else _mark(folder / name) for name in names}
    write_text(folder / LIST, json.dumps(known, indent=0) + "\n")


def foreign(folder: Path) -> list[Path]:
    """The files below a folder that are not known to be the program's own, sorted. Empty folders count for nothing."""
    known = _known(folder)
    names = {path: path.relative_to(folder).as_posix() for path in _files(folder)}
    return sorted(path for path, name in names.items() if name != LIST and not _owned(path, name, known))


def remove_own(folder: Path, below: str = "") -> list[Path]:
    """Remove the program's own files from a folder, or those `below` a name in it, and the folders that are empty then.

    Returns what stays.
    """
    kept = foreign(folder)
    own_files = [path for path in _files(folder / below) if path not in kept]
    for path in own_files:
        path.unlink()
    inside = {parent for path in own_files for parent in path.parents if folder in parent.parents}
    for parent in [*sorted(inside, reverse=True), folder]:
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
    return kept


def clear(folder: Path) -> None:
    """Make way for a new folder of this name: what is the program's own is removed, the rest moved to `NAME.old-1`."""
    if folder.is_dir() and remove_own(folder):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
            number += 1
        folder.rename(aside)


def _known(folder: Path) -> dict[str, str]:
    try:
        known = read_tree(folder / LIST)
    except (OSError, FathomError):
        return {}
    return {key: mark for key, mark in known.items() if isinstance(mark, str)} if isinstance(known, dict) else {}


def _owned(path: Path, name: str, known: dict[str, str]) -> bool:
    for candidate in (name, *(f"{parent.as_posix()}/*" for parent in Path(name).parents)):
        if candidate in known:
            return known[candidate] == _GROWS or known[candidate] == _mark(path)
    return False


def _mark(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return stamp(path)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if (path.is_symlink() or not path.is_dir()) and path.name not in _LOCKS]
