"""What a verb says last: what came of it, and the page to open.

A verb may do the work of others (`train` evaluates), so each only notes its outcome, and the command line prints the
last one noted. The page is the last one that was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PAGE: Final = ".html"


@dataclass(slots=True)
class _Noted:
    result: str | None = None
    page: Path | None = None


_noted: Final = _Noted()


def forget() -> None:
    """Begin anew: a verb begins."""
    _noted.result = _noted.page = None


def conclude(result: str) -> None:
    """Note what came of a verb, in a few words: "mIoU 51.2 % on val"."""
    _noted.result = result


def wrote(path: Path) -> None:
    """Note that a file was written; `io.files` says it of every file."""
    if path.suffix == _PAGE:
        _noted.page = path


def last_line() -> str | None:
    """What to print last; None if no verb has come to anything."""
    if _noted.result is None:
        return None
    return _noted.result + (f"; open {_noted.page}" if _noted.page is not None else "")
