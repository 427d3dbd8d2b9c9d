"""What annotation tools return: a zip, or the folder it was unpacked to; what it is, and the texts in it."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from fathomseg.data.datasets.yolo import CLASSES
from fathomseg.errors import FathomError
from fathomseg.io.listing import ending, is_hidden, walk
from fathomseg.io.yolo import DESCRIPTION

LABELMAP: Final = "labelmap.txt"
"""By which CVAT's masks are known."""


def kind_of(source: Path) -> Literal["cvat", "coco", "yolo"]:
    """The format of a zip or folder, by the names of its files; "cvat" if none of the others."""
    names = {PurePosixPath(name).name for name in _names(source)}
    if LABELMAP in names:
        return "cvat"
    if names & {DESCRIPTION, CLASSES}:
        return "yolo"
    return "coco" if any(ending(name) == ".json" for name in names) else "cvat"


def texts(source: Path, endings: Collection[str]) -> dict[str, bytes]:
    """The files with these endings by their path in the zip or folder. Raises `FathomError`."""
    if source.is_dir():
        return {name: path.read_bytes() for name, path in walk(source) if ending(name) in endings}
    with open_zip(source) as archive:
        entries = [(parts_of(entry, source), entry) for entry in archive.infolist()]
        named = {"/".join(parts): entry for parts, entry in entries if parts and ending(parts[-1]) in endings}
        return {name: content_of(archive, named[name], source) for name in sorted(named)}


def open_zip(source: Path) -> zipfile.ZipFile:
    """The opened archive. Raises `FathomError`."""
    try:
        return zipfile.ZipFile(source)
    except Exception as error:  # damaged directories end in errors of arithmetic and text too
        raise FathomError(f"{source} cannot be opened as a zip ({error}). Export it again.") from None


def parts_of(entry: zipfile.ZipInfo, source: Path) -> list[str] | None:
    """The path of a file in an archive; None for folders and system files. Raises `FathomError` if it leads out."""
    # Python makes "/" of the system's own separator only; old tools of Windows write theirs on any.
    parts = entry.filename.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise FathomError(f"{source} holds {entry.filename!r}, a path out of the archive; it is not opened.")
    return None if entry.is_dir() or not parts[-1] or any(is_hidden(part) for part in parts) else parts


def content_of(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, source: Path) -> bytes:
    """The bytes of a file in an archive. Raises `FathomError`."""
    try:
        return archive.read(entry)
    except Exception as error:  # a wrong checksum, a password, a compression that is not known
        raise FathomError(f"{source}: {entry.filename} cannot be unpacked ({error}). Export it again.") from None


def _names(source: Path) -> list[str]:
    if source.is_dir():
        return [name for name, _ in walk(source)]
    if not zipfile.is_zipfile(source):
        return []
    with open_zip(source) as archive:
        found = [parts_of(entry, source) for entry in archive.infolist()]
    return ["/".join(parts) for parts in found if parts]
