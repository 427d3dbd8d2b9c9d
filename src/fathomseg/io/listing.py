"""The one way to list the user's folders, for all verbs: links are followed, hidden and system files passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from fathomseg.errors import DataError, Problem

VIDEOS: Final = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
"""File name endings, in lower case, that count as videos. Here, because `io.video` loads ffmpeg."""

UNREAD: Final = frozenset(
    """
    .3gp .arw .avif .bpg .cr2 .cr3 .dng .exr .flv .gif .hdr .heic .heif .ico .j2k .jp2 .jpe .jxl .m2ts .m2v .mpeg
    .mts .mxf .nef .npy .npz .ogv .orf .pbm .pnm .psd .raw .rw2 .svg .tga .ts .vob .wmv
    """.split()  # noqa: SIM905 - a list would be one line per ending
)
"""Endings of pictures and videos that are not read."""

_SYSTEM: Final = frozenset(
    {
        "__macosx",
        "$recycle.bin",
        "@eadir",
        "desktop.ini",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)
"""Files and folders that systems put beside the user's, in lower case."""


def is_hidden(name: str) -> bool:
    """Whether the name of a file or folder says that it is not the user's data."""
    return name.startswith(".") or name.lower() in _SYSTEM


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below `folder`, sorted folder by folder: its path from there with "/" between, and where it is.

    Linked folders are followed, but never into one they lie in. Nothing if there is no such folder. Raises `DataError`
    for a folder that cannot be listed, which would seem empty.
    """

    def refuse(error: OSError) -> None:
        if error.filename != os.fspath(folder) or not isinstance(error, FileNotFoundError | NotADirectoryError):
            reason = f"cannot be listed ({error.strerror}); see to it that you may read it, or move it away"
            raise DataError([Problem(str(error.filename), reason)]) from None

    above: dict[str, frozenset[str]] = {}
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        within = above.pop(parent, frozenset()) | {os.path.realpath(parent)}
        kept = []
        for name in sorted(folders):
            path = os.path.join(parent, name)  # noqa: PTH118 - pathlib would triple the time of long listings
            if not is_hidden(name) and not (os.path.islink(path) and _leads_up(path, within)):  # noqa: PTH114
                kept.append(name)
                above[path] = within
        folders[:] = kept
        here = Path(parent)
        inside = "" if here == folder else here.relative_to(folder).as_posix() + "/"
        for name in sorted(names):
            if not is_hidden(name):
                yield inside + name, here / name


def _leads_up(link: str, within: frozenset[str]) -> bool:
    """Whether a link leads to a folder that it lies in, on the way that was walked or on the disk."""
    target = os.path.realpath(link)
    here = os.path.realpath(os.path.dirname(link))  # noqa: PTH120 - as above
    return target in within or (here + os.sep).startswith(target.rstrip(os.sep) + os.sep)


def missing(path: Path) -> str:
    """Why a file that was listed is not there, and what to do."""
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which is not there; replace or remove it"
    return "there is no such file"


def stamp(path: Path) -> str:
    """A text that changes with the file: its byte size and time of change. Raises `DataError` if there is none."""
    try:
        status = path.stat()
    except OSError:
        raise DataError([Problem(str(path), missing(path))]) from None
    return f"{status.st_size}|{status.st_mtime_ns}"


def ending(name: str) -> str:
    """What a file name ends in, in lower case and with its dot; "" without one."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - as above


def passed_over(folder: Path, known: Collection[str]) -> Counter[str]:
    """How many files below `folder` have each ending that is not `known`."""
    return Counter(by_first_spelling(name for name, _ in walk(folder) if ending(name) not in known))


def by_first_spelling(names: Iterable[str]) -> Iterator[str]:
    """The ending of every name, in the spelling in which it was met first."""
    met: dict[str, str] = {}
    for name in names:
        end = ending(name)
        yield met.setdefault(end, name[len(name) - len(end) :])


def counted(endings: Counter[str]) -> str:
    """ "3 .gif, 1 .heic", the most frequent first; "" if there are none."""
    return ", ".join(f"{count} {end or 'without an ending'}" for end, count in sorted(endings.items(), key=_most))


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
