"""A case of the corpus: an odd input, the command that meets it, and what must come of it. One runner for all of them.

A command does one of three things with an odd input: it works, exactly; it refuses it (exit code 2); or it goes on
without what cannot be used and lists that (exit code 1). There is never a traceback, and nothing of the user's changes.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from fathomseg import cli


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Place:
    """Where a case takes place: the user's files in `root`, which is the working directory; what is written, in `out`.

    Beside `root` lie copies of trained networks, made when they are asked for.
    """

    root: Path
    networks: Path
    notes: dict[str, Any] = field(default_factory=dict)
    """What a case keeps from before it made its input odd."""

    @property
    def out(self) -> Path:
        return self.root.parent / "out"

    def network(self, name: str) -> str:
        """The path of a copy of one of `networks.py`, from the working directory."""
        copy, source = self.root.parent / name, self.networks / name
        if not copy.exists():
            shutil.copytree(source, copy) if source.is_dir() else shutil.copyfile(source, copy)
        return f"../{name}"

    def fathom(self, *words: str, code: int | None = 0) -> Done:
        """Run a command; `code` is what it must end with, None for anything.

        A word @NAME is the path of that network, and `--out` is added where it is only named.
        """
        given = [self.network(word[1:]) if word.startswith("@") else word for word in words]
        out, err = io.StringIO(), io.StringIO()
        with (
            chdir(self.root),
            redirect_stdout(out),
            redirect_stderr(err),
            patch.object(sys, "argv", ["fathom", *given]),
        ):
            try:
                cli.main()
                ended: Any = 0
            except SystemExit as stop:
                ended = stop.code
        done = Done(int(ended or 0), out.getvalue(), err.getvalue())
        assert code in (None, done.code), f"fathom {' '.join(given)} ended with {done.code}:\n{done.text}"
        return done


Check = Callable[[Place, Done], None]


@dataclass(frozen=True)
class Works:
    """The command works, and `check` finds exactly what it should."""

    check: Check


@dataclass(frozen=True)
class Says:
    """The command ends with this code, and these words are in what it says."""

    code: int
    words: tuple[str, ...]


def refused(*words: str) -> Says:
    """Refused: the words name the file and what to do."""
    return Says(2, words)


def told(*words: str) -> Says:
    """What can be used is, what cannot is listed: by `check`, `predict`, `distill`, `import-labels`."""
    return Says(1, words)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    data: str
    """The kind of dataset, or `none`."""
    make: Callable[[Place], object]
    """Makes the input, in the working directory."""
    words: tuple[str, ...]
    """The command; its first word is the verb."""
    then: Works | Says


def run(case: Case, place: Place) -> None:
    """Make the input, run the command, and hold it to what it must do."""
    with chdir(place.root):
        case.make(place)
    before = snapshot(place.root)
    done = place.fathom(*case.words, code=None)
    said = f"\n{done.text}"
    assert "Traceback" not in done.text, said
    if isinstance(case.then, Says):
        assert done.code == case.then.code, f"exit code {done.code}{said}"
        # Messages may be broken into lines to fit a terminal's width.
        flat = " ".join(done.text.split())
        assert not (missing := [word for word in case.then.words if word not in flat]), f"lacks {missing}{said}"
        if done.code == 2:
            assert done.err.lstrip().startswith(("error:", "Usage:")) or "\nerror: " in done.err, said
    else:
        assert done.code == 0, f"exit code {done.code}{said}"
        with chdir(place.root):
            case.then.check(place, done)
    assert snapshot(place.root) == before, "a file of the user's was changed"


def snapshot(root: Path) -> dict[str, str]:
    """Everything below a folder but `runs`, where commands write: what files hold, and where links lead."""
    found = {}
    for folder, folders, files in os.walk(root):
        if Path(folder) == root and "runs" in folders:
            folders.remove("runs")
        for name in [*folders, *files]:
            path = Path(folder, name)
            if path.is_symlink():
                found[str(path)] = f"-> {path.readlink()}"
            else:
                found[str(path)] = "/" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def table(*rows: Sequence[Any]) -> tuple[Case, ...]:
    """Cases of rows (name, data, make, words as one text or several, what must come of it)."""
    return tuple(Case(n, d, m, tuple(w.split() if isinstance(w, str) else w), t) for n, d, m, w, t in rows)
