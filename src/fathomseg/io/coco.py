"""COCO's JSON of images, categories and annotations (cocodataset.org, "object detection"), both ways, as labels.

Read are polygons and run-length codes (RLE), as lists of counts or packed into a text. Written are counts, a region for
each class of an image.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.files import read_tree, write_text
from fathomseg.io.polygons import Patch, Region, as_ring, fill, largest_first, paint
from fathomseg.types import Size


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of the file, and what is drawn on it."""

    file_name: str
    size: Size
    """(height, width) in pixels."""
    annotations: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Coco:
    """The content of one file."""

    path: Path
    categories: Mapping[int, str]
    """Their names by id, in the order of the ids."""
    images: tuple[CocoImage, ...]

    def label(
        self, image: CocoImage, size: Size, indices: Mapping[int, int], unpainted: int
    ) -> UInt8[np.ndarray, "h w"]:
        """Class indices, by those of the category ids; `unpainted` where nothing is drawn.

        `size` is the (height, width) of the image itself.
        Where regions overlap, the smaller one counts. Raises `DataError` naming the first annotation that cannot be
        used.
        """
        if image.size != size:
            stated = "{} x {}".format(*image.size)
            reason = f"says that {image.file_name} is {stated} (height x width), but it is {size[0]} x {size[1]}"
            raise DataError([Problem(str(self.path), f"{reason}; export the annotations of this very image")])
        regions = []
        for number, one in enumerate(image.annotations):
            where = f"{self.path}: {image.file_name}, annotation {one.get('id', number)}"
            if one["category_id"] not in indices:
                raise DataError([Problem(where, f"has the unknown category {one['category_id']}")])
            try:
                patches = _patches(one.get("segmentation"), size)
            except ValueError as error:
                raise DataError([Problem(where, str(error))]) from None
            regions.append(Region(indices[one["category_id"]], patches))
        return paint(largest_first(regions), size, unpainted)


def is_coco(tree: Any) -> bool:
    """Whether what a JSON file holds is meant as COCO's."""
    return isinstance(tree, dict) and all(isinstance(tree.get(key), list) for key in ("images", "categories"))


def read_coco(path: Path, tree: Any = None) -> Coco:
    """The content of a file, or of its `tree` that is read already. Raises `FathomError` if it is none of COCO's."""
    tree = read_tree(path) if tree is None else tree
    if not is_coco(tree):
        raise FathomError(f"{path} is no file of COCO: expected images, categories and annotations, each a list.")
    try:
        drawn: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for one in tree.get("annotations", []):
            drawn[int(one["image_id"])].append({**one, "category_id": int(one["category_id"])})
        if nameless := [one for one in tree["images"] if not PurePosixPath(str(one["file_name"])).name]:
            raise ValueError(f"the file_name {nameless[0]['file_name']!r}")
        sizes = [(int(one["height"]), int(one["width"])) for one in tree["images"]]
        images = tuple(
            CocoImage(str(one["file_name"]).replace("\\", "/"), size, tuple(drawn[int(one["id"])]))  # as of Windows
            for one, size in zip(tree["images"], sizes, strict=True)
        )
        categories = {int(one["id"]): str(one["name"]) for one in tree["categories"]}
        for kind, name in (("images", "file_name"), ("categories", "name")):  # two files put together have such
            named = {(int(one["id"]), one[name]) for one in tree[kind]}
            if len({id for id, _ in named}) < len(named):
                raise ValueError(f"two of the {kind} have the same id; give each its own")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be used ({error})"
        raise FathomError(
            f"{path}: an entry {what}. Images need id, file_name, height and width, categories id and name, "
            "annotations image_id, category_id and segmentation."
        ) from None
    if len(set(categories.values())) < len(categories):
        raise FathomError(f"{path} gives two categories the same name; rename one.")
    return Coco(path, dict(sorted(categories.items())), images)


def _patches(segmentation: Any, size: Size) -> tuple[Patch, ...]:
    """The pixels of a region. Raises `ValueError` saying what is wrong with it."""
    if isinstance(segmentation, Mapping):
        return (Patch(0, 0, decode(segmentation.get("counts"), segmentation.get("size"), size)),)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("has no segmentation, a box alone says nothing of pixels; export polygons or RLE")
    return tuple(fill(as_ring(corners), size) for corners in segmentation)


def decode(counts: Any, stored: Any, size: Size) -> Bool[np.ndarray, "h w"]:
    """The mask of a run-length code: the pixels column by column, first how many are off, then on, off ...

    Raises `ValueError` if it is not one of an image of (height, width) `size`.
    """
    if not isinstance(stored, list | tuple) or list(stored) != list(size):
        raise ValueError(f"has a code of size {stored}, but its image is {list(size)} (height, width)")
    if isinstance(counts, str | bytes):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(isinstance(one, int) and one >= 0 for one in counts):
        raise ValueError("has a code that is neither a text nor a list of counts")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"has a code of {sum(counts)} pixels, but its image has {size[0] * size[1]}")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask: Bool[np.ndarray, "h w"] = values.reshape(size[::-1]).T
    return mask


def _unpacked(counts: str | bytes) -> list[int]:
    """The counts in a packed code: 5 bits a letter from "0" on, the lowest first, 32 = more follow, the last bit of a
    number its sign; from the fourth on each is the difference to the one before the last.

    Raises `ValueError` if the code is damaged.
    """
    letters = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    found: list[int] = []
    number = shift = 0
    for letter in letters:
        bits = letter - 48
        if not 0 <= bits < 64:
            raise ValueError("has a packed code with letters that are none of it")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        number -= (bits & 16) << (shift - 4)
        found.append(number + (found[-2] if len(found) > 2 else 0))
        number = shift = 0
    if shift or min(found, default=0) < 0:
        raise ValueError("has a packed code that is cut short or damaged")
    return found


def encode(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """The run-length code that `decode` reads."""
    flat = mask.T.reshape(-1)
    ends = np.flatnonzero(np.diff(flat, prepend=False))
    counts: list[int] = np.diff(ends, prepend=0, append=flat.size).tolist()
    return counts


def write_coco(
    path: Path, names: Sequence[str], labels: Iterable[tuple[str, UInt8[np.ndarray, "h w"]]], about: str
) -> None:
    """Write labels of class indices by their file names: a region for each class that an image shows.

    Category ids are the indices + 1, since many programs keep 0 for themselves. What is no class, such as 255, is left
    out. `about` says where the labels are from.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for file_name, label in labels:
        height, width = label.shape
        images.append({"id": len(images) + 1, "file_name": file_name, "height": height, "width": width})
        for index in (value for value in np.unique(label).tolist() if value < len(names)):
            annotations.append({"id": len(annotations) + 1, "image_id": len(images), "category_id": index + 1})
            annotations[-1] |= _region(label == index)
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(names)]
    tree = {
        "info": {"description": about},
        "categories": categories,
        "images": images,
        "annotations": annotations,
    }
    write_text(path, json.dumps(tree, ensure_ascii=False) + "\n")


def _region(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """`iscrowd` says that the region may be of several objects, and that it is a code."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    code = {"size": list(mask.shape), "counts": encode(mask)}
    return {"segmentation": code, "area": int(mask.sum()), "bbox": box, "iscrowd": 1}
