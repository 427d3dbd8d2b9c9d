"""Files of any program that belong to samples, found by the names of the samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fathomseg.data.datasets.files import Files
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.listing import walk


@dataclass(frozen=True)
class ByName:
    """The files below a folder that belong to samples, each under the name of its sample or of its image.

    A file belongs to a sample if the path of one (without ending) ends with that of the other: both `stem.png` and
    `val/city/stem.png` serve the sample `city/stem`. So does what the path of its image ends with, as it is stored or
    with the sample's own name in the last place: `city/stem_leftImg8bit.png` and `val/city/stem.png` serve the sample
    `val/stem` whose image is `leftImg8bit/val/city/stem_leftImg8bit.png`. `ids` are those of the whole split.
    """

    folder: Path
    ids: tuple[str, ...]
    endings: tuple[str, ...]
    files: Callable[[str], Files | None]
    """Where the sample of an id is stored; None if it lies in no file (`Dataset.files`)."""
    suffix: str = ""
    """What the names of the files have behind that of the sample."""

    def path(self, id: str) -> Path:
        """The one file of this sample. Raises `DataError` if there is none, or more than one."""
        own = f"{id}{self.suffix}"
        if nested := self._by_tail.get(own, []):  # the file's path ends with the id
            return _only(nested, id)
        if flat := self._ending((own,)):
            return self._unshared(_only(flat, id), id, self._ids_by_tail)
        if stored := self._ending(self._names_of_image(id)):
            return self._unshared(_only(stored, id), id, self._ids_by_image)
        named = f"{self.folder / own} or {own.rsplit('/', 1)[-1]}, with the ending {' or '.join(self.endings)}"
        raise DataError([Problem(id, f"has no file; expected {named}")])

    def _ending(self, names: tuple[str, ...]) -> list[Path]:
        """The files whose path is the longest end of one of these names that any has."""
        tails = sorted((tail for name in names for tail in _tails(name)), key=lambda tail: -tail.count("/"))
        deepest = next((tail.count("/") for tail in tails if tail in self._by_path), None)
        return [path for tail in tails if tail.count("/") == deepest for path in self._by_path.get(tail, [])]

    def _unshared(self, path: Path, id: str, owners: dict[str, set[str]]) -> Path:
        """The file, if it is no other sample's by the same rule. Raises `DataError`."""
        stem = path.relative_to(self.folder).with_suffix("").as_posix()
        twin = next((other for other in sorted(owners[stem]) if other != id), None)
        if twin is not None:
            raise DataError([Problem(id, f"{path} might be the file of {twin} too; keep the folders of ids")])
        return path

    def _names_of_image(self, id: str) -> tuple[str, ...]:
        """The path of the image without its ending, and with the sample's name alone in the last place if it begins
        with that; a frame of a video has none."""
        files = self.files(id)
        if files is None or files.frame is not None:
            return ()
        name, image = id.rsplit("/", 1)[-1], files.image.with_suffix("")
        names = {image, image.with_name(name)} if image.name.startswith(name) else {image}
        return tuple(f"{path.as_posix()}{self.suffix}" for path in sorted(names))

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

    @cached_property
    def _ids_by_tail(self) -> dict[str, set[str]]:
        """The ids that end with a name of a file."""
        return _owners({id: (f"{id}{self.suffix}",) for id in self.ids})

    @cached_property
    def _ids_by_image(self) -> dict[str, set[str]]:
        """The ids that end with a name of a file, or whose image's path does."""
        return _owners({id: (f"{id}{self.suffix}", *self._names_of_image(id)) for id in self.ids})


def _only(found: list[Path], id: str) -> Path:
    if len(found) > 1:
        raise DataError([Problem(id, f"has {len(found)} files: {found[0]}, {found[1]} ...; keep one")])
    return found[0]


def _owners(names: dict[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """By every end of a name the ids that have it."""
    tails: dict[str, set[str]] = defaultdict(set)
    for id, own in names.items():
        for name in own:
            for tail in _tails(name):
                tails[tail].add(id)
    return tails


def _tails(path: str) -> list[str]:
    """a/b/c, b/c, c"""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
