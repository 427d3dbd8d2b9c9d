"""The recipes that come with the package, by name: `camvid/classmix` is recipes/camvid/classmix.yaml.

In a clone they are the folder recipes/, in a wheel they lie inside the package. Nothing heavy is imported here: shell
completion and `fathom recipes` read them too.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fathomseg.errors import ConfigError

_HERE: Final = Path(__file__).resolve().parent
# A checkout without symbolic links (Windows) has a file where the link to the folder should be.
FOLDER: Final = next(
    path for path in (_HERE / "recipes", _HERE.parents[1] / "recipes", _HERE) if path.is_dir()
).resolve()
"""Where they are."""

_PREFIX: Final = "recipes/"
_ENDING: Final = ".yaml"
_EXPECTED: Final = "Expected:"
_SENTENCE: Final = re.compile(r"(?<=[a-z0-9)`])(?<!et al)\.\s")
_COMMAND: Final = r"fathom (\w+) {}{}{}"
_MOST: Final = 3
"""Nearest names that an error shows."""


@dataclass(frozen=True, slots=True)
class Named:
    """One recipe as `fathom recipes` lists it."""

    name: str
    about: str
    """The first sentence of its header."""
    verb: str
    """The verb it is for, from the command in its header."""
    expected: str | None
    """What was measured, from the line `# Expected: ...` of its header; None where nothing was."""


def names() -> list[str]:
    """All of them: their paths below the folder, without the ending."""
    return sorted(path.relative_to(FOLDER).as_posix().removesuffix(_ENDING) for path in FOLDER.rglob(f"*{_ENDING}"))


def lookup(text: str) -> Path | None:
    """The file meant by a path or a name (`camvid`, `recipes/camvid.yaml`); None where there is neither."""
    given = Path(text).expanduser()
    return given if given.is_file() else packaged(text)


def packaged(text: str) -> Path | None:
    """The file of the package by its name or by its path in a clone, `recipes/...`; None where there is none."""
    name = text.removeprefix("./").removeprefix(_PREFIX)
    inside = [FOLDER / f"{name.removesuffix(_ENDING)}{_ENDING}", FOLDER / name]
    found = next((path for path in inside if path.is_file()), None)
    return found if found is not None and FOLDER in found.resolve().parents else None


def find(text: str) -> Path:
    """The file meant by a path or a name. Raises `ConfigError` with the nearest names."""
    if (path := lookup(text)) is not None:
        return path
    near = nearest(text)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise ConfigError(
        f"No recipe at {text}.{hint} Give the path of a YAML file, or a name; `fathom recipes` lists the names."
    )


def nearest(text: str) -> list[str]:
    """The names most like a text, by their whole or by their last part."""
    known, name = names(), text.removeprefix(_PREFIX).removesuffix(_ENDING)
    close = difflib.get_close_matches(name, known, n=_MOST, cutoff=0.6)
    last = {one.rpartition("/")[2] for one in known}
    ends = difflib.get_close_matches(name.rpartition("/")[2], sorted(last), n=1, cutoff=0.75)
    close += [one for one in known if one.rpartition("/")[2] in ends and one not in close]
    return close[:_MOST]


def listed(word: str | None = None) -> list[Named]:
    """Those whose name or header has the word, in any case; all without one."""
    found = [(name, header((FOLDER / f"{name}{_ENDING}").read_text(encoding="utf-8"))) for name in names()]
    wanted = (word or "").lower()
    return [_named(name, head) for name, head in found if wanted in f"{name} {' '.join(head)}".lower()]


def header(text: str) -> list[str]:
    """The paragraphs of the comment that a recipe begins with, each in one line; the line `Expected:` is one itself."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        said = line.removeprefix("#").strip()
        lines += ["", said] if said.startswith(_EXPECTED) else [said]
    return [part.replace("\n", " ").strip() for part in "\n".join(lines).split("\n\n")]


def _named(name: str, head: list[str]) -> Named:
    expected = next((part.removeprefix(_EXPECTED).strip() for part in head if part.startswith(_EXPECTED)), None)
    own = re.search(_COMMAND.format(_PREFIX, re.escape(name), re.escape(_ENDING)), " ".join(head))
    about = _SENTENCE.split(f"{head[0]} ", maxsplit=1)[0].rstrip(". ")
    return Named(name, about, own[1] if own else "train", expected)
