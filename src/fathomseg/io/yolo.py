"""YOLO's segmentation text, both ways, as labels: a line for each polygon, `class x y x y ...`, shares of width and
height (docs.ultralytics.com, "Instance Segmentation Datasets Overview"), and data.yaml, which names the classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import UInt8

from fathomseg.config.words import Word, parse
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.files import write_text
from fathomseg.io.polygons import Region, Ring, as_ring, fill, largest_first, outlines, paint
from fathomseg.text import decode_text
from fathomseg.types import Size

DESCRIPTION = "data.yaml"


def label_of(
    content: bytes, size: Size, indices: Mapping[int, int], unpainted: int, where: str
) -> UInt8[np.ndarray, "h w"]:
    """The label in the bytes of a text file, of an image of (height, width) `size`: class indices, by those of the
    file's numbers; `unpainted` where nothing is drawn.

    Where polygons overlap, the smaller one counts. Raises `DataError` naming the first line that cannot be used.
    """
    regions = []
    for number, line in enumerate(decode_text(content, where).split("\n"), start=1):
        if not (words := line.split()):
            continue
        try:
            value, ring = _parsed(words)
            if value not in indices:
                raise ValueError(f"has the unknown class {value}; there is: {', '.join(map(str, indices))}")
        except ValueError as error:
            raise DataError([Problem(f"{where} line {number}", str(error))]) from None
        regions.append(Region(indices[value], (fill(ring * size[::-1], size),)))
    return paint(largest_first(regions), size, unpainted)


def _parsed(words: Sequence[str]) -> tuple[int, Ring]:
    """The class and the corners of a line. Raises `ValueError` saying what is wrong with it."""
    if len(words) == 5:
        raise ValueError("holds a box (class and 4 numbers), which says nothing of pixels; export segmentation")
    ring = as_ring(words[1:])
    if ring.min() < -1 or ring.max() > 2:
        raise ValueError("has coordinates that are no shares of the image's width and height, 0 to 1")
    if not re.fullmatch(r"\d{1,9}", words[0]):
        raise ValueError(f"begins with {words[0]!r}; expected the number of a class")
    return int(words[0]), ring


def text_of(label: UInt8[np.ndarray, "h w"], classes: int) -> str:
    """The lines of a label of class indices; what is no class, such as 255, is left out.

    Every 4-connected area is a polygon without holes, the largest first: what lies in a hole is painted later, so that
    `label_of` gives back every pixel of a label without ignored ones.
    """
    size = label.shape[::-1]
    return "".join(
        f"{index} {' '.join(f'{number:.6f}'.rstrip('0') for number in (ring / size).reshape(-1))}\n"
        for index, ring in outlines(label)
        if index < classes
    )


def write_description(folder: Path, names: Sequence[str]) -> None:
    """data.yaml, for images in images/ and texts in labels/."""
    tree = {"path": ".", "train": "images", "names": dict(enumerate(names))}
    write_text(folder / DESCRIPTION, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def parse_description(text: str, where: str) -> dict[str, Any]:
    """The text of a data.yaml as plain values. Raises `FathomError`."""
    try:
        tree = _plain(parse(text))
    except yaml.YAMLError as error:
        raise FathomError(f"{where} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise FathomError(f"{where} must hold a mapping (names: [...]), but holds something else.")
    return tree


def class_names(tree: Mapping[str, Any], where: str) -> dict[int, str]:
    """The classes of a data.yaml by number: `names` is a list, or a mapping from numbers. Raises `FathomError`."""
    names = tree.get("names")
    rows = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    try:
        found = {int(number): str(name) for number, name in rows}
    except (TypeError, ValueError):
        found = {}
    if not found or len(set(found.values())) < len(found):
        raise FathomError(f"{where} has no usable `names`: expected a list of class names, no two alike.")
    return dict(sorted(found.items()))


def _plain(tree: Any) -> Any:
    """A tree with texts and numbers in the place of words."""
    if isinstance(tree, Word):
        return tree.text if not isinstance(tree.value, dict | list) else _plain(tree.value)
    if isinstance(tree, dict):
        return {(key.text if isinstance(key, Word) else key): _plain(value) for key, value in tree.items()}
    return [_plain(one) for one in tree] if isinstance(tree, list) else tree
