"""What a user may give to be predicted: an image, a video, a folder of them, or a pattern such as `drive/*.png`."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fathomseg.data.datasets.folder import DESCRIPTION
from fathomseg.errors import FathomError
from fathomseg.io import images
from fathomseg.io.listing import VIDEOS, by_first_spelling, counted, ending, is_hidden, walk

KNOWN: Final = images.SUFFIXES | VIDEOS
"""The endings of what can be predicted."""
_TRUTH: Final = ("labels", "depth", "normals")
"""Folders of a dataset (beside its dataset.yaml) whose images are no photographs."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files that were given."""

    root: Path
    """The folder that results keep the paths from."""
    files: tuple[Path, ...]
    """Images and videos, sorted."""
    others: str
    """What else lies in a folder, counted by ending; "" if nothing."""
    left_out: tuple[str, ...] = ()
    """The folders of a dataset that hold its truth and were passed over, such as "labels/"."""


def find_files(source: str | Path, out: Path) -> Found:
    """All images and videos in `source`, but not what lies below `out`, nor hidden and system files, nor
    the truth of a dataset. A pattern has *, ? or [...]; ** is any folders.

    Raises `FathomError` if there are none.
    """
    path = Path(source)
    pattern = not path.exists() and glob.has_magic(str(source))
    if not path.exists() and not pattern:
        raise FathomError(
            f"There is no file or folder {source}. Give an image, a video, a folder of them, a pattern in quotes such "
            "as 'drive/*.png', or the number of a camera."
        )
    if path.is_dir() and path.resolve() == out.resolve():
        raise FathomError(f"{out} is the folder of the images itself; give another for the results (--out).")
    left_out: tuple[str, ...] = ()
    if path.is_file():
        root, every = path.parent, [path]
    else:
        root, results = _fixed(path) if pattern else path, out.resolve()
        inside = root.resolve() in results.parents
        left_out = () if pattern else _truth_of(path)
        matches = _matches(root, path) if pattern else (f for name, f in walk(path) if not name.startswith(left_out))
        files_alone = (file for file in matches if not file.is_dir())  # links that lead nowhere are met when read
        every = sorted(file for file in files_alone if not inside or results not in file.resolve().parents)
    files = tuple(file for file in every if ending(file.name) in KNOWN)
    described = frozenset() if path.is_file() or pattern else _description_of(path, every)
    others = (file.name for file in every if ending(file.name) not in KNOWN and file not in described)
    unknown = counted(Counter(by_first_spelling(others)))
    if not files:
        what = f"has the ending {path.suffix!r}" if path.is_file() else "holds no image and no video"
        what = "matches no image and no video" if pattern else what
        what += f", but {unknown}" if unknown and not path.is_file() else ""
        what += "; capitals count" if pattern and not unknown else ""
        raise FathomError(f"{source} {what}. Known endings: {' '.join(sorted(KNOWN))}")
    return Found(root, files, "" if path.is_file() else unknown, left_out)


def _truth_of(folder: Path) -> tuple[str, ...]:
    """The folders that hold the truth of a dataset, with their "/"; none if it is no dataset."""
    if not (folder / DESCRIPTION).is_file():
        return ()
    return tuple(f"{name}/" for name in _TRUTH if (folder / name).is_dir())


def _description_of(folder: Path, files: Iterable[Path]) -> frozenset[Path]:
    """What a dataset says of itself beside its images: dataset.yaml, lists of splits and cameras; none of another
    folder."""
    if not (folder / DESCRIPTION).is_file():
        return frozenset()
    endings = {"splits": ".txt", "clips": ".yaml", "videos": ".yaml"}
    of_parts = (file for file in files if endings.get(file.relative_to(folder).parts[0]) == ending(file.name))
    return frozenset({folder / DESCRIPTION, *of_parts})


def _matches(root: Path, pattern: Path) -> Iterator[Path]:
    """The files below `root` that match, without those that listing the folder passes over."""
    for file in root.glob(str(pattern.relative_to(root))):
        if not any(is_hidden(part) for part in file.relative_to(root).parts):
            yield file


def _fixed(pattern: Path) -> Path:
    """The folders in front of the first part of a pattern that has a wildcard."""
    parts = pattern.parts[:-1]
    fixed = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:fixed])
