"""What the data of a run was when it started, so that it resumes with the same: classes, splits, labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

from fathomseg.config import Part, validate
from fathomseg.data.datasets.class_counts import absences, contradiction, much_ignored
from fathomseg.errors import FathomError
from fathomseg.io.files import read_json, write_text
from fathomseg.io.owned import own
from fathomseg.io.progress import say
from fathomseg.training.domains import matched
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import evaluated
from fathomseg.training.streams import Streams
from fathomseg.types import IGNORE

FILE: Final = "data.json"


class Images(Part):
    """Some images, and what their labels hold."""

    count: int
    """How many there are."""
    ids: str
    """A hash of their sorted ids."""
    label_pixels: tuple[int, ...] = ()
    """Pixels of every class at working size; none where no labels are used."""


class DataRecord(Part):
    """The data of a run."""

    format: Literal[1] = 1
    """Version of this file's layout."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their indices; none if nothing is segmented."""
    streams: Mapping[str, Images] = {}
    """The images of every stream."""
    evaluation: Images | None = None
    """The images it is scored on; null = none."""

    @classmethod
    def of(cls, recipe: Recipe, streams: Streams) -> DataRecord:
        """That of streams as they are now."""
        classes = class_names(recipe)
        found = {}
        for name, stream in streams.by_name.items():
            pixels = stream.label_pixels(len(classes)).tolist() if classes and "label" in recipe.needs(name) else []
            found[name] = _images(stream.ids, pixels)
        scored = evaluated(recipe)
        return cls(classes=classes, streams=found, evaluation=_images(scored) if scored else None)

    def differences(self, now: DataRecord) -> list[str]:
        """In words, what is not as it was."""
        pairs: dict[str, tuple[Images | None, Images | None]]
        pairs = {f"stream {name!r}": (then, now.streams.get(name)) for name, then in self.streams.items()}
        pairs["the evaluation split"] = (self.evaluation, now.evaluation)
        found = []
        for what, (then, other) in pairs.items():
            before, after = (0 if one is None else one.count for one in (then, other))
            if before != after:
                found.append(f"{what}: then {before} images, now {after}")
            elif then is not None and other is not None and then.ids != other.ids:
                found.append(f"{what}: {before} images then and now, but not the same ones")
            elif then is not None and other is not None and then.label_pixels != other.label_pixels:
                found.append(f"{what}: the labels of its images have changed")
        return found


def class_names(recipe: Recipe) -> tuple[str, ...]:
    """The classes that are segmented, in the order of their indices; none if nothing is."""
    return recipe.data.classes.names if "segmentation" in recipe.network.tasks else ()


def refuse_other_classes(folder: Path, recipe: Recipe) -> None:
    """Raise `FathomError` if a run began with another class list: its outputs would change their meaning."""
    then, now = _read(folder), class_names(recipe)
    if then is not None and then.classes != now:
        raise FathomError(
            f"{folder} began with {len(then.classes)} classes ({', '.join(then.classes)}), but {recipe.data.name} "
            f"has {len(now)} now ({', '.join(now)}). A resumed run keeps its class list, in the same order: "
            "change it back, or start a new run."
        )


def keep_or_compare(folder: Path, recipe: Recipe, streams: Streams, resume: bool, main: bool) -> None:
    """Write down the data of a run that begins. Raises `FathomError` if that of a resumed one is other than it was."""
    now, then = DataRecord.of(recipe, streams), _read(folder) if resume else None
    if then is not None and (found := then.differences(now)):
        raise FathomError(
            "\n  ".join([f"The data of {folder} is not what it was when the run began:", *found])
            + "\nBring it back (data.root=FOLDER says where it lies), or start a new run."
        )
    if then is None and main:
        write_text(folder / FILE, now.model_dump_json(indent=1) + "\n")
        own(folder, [FILE])


def check_classes(recipe: Recipe, streams: Streams, main: bool) -> None:
    """Raise `FathomError` if fewer than two classes have pixels in the labels used; warn of classes without any."""
    used = {name: stream for name, stream in streams.by_name.items() if "label" in recipe.needs(name)}
    if not used or not (names := class_names(recipe)):
        return
    counts = sum((stream.label_counts for stream in used.values()), start=np.zeros(256, np.int64))
    for name, stream in used.items():
        labelled = [id for id in stream.ids if recipe.dataset(name).has_label(id)]
        alone = stream.label_counts[: len(names)].sum() == 0
        if found := contradiction(names, stream.label_counts if alone else counts, recipe.dataset(name), labelled):
            raise FathomError(f"The labels of stream {name!r} ({len(labelled)} images) teach nothing. {found}")
    for name in used:
        if recipe.is_endless(name):  # counted on a few of its images: what they do not show may come yet
            counts[[names.index(shared) for shared in matched(recipe, name).shared]] += 1
    if main and (note := much_ignored(int(counts[IGNORE]), int(counts.sum()))):
        say(f"Note: {note}")
    if main and (missing := absences(names, counts)):
        say(f"WARNING: in the labels that are learned from {missing}")


def _read(folder: Path) -> DataRecord | None:
    path = folder / FILE
    return validate(DataRecord, read_json(path, "the data of a run", ""), str(path)) if path.is_file() else None


def _images(ids: Iterable[str], pixels: Sequence[int] = ()) -> Images:
    ordered = sorted(ids)
    return Images(
        count=len(ordered), ids=hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:16], label_pixels=tuple(pixels)
    )
