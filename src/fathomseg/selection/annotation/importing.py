"""Labels that come back from an annotation tool, put into a folder that the dataset `folder` reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import UInt8

from fathomseg import config
from fathomseg.data.datasets.class_counts import Counts, absences, much_ignored
from fathomseg.data.datasets.description import ClassEntry, Description
from fathomseg.data.datasets.files import files_below
from fathomseg.data.datasets.folder import DESCRIPTION, Folder
from fathomseg.data.datasets.labels import LabelMap, distinct_colours
from fathomseg.data.datasets.layout import layout_of
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io import draw
from fathomseg.io.coco import is_coco
from fathomseg.io.files import read_tree, write_text, writing
from fathomseg.io.progress import say
from fathomseg.selection.annotation import cvat, label_studio
from fathomseg.selection.annotation.archive import kind_of
from fathomseg.selection.annotation.exporting import IMAGES
from fathomseg.selection.annotation.regions import coco_returned, yolo_returned
from fathomseg.selection.annotation.task import UNLABELLED, Mask, Task, load_task
from fathomseg.types import IGNORE


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    root: Path
    """The folder the labels lie in: `Folder(root=root)`."""
    labelled: tuple[str, ...]
    """Ids, in that folder, of the images that have a label now, in the order of choice."""
    empty: tuple[str, ...]
    """Ids, in the dataset they were chosen from, of the images nobody has labelled yet."""
    unusable: tuple[Problem, ...] = ()
    """What was drawn on other images but cannot be used; they keep the label they had, or none."""
    unpainted: str | None = None
    """The class that pixels got on which nothing is drawn (`unpainted` in dataset.yaml); None: they count nowhere."""


def import_labels(source: Path, exported: Path, root: Path, overwrite: bool = False) -> Imported:
    """Put what annotators drew on the images of the export `exported` into the dataset folder `root`.

    `source` is what the tool exported, and its content says which format it is: a zip or folder of CVAT's Segmentation
    mask 1.1, of COCO or of YOLO segmentation, or a JSON file of Label Studio or COCO. A `root` with a
    dataset.yaml gets labels of the kind it says; without one it becomes a dataset folder with `labels: colours`. It
    gets the images it lacks, and keeps those it has. An image keeps its id, with "images/" in front if it had neither
    that nor "clips/". Everything is read before anything is written. A mask that cannot be used is reported and stops
    no other.

    Raises `DataError` if none can, and for labels that are there already and differ, unless `overwrite`; `FathomError`
    if the classes are not those of `root`, or if `root` holds labels of COCO or YOLO.
    """
    if (layout := layout_of(root)) is not None and layout != "folder":
        raise FathomError(
            f"{root} holds labels of {layout.upper()}; a {DESCRIPTION} there would hide them. Give --out a new folder."
        )
    task = load_task(exported)
    description = _description(root, task)
    labels, order = description.label_map(), _order(description, task, root)
    places = {image.id: _place(image.id) for image in task.images}
    there = files_below(root / "labels")
    have = Folder(root=root).samples().keys()
    lacking = {
        image.id: exported / IMAGES / f"{image.stem}.png" for image in task.images if places[image.id] not in have
    }
    with _returned(source, task) as masks:
        old_labels = {} if overwrite else {id: there.get(_key(p)) for id, p in places.items()}
        fill = description.unpainted_index
        offered = {image.id for image, _ in masks}
        masks, unusable, counts = _check(masks, partial(_filled, order=order, unpainted=fill), labels, old_labels)
        _check_images(masks, lacking)
        _check_classes(counts, labels, [path for key, path in there.items() if key not in map(_key, places.values())])
        drawn = set()
        for image, read in masks:
            label = _filled(read, order, fill)
            if (label == IGNORE).all():
                continue
            drawn.add(image.id)
            place = places[image.id]
            if image.id in lacking:
                with writing(root / f"{place}.png") as temporary:
                    shutil.copyfile(lacking[image.id], temporary)
            path = root / "labels" / f"{_key(place)}.png"
            old = there.get(_key(place))
            if old is not None and not overwrite:
                continue  # it is the same label, as `_check` has seen
            draw.write(path, labels.stored(label))
            if old is not None and old != path:
                old.unlink()  # it had another ending, and one id cannot mean both
    if not (root / DESCRIPTION).is_file():
        root.mkdir(parents=True, exist_ok=True)
        write_text(root / DESCRIPTION, _as_text(description))
    ids = [image.id for image in task.images]
    wrong = offered - {image.id for image, _ in masks}
    return Imported(
        root,
        labelled=tuple(places[id] for id in ids if id in drawn),
        empty=tuple(id for id in ids if id not in drawn and id not in wrong),
        unusable=unusable,
        unpainted=None if fill == IGNORE else description.classes[fill].name,
    )


def _filled(
    read: Callable[[], UInt8[np.ndarray, "h w"]], order: UInt8[np.ndarray, " 256"], unpainted: int
) -> UInt8[np.ndarray, "h w"]:
    """A mask in the indices of the folder's classes, with what unpainted pixels mean there; one on which nothing is
    drawn is nobody's work yet and stays empty."""
    label: UInt8[np.ndarray, "h w"] = order[read()]
    if (label != IGNORE).any():
        label[label == IGNORE] = unpainted
    return label


