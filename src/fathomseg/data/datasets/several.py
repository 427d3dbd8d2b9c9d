"""Several datasets in one, so that one training can use images of different places and cameras."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from pydantic import AfterValidator, Field

from fathomseg.data.datasets.base import Dataset, Kind, Traits
from fathomseg.data.datasets.files import FileDataset
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.errors import FathomError, Problem
from fathomseg.types import Camera, ClassList, Size

if TYPE_CHECKING:
    from fathomseg.data.datasets import OneDataset


class ClassesDiffer(FathomError):
    """The classes of several datasets were requested, but their class lists differ."""


def _key(text: str) -> str:
    if not text or "/" in text:
        raise ValueError("the name of a dataset among several must not be empty or contain '/'")
    return text


class Several(Dataset):
    """Datasets side by side under names of your choice. An id is `name/id there` ("town/train/0003/000017").

    A split holds the images of all datasets that have a split of that name. Everything known of an image is what its
    own dataset knows, so cameras and sizes may differ. Class lists may differ too where no classes are needed, as in
    learning depth.
    """

    name: Literal["several"] = "several"
    datasets: dict[Annotated[str, AfterValidator(_key)], OneDataset] = Field(min_length=1)
    """The datasets by name. Each is written as it would be alone: `{town: {name: streets, seed: 1}, ...}`."""

    def __hash__(self) -> int:
        """Equal for equal datasets; a dict alone has no hash."""
        return hash(frozenset(self.datasets.items()))

    @property
    def classes(self) -> ClassList:
        """The classes all datasets share. Raises `ClassesDiffer` naming two that do not."""
        for (one, first), (other, second) in pairwise(self.datasets.items()):
            if first.classes != second.classes:
                raise ClassesDiffer(
                    f"The datasets {one!r} ({first.name}) and {other!r} ({second.name}) have different classes: "
                    f"{_difference(first.classes, second.classes)}. Leave one of them out for segmentation; learning "
                    "depth needs no classes and can use both."
                )
        return next(iter(self.datasets.values())).classes

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of all splits that any of the datasets has."""
        return tuple(dict.fromkeys(split for dataset in self.datasets.values() for split in dataset.splits))

    def ids(self, split: str) -> Sequence[str]:
        """The sorted ids of all datasets that have this split. Raises `FathomError` if none has."""
        having = {key: dataset for key, dataset in self.datasets.items() if split in dataset.splits}
        if not having:
            raise FathomError(f"The datasets have no split {split!r}; there is: {', '.join(self.splits)}.")
        return sorted(f"{key}/{id}" for key, dataset in having.items() for id in dataset.ids(split))

    def member(self, id: str) -> tuple[str, Dataset, str]:
        """The name of the dataset an id belongs to, the dataset, and the id there. Raises `FathomError`."""
        key, _, inner = id.partition("/")
        if key not in self.datasets:
            begins = ", ".join(f"{key}/" for key in self.datasets)
            raise FathomError(f"The datasets have no sample {id!r}; ids begin with the dataset's name: {begins}.")
        return key, self.datasets[key], inner

    def image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB image, uint8. Raises `DataError` with the reason if it cannot be read."""
        _, dataset, inner = self.member(id)
        return dataset.image(inner)

    def size_of(self, id: str) -> Size:
        """(height, width) of the stored image. Raises `DataError`."""
        _, dataset, inner = self.member(id)
        return dataset.size_of(inner)

    def has_label(self, id: str) -> bool:
        """Whether a label exists, without opening it."""
        _, dataset, inner = self.member(id)
        return dataset.has_label(inner)

    def label_map(self, id: str | None = None) -> LabelMap | None:
        """That of the sample's dataset; of all, if all have the same."""
        if id is not None:
            _, dataset, inner = self.member(id)
            return dataset.label_map(inner)
        maps = [dataset.label_map() for dataset in self.datasets.values()]
        same = {None if one is None else (one.kind, one.ids) for one in maps}
        return maps[0] if len(same) == 1 else None

    def label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Indices of the dataset's own classes, 255 = ignore; None if there is no label. Raises `DataError`."""
        _, dataset, inner = self.member(id)
        return dataset.label(inner)

    def depth(self, id: str) -> Float32[np.ndarray, "h w"] | None:
        """z-depth in metres, 0 = invalid; None if there is none."""
        _, dataset, inner = self.member(id)
        return dataset.depth(inner)

    def has_depth(self, id: str) -> bool:
        """Whether the dataset itself has one."""
        _, dataset, inner = self.member(id)
        return dataset.has_depth(inner)

    def unread_depth(self) -> str | None:
        """Those of the datasets, by their names."""
        found = {key: dataset.unread_depth() for key, dataset in self.datasets.items()}
        return " ".join(f"{key}: {sentence}" for key, sentence in found.items() if sentence) or None

    def stored_normals(self, id: str) -> Float32[np.ndarray, "h w 3"] | None:
        """Those of the dataset itself."""
        _, dataset, inner = self.member(id)
        return dataset.stored_normals(inner)

    def has_normals(self, id: str) -> bool:
        """Whether the dataset itself has any."""
        _, dataset, inner = self.member(id)
        return dataset.has_normals(inner)

    def normals_fingerprint(self, id: str) -> str | None:
        """That of the dataset itself."""
        _, dataset, inner = self.member(id)
        return dataset.normals_fingerprint(inner)

    def camera(self, id: str) -> Camera | None:
        """The pinhole camera of the stored image; None if it is not known."""
        _, dataset, inner = self.member(id)
        return dataset.camera(inner)

    def camera_height(self, id: str) -> float | None:
        """Metres from the ground to the camera; None if it is not known."""
        _, dataset, inner = self.member(id)
        return dataset.camera_height(inner)

    def world_T_cam(self, id: str) -> Float64[np.ndarray, "4 4"] | None:
        """The camera's pose in the world of its own clip, metres; None if it is not known."""
        _, dataset, inner = self.member(id)
        return dataset.world_T_cam(inner)

    def neighbour(self, id: str, offset: int) -> str | None:
        """The id of the video frame `offset` steps later in the same dataset; None if there is none."""
        key, dataset, inner = self.member(id)
        other = dataset.neighbour(inner, offset)
        return None if other is None else f"{key}/{other}"

    def clip(self, id: str) -> str | None:
        """The clip of the sample's dataset, after that dataset's name."""
        key, dataset, inner = self.member(id)
        clip = dataset.clip(inner)
        return None if clip is None else f"{key}/{clip}"

    def clips_remedy(self) -> str:
        """Those of the datasets, by their names."""
        found = {key: dataset.clips_remedy() for key, dataset in self.datasets.items()}
        return "; ".join(f"of {key}, {remedy}" for key, remedy in found.items() if remedy)

    def held_out(self) -> frozenset[str]:
        """What each dataset holds out."""
        return frozenset(f"{key}/{id}" for key, dataset in self.datasets.items() for id in dataset.held_out())

    def moment(self, id: str) -> str:
        """The id that stands for all samples of the same moment in the same dataset."""
        key, dataset, inner = self.member(id)
        return f"{key}/{dataset.moment(inner)}"

    def fingerprint(self, id: str, kind: Kind) -> str | None:
        """That of the dataset itself, so its arrays are cached once, whether it is used alone or among several."""
        _, dataset, inner = self.member(id)
        return dataset.fingerprint(inner, kind)

    def identity(self, id: str) -> str | None:
        """That of the dataset itself."""
        _, dataset, inner = self.member(id)
        return dataset.identity(inner)

    @property
    def stated_bits(self) -> int | None:
        """Those of all datasets, if they are the same."""
        stated = {dataset.stated_bits for dataset in self.datasets.values()}
        return stated.pop() if len(stated) == 1 else None

    def traits(self, id: str) -> Traits:
        """Those the dataset itself tells."""
        _, dataset, inner = self.member(id)
        return dataset.traits(inner)

    def problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Everything wrong with these samples, dataset by dataset."""
        for key, inner in self._by_member(ids).items():
            yield from self.datasets[key].problems(inner)

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Faults of the datasets made of files that need no decoding to be seen."""
        members = self._by_member(ids)
        for key, dataset in self.datasets.items():
            if isinstance(dataset, FileDataset):
                yield from dataset.layout_problems(members.get(key, []))

    def notes(self) -> tuple[str, ...]:
        """How each dataset made of files was understood, after its name."""
        files = {key: dataset for key, dataset in self.datasets.items() if isinstance(dataset, FileDataset)}
        return tuple(f"{key}: {note}" for key, dataset in files.items() for note in dataset.notes())

    def passed_over(self) -> tuple[str, ...]:
        """The files each dataset made of files does not read."""
        files = [dataset for dataset in self.datasets.values() if isinstance(dataset, FileDataset)]
        return tuple(dict.fromkeys(note for dataset in files for note in dataset.passed_over()))

    def _by_member(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """The ids of each dataset, as they are there."""
        members: dict[str, list[str]] = defaultdict(list)
        for id in ids:
            key, _, inner = self.member(id)
            members[key].append(inner)
        return members


def _difference(first: ClassList, second: ClassList) -> str:
    """The first class in which two lists differ."""
    for index, (one, other) in enumerate(zip_longest(first.names, second.names)):
        if one != other:
            return f"class {index} is {one or 'not there'!r} in the first and {other or 'not there'!r} in the second"
    return "they have the same names but other colours"
