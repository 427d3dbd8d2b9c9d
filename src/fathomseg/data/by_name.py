"""Files of any program that belong to samples, found by the names of the samples."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.listing import walk


@dataclass(frozen=True)
class ByName:
    """The files below a folder that belong to samples, each under the name of its sample.

    A file belongs to a sample if the path of one (without ending) ends with that of the other: both `stem.png` and
    `val/city/stem.png` serve the sample `city/stem`. `ids` are those of the whole split.
    """

    folder: Path
    ids: tuple[str, ...]
    endings: tuple[str, ...] = (".png",)

    def path(self, id: str) -> Path:
        """The one file of this sample. Raises `DataError` if there is none, or more than one."""
        nested = self._by_tail.get(id, [])  # the file's path ends with the id
        flat: list[Path] = next((self._by_path[tail] for tail in _tails(id) if tail in self._by_path), [])
        found = nested or flat
        if not found:
            named = f"{self.folder / id} or {id.rsplit('/', 1)[-1]}, with the ending {' or '.join(self.endings)}"
            raise DataError([Problem(id, f"has no prediction; expected {named}")])
        if len(found) > 1:
            raise DataError([Problem(id, f"has {len(found)} predictions: {found[0]}, {found[1]} ...; keep one")])
        if not nested and (twin := self._other_owner(found[0], id)):
            raise DataError([Problem(id, f"{found[0]} might be the prediction of {twin} too; keep the folders of ids")])
        return found[0]

    @cached_property
    def _by_path(self) -> dict[str, list[Path]]:
        """Every file by its path below the folder, without ending."""
        if not self.folder.is_dir():
            endings = " or ".join(self.endings)
            raise FathomError(f"There is no folder {self.folder} with predictions. Give one of {endings} files.")
        paths: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(path for _, path in walk(self.folder)):
            if path.suffix.lower() in self.endings:
                paths[path.relative_to(self.folder).with_suffix("").as_posix()].append(path)
        return dict(paths)

    @cached_property
    def _by_tail(self) -> dict[str, list[Path]]:
        tails: dict[str, list[Path]] = defaultdict(list)
        for stem, paths in self._by_path.items():
            for tail in _tails(stem):
                tails[tail] += paths
        return tails

    def _other_owner(self, path: Path, id: str) -> str | None:
        """Another sample of the split whose id ends with the path of this file."""
        stem = path.relative_to(self.folder).with_suffix("").as_posix()
        return next((other for other in self._ids_by_tail[stem] if other != id), None)

    @cached_property
    def _ids_by_tail(self) -> dict[str, list[str]]:
        tails = defaultdict(list)
        for id in self.ids:
            for tail in _tails(id):
                tails[tail].append(id)
        return tails


def _tails(path: str) -> list[str]:
    """a/b/c, b/c, c"""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