@contextmanager
def _returned(source: Path, task: Task) -> Iterator[list[Mask]]:
    if source.suffix.lower() == ".json":
        tree = read_tree(source)
        yield coco_returned(source, task, tree) if is_coco(tree) else label_studio.returned(source, task, tree)
    elif (kind := kind_of(source)) == "coco":
        yield coco_returned(source, task)
    elif kind == "yolo":
        yield yolo_returned(source, task)
    else:
        with cvat.returned(source, task) as masks:
            yield masks


def _description(root: Path, task: Task) -> Description:
    """What the folder says of itself, or what a new one will say."""
    if (root / DESCRIPTION).is_file():
        return config.load(Description, root / DESCRIPTION)
    classes = tuple(ClassEntry(name=one.name, colour=one.colour) for one in task.classes)
    used = {one.colour for one in task.classes}
    ignored = next(colour for colour in (UNLABELLED, *distinct_colours(255)) if colour not in used)
    return Description(classes=classes, labels="colours", ignore=(ignored,))


def _as_text(description: Description) -> str:
    """A dataset.yaml to be read and changed by people: a line a class, and nothing that is not said."""
    tree = description.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    entries = [
        yaml.safe_dump(one, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
        for one in tree.pop("classes")
    ]
    rest = yaml.safe_dump(tree, default_flow_style=None, sort_keys=False, allow_unicode=True)
    return "".join(["classes:\n", *(f"- {entry}" for entry in entries), rest])


def _order(description: Description, task: Task, root: Path) -> UInt8[np.ndarray, " 256"]:
    """The index in the folder's class list of every index of the export; 255 stays."""
    names = [one.name for one in description.classes]
    if missing := [one.name for one in task.classes if one.name not in names]:
        raise FathomError(
            f"{root / DESCRIPTION} lacks the classes {', '.join(missing)} of the export; it has {', '.join(names)}. "
            "Add them, or import into another folder."
        )
    table = np.full(256, IGNORE, np.uint8)
    table[: len(task.classes)] = [names.index(one.name) for one in task.classes]
    return table


def _check(
    masks: Sequence[Mask],
    filled: Callable[[Callable[[], UInt8[np.ndarray, "h w"]]], UInt8[np.ndarray, "h w"]],
    labels: LabelMap,
    there: Mapping[str, Path | None],
) -> tuple[list[Mask], tuple[Problem, ...], Counts]:
    """Read every mask once, so that all faults are met together and before anything is written: those that can be used,
    what is wrong with the others, and how many pixels of each class there are."""
    problems: list[Problem] = []
    unusable: list[Problem] = []
    usable: list[Mask] = []
    counts = np.zeros(256, np.int64)
    for image, read in masks:
        try:
            label = filled(read)
            labels.stored(label)
            usable.append((image, read))
            counts += np.bincount(label.ravel(), minlength=256)
        except DataError as error:
            unusable += error.problems
            continue
        try:
            old = there.get(image.id)
            if old is not None and (label != IGNORE).any() and not np.array_equal(labels.read(old), label):
                problems.append(
                    Problem(str(old), "is another label of this image; import with --overwrite to replace it")
                )
        except DataError as error:
            problems += error.problems
    if problems or (unusable and not usable):
        raise DataError([*problems, *unusable])
    return usable, tuple(unusable), counts


def _check_classes(counts: Counts, labels: LabelMap, others: Sequence[Path]) -> None:
    """Raise `FathomError` if fewer than two classes are drawn, in these masks and the labels there already; warn of
    classes that are not drawn."""
    if not counts[:IGNORE].any():
        return  # nothing is drawn, which is reported elsewhere
    whole = counts.copy()
    for path in others:  # read until there are two
        if np.count_nonzero(whole[:IGNORE]) > 1:
            break
        with suppress(DataError):  # not among those imported: `fathom check` names it
            whole += np.bincount(labels.read(path).ravel(), minlength=256)
    present = np.flatnonzero(whole[: len(labels.names)])
    if len(present) < 2:
        raise FathomError(
            f"All that is drawn is the class {labels.names[present[0]]!r}, and "
            f"{100 * counts[IGNORE] / counts.sum():.0f} % of the pixels are ignored; at least two classes are needed "
            "to learn from. What pixels are that nobody has painted is said by `unpainted` in dataset.yaml: give the "
            "background a class of its own (`unpainted: other`). Nothing was written."
        )
    if note := much_ignored(int(counts[IGNORE]), int(counts.sum())):
        say(f"Note: {note}")
    if missing := absences(labels.names, counts, stored=False):
        say(f"WARNING: {missing}")


def _check_images(masks: Sequence[Mask], lacking: Mapping[str, Path]) -> None:
    """Images that the folder lacks must be there to be copied."""
    gone = [lacking[image.id] for image, _ in masks if image.id in lacking and not lacking[image.id].is_file()]
    if gone:
        raise DataError([Problem(str(path), "is missing; give the export as it was made") for path in gone])


def _place(id: str) -> str:
    """The id in the folder, which is also where the image lies below it."""
    return id if id.startswith(("images/", "clips/")) else f"images/{id}"


def _key(place: str) -> str:
    """Where the label of an id lies below labels/, without the ending."""
    return place.removeprefix("images/")
