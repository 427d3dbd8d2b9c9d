"""Several datasets in one, so that one training can use images of different places and cameras."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast

from pydantic import AfterValidator, Field, model_validator

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.patterns import fitting, is_pattern
from fathomseg.errors import FathomError, Problem
from fathomseg.types import ClassList

if TYPE_CHECKING:
    from fathomseg.data.datasets import OneDataset

F = TypeVar("F", bound=Callable[..., Any])


class ClassesDiffer(FathomError):
    """The classes of several datasets were requested, but their class lists differ."""


def _key(text: str) -> str:
    if not text or "/" in text:
        raise ValueError("the name of a dataset among several must not be empty or contain '/'")
    return text


def _forwarded(accessor: F, named: bool = False) -> F:
    """A method that takes an id first, as the dataset of the sample answers it for the id there. `named`: the answer is
    a name too, or None, and gets the dataset's in front."""
    name = accessor.__name__

    def of_member(self: Several, id: str, *more: object, **others: object) -> object:
        key, dataset, inner = self.member(id)
        found = getattr(dataset, name)(inner, *more, **others)
        return f"{key}/{found}" if named and found is not None else found

    of_member.__name__, of_member.__qualname__ = name, f"Several.{name}"
    of_member.__doc__ = accessor.__doc__
    return cast(F, of_member)


class Several(Dataset):
    """Datasets side by side under names of your choice. An id is `name/id there` ("town/train/0003/000017").

    A split holds the images of all datasets that have a split of that name. Everything known of an image is what its
    own dataset knows, so cameras and sizes may differ. Class lists may differ too where no classes are needed, as in
    learning depth.
    """

    name: Literal["several"] = "several"
    datasets: dict[Annotated[str, AfterValidator(_key)], OneDataset] = Field(min_length=1)
    """The datasets by name. Each is written as it would be alone: `{town: {name: streets, seed: 1}, ...}`."""

    @model_validator(mode="after")
    def _all_end(self) -> Several:
        if endless := [key for key, dataset in self.datasets.items() if dataset.fresh("train", 0, 0) is not None]:
            raise ValueError(
                f"{endless[0]!r} is endless, and images of several datasets are drawn from lists: set endless=false, "
                "or give it a stream of its own"
            )
        return self

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
        """The sorted ids of all datasets that have this split, or of all samples that a pattern fits ("town/train/*").
        Raises `FathomError` if there is none."""
        having = {key: dataset for key, dataset in self.datasets.items() if split in dataset.splits}
        found = [f"{key}/{id}" for key, dataset in having.items() for id in dataset.ids(split)]
        pattern = is_pattern(split) and not having
        if pattern:
            found = fitting(split, self.every_id())
        if not having and not found:
            what = f"no sample that fits {split!r}" if pattern else f"no split {split!r}"
            raise FathomError(f"The datasets have {what}; there is: {', '.join(self.splits)}.")
        return sorted(found)

    def every_id(self) -> Sequence[str]:
        """The ids of all samples of all datasets, sorted."""
        return sorted(f"{key}/{id}" for key, dataset in self.datasets.items() for id in dataset.every_id())

    def member(self, id: str) -> tuple[str, Dataset, str]:
        """The name of the dataset an id belongs to, the dataset, and the id there. Raises `FathomError`."""
        key, _, inner = id.partition("/")
        if key not in self.datasets:
            begins = ", ".join(f"{key}/" for key in self.datasets)
            raise FathomError(f"The datasets have no sample {id!r}; ids begin with the dataset's name: {begins}.")
        return key, self.datasets[key], inner

    image: ClassVar = _forwarded(Dataset.image)
    files: ClassVar = _forwarded(Dataset.files)
    size_of: ClassVar = _forwarded(Dataset.size_of)
    has_label: ClassVar = _forwarded(Dataset.has_label)
    label: ClassVar = _forwarded(Dataset.label)
    depth: ClassVar = _forwarded(Dataset.depth)
    has_depth: ClassVar = _forwarded(Dataset.has_depth)
    stored_normals: ClassVar = _forwarded(Dataset.stored_normals)
    normals: ClassVar = _forwarded(Dataset.normals)
    has_normals: ClassVar = _forwarded(Dataset.has_normals)
    normals_fingerprint: ClassVar = _forwarded(Dataset.normals_fingerprint)
    camera: ClassVar = _forwarded(Dataset.camera)
    camera_height: ClassVar = _forwarded(Dataset.camera_height)
    world_T_cam: ClassVar = _forwarded(Dataset.world_T_cam)
    fingerprint: ClassVar = _forwarded(Dataset.fingerprint)  # as alone: arrays are cached once
    identity: ClassVar = _forwarded(Dataset.identity)
    traits: ClassVar = _forwarded(Dataset.traits)
    neighbour: ClassVar = _forwarded(Dataset.neighbour, named=True)
    moment: ClassVar = _forwarded(Dataset.moment, named=True)
    clip: ClassVar = _forwarded(Dataset.clip, named=True)

    def label_map(self, id: str | None = None) -> LabelMap | None:
        """That of the sample's dataset; of all, if all have the same."""
        if id is not None:
            _, dataset, inner = self.member(id)
            return dataset.label_map(inner)
        maps = [dataset.label_map() for dataset in self.datasets.values()]
        same = {None if one is None else (one.kind, one.ids) for one in maps}
        return maps[0] if len(same) == 1 else None

    def unread_depth(self) -> str | None:
        """Those of the datasets, by their names."""
        return _by_name({key: dataset.unread_depth() for key, dataset in self.datasets.items()})

    def few_to_train(self) -> str | None:
        """Those of the datasets, by their names."""
        return _by_name({key: dataset.few_to_train() for key, dataset in self.datasets.items()})

    def clips_remedy(self) -> str:
        """Those of the datasets, by their names."""
        found = {key: dataset.clips_remedy() for key, dataset in self.datasets.items()}
        return "; ".join(f"of {key}, {remedy}" for key, remedy in found.items() if remedy)

    def held_out(self) -> frozenset[str]:
        """What each dataset holds out."""
        return frozenset(f"{key}/{id}" for key, dataset in self.datasets.items() for id in dataset.held_out())

    @property
    def stated_bits(self) -> int | None:
        """Those of all datasets, if they are the same."""
        stated = {dataset.stated_bits for dataset in self.datasets.values()}
        return stated.pop() if len(stated) == 1 else None

    def problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Everything wrong with these samples, dataset by dataset."""
        for key, inner in self._by_member(ids).items():
            yield from self.datasets[key].problems(inner)

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Those of all datasets, also of those that none of these samples is of."""
        members = self._by_member(ids)
        for key, dataset in self.datasets.items():
            yield from dataset.layout_problems(members.get(key, []))

    def notes(self) -> tuple[str, ...]:
        """How each dataset was understood, after its name."""
        return tuple(f"{key}: {note}" for key, dataset in self.datasets.items() for note in dataset.notes())

    def passed_over(self) -> tuple[str, ...]:
        """The files that the datasets do not read."""
        return tuple(dict.fromkeys(note for dataset in self.datasets.values() for note in dataset.passed_over()))

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


def _by_name(found: Mapping[str, str | None]) -> str | None:
    """Sentences, each after the name of its dataset; None if there are none."""
    return " ".join(f"{key}: {sentence}" for key, sentence in found.items() if sentence) or None
