"""From stored labels (class ids or colours) to class indices 0..C-1 with 255 = ignore, and nothing else passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Integer, UInt8, UInt16

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.label_images import read_drawing, read_stored
from fathomseg.types import IGNORE, Size

LabelKind = Literal["ids", "colours"]
Colour = tuple[int, int, int]

_UNKNOWN = 254  # free, since class indices end at 253
_SHOWN = 5


@dataclass(frozen=True)
class LabelMap:
    """Which stored value means which class. Values are class ids, or colours packed as 0xRRGGBB (`pack`)."""

    kind: LabelKind
    names: tuple[str, ...]
    values: tuple[int, ...]
    """The stored values, that of class 0, 1, ... unless `indices` says otherwise."""
    ignored: tuple[int, ...]
    """Stored values that become 255."""
    remedy: str = field(compare=False)
    """What to do about a value that is in neither list."""
    indices: tuple[int, ...] = ()
    """The class index of every value, if several values mean one class; left out: 0, 1, ..."""
    colours: tuple[int | None, ...] = ()
    """With ids: the colour the user gave each value, by which the palettes of files are understood."""
    unpainted: int = IGNORE
    """The class index of pixels that nobody has painted: transparent ones of a drawing."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The id of each class in order, the first if there are several; none if ids are the indices, if colours are
        stored, or if a PNG cannot hold one of the ids."""
        if self.kind == "colours":
            return ()
        first = dict(reversed([*zip(self._classes, self.values, strict=True)]))
        ids = tuple(first[index] for index in sorted(first))
        return () if ids == tuple(range(len(ids))) or not all(0 <= id <= 0xFFFF for id in ids) else ids

    @property
    def key(self) -> str:
        """A text that changes whenever the same file would be read as something else."""
        key = f"{self.kind}|{self.values}|{self.ignored}|{self.indices}"
        more = (self.colours, self.unpainted)
        return key if more == ((), IGNORE) else f"{key}|{more}"

    def read(self, path: Path, size: Size | None = None) -> UInt8[np.ndarray, "h w"]:
        """The class indices stored in a file; `size` is the (height, width) its image has.

        Raises `DataError` if the file cannot be read, has another size, or holds a value that is not listed.
        """
        palette: Mapping[int, Colour] = {}
        if self.kind == "ids":
            file = read_stored(path)
            stored, unpainted, palette = file.values, file.unpainted, file.palette
        else:
            colours, unpainted = read_drawing(path)
            stored = pack(colours)
        if size is not None and stored.shape != size:
            sizes = f"{stored.shape[0]} x {stored.shape[1]} (height x width) but its image is {size[0]} x {size[1]}"
            remedy = "export the label at the size of the image"
            if stored.shape == size[::-1]:
                remedy += ", and upright: images are turned as their EXIF orientation says, and so must labels be"
            raise DataError([Problem(str(path), f"the label is {sizes}; {remedy}")])
        if palette and any(colour is not None for colour in self.colours):
            stored = self._by_palette(stored, palette, path)
        return self.classes(stored, str(path), unpainted)

    def classes(
        self, stored: Integer[np.ndarray, "h w"], where: str, unpainted: Bool[np.ndarray, "h w"] | None = None
    ) -> UInt8[np.ndarray, "h w"]:
        """The class indices of stored values. Raises `DataError` naming `where` for a value that is not listed."""
        indices = self.known(stored)
        if unpainted is not None:
            indices[unpainted] = self.unpainted
        unknown = indices == _UNKNOWN
        if unknown.any():
            raise DataError([Problem(where, self._explain(stored[unknown]))])
        return indices

    def _free(self) -> str:
        """A list with a value that no class has, as it is written in dataset.yaml."""
        usual = (0xFF, 0xFFFF, 0) if self.kind == "ids" else (0, 0xFFFFFF, 1)
        value = next(one for one in (*usual, *range(1, 0xFFFF)) if one not in self.values)
        return f"[{value}]" if self.kind == "ids" else f"[[{value >> 16}, {value >> 8 & 0xFF}, {value & 0xFF}]]"

    @property
    def _classes(self) -> Sequence[int]:
        """The class index of every value."""
        return self.indices or range(len(self.values))

    def stored(self, label: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w *rgb"] | UInt16[np.ndarray, "h w"]:
        """What a PNG has to hold for `read` to give these class indices: ids of 8 or 16 bits, or RGB colours.

        Raises `FathomError` if pixels are ignored but no value means that, or an id is negative or above 16 bits.
        """
        largest = 0xFFFF if self.kind == "ids" else 0xFFFFFF
        nothing = next((value for value in self.ignored if 0 <= value <= largest), None)
        used = np.unique(label).tolist()
        if IGNORE in used and nothing is None:
            raise FathomError(
                "Some pixels have no label, but no stored value means that: write one that no class has into "
                f"dataset.yaml, `ignore: {self._free()}`, or a class they are to have, `unpainted: NAME`."
            )
        table = np.zeros(256, np.int64)
        for value, index in reversed([*zip(self.values, self._classes, strict=True)]):
            table[index] = value  # of several values for one class the first
        table[IGNORE] = nothing or 0
        if unfit := [value for value in table[used].tolist() if not 0 <= value <= largest]:
            raise FathomError(f"The id {unfit[0]} cannot be stored in a PNG, which holds 0 to {largest}.")
        if self.kind == "colours":
            colours: UInt8[np.ndarray, "h w 3"] = np.array([unpack(v) for v in table.tolist()], np.uint8)[label]
            return colours
        return np.asarray(table[label], np.uint8 if table[used].max() < 256 else np.uint16)

    def known(self, stored: Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """The class indices of stored values, 255 = ignore, 254 = a value that is not listed."""
        if stored.dtype.kind == "u":
            indices: UInt8[np.ndarray, "h w"] = _table(self)[stored]
            return indices
        known = dict(zip(self.values, self._classes, strict=True)) | dict.fromkeys(self.ignored, IGNORE)
        values, inverse = np.unique(stored, return_inverse=True)
        return np.array([known.get(int(v), _UNKNOWN) for v in values], np.uint8)[inverse].reshape(stored.shape)

    def _by_palette(
        self, stored: Integer[np.ndarray, "h w"], palette: Mapping[int, Colour], path: Path
    ) -> Integer[np.ndarray, "h w"]:
        """The ids that the indices of a file mean: themselves, unless its palette draws them as other classes.

        Editors give palettes an order of their own. Where every colour in use is a class' own, colours count; where
        some are and contradict their indices, it cannot be told, and `DataError` is raised. Palettes are padded, most
        often with black: of several indices of one colour the id itself, else the first, is drawn on purpose.
        """
        ids = {colour: value for colour, value in zip(self.colours, self.values, strict=True) if colour is not None}
        used = [int(index) for index in np.unique(stored)]
        places = {pack_one(colour): index for index, colour in sorted(palette.items(), reverse=True)}
        places |= {colour: id for colour, id in ids.items() if id in palette and pack_one(palette[id]) == colour}
        drawn = {index: ids.get(colour) for colour, index in places.items()}
        contrary = [index for index in used if drawn.get(index) not in (None, index)]
        if not contrary:
            return stored
        kept = {index for index in used if index in self.ignored and drawn.get(index) is None}
        meant = {index: index if index in kept else drawn.get(index) for index in used}
        if lost := [index for index, id in meant.items() if id is None]:
            one, id = contrary[0], drawn[contrary[0]]
            other = palette.get(lost[0], "none")
            reason = (
                f"has a palette that contradicts the class list: its index {one} has the colour of the id {id}, but "
                f"index {lost[0]} has {other}, which no class has there; save it with the ids as indices, or with the "
                "colours of the classes"
            )
            raise DataError([Problem(str(path), reason)])
        table = np.zeros(max(used) + 1, np.int64)
        for index, id in meant.items():
            assert id is not None, "those without were refused"
            table[index] = id
        return np.asarray(table[stored])

    def _explain(self, unknown: Integer[np.ndarray, " n"]) -> str:
        """The unlisted values, the most frequent first, with their pixel counts and the remedy."""
        values, counts = np.unique(unknown, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_SHOWN]
        described = [self._describe(int(values[i]), int(counts[i])) for i in order]
        if len(values) > _SHOWN:
            described.append(f"{len(values) - _SHOWN} more")
        what = "id" if self.kind == "ids" else "colour"
        text = f"{what}{'s' if len(values) > 1 else ''} {', '.join(described)} not in the class list; {self.remedy}"
        if self.kind == "colours" and len(values) > 4 * _SHOWN:
            text += " (so many colours mean that the label was smoothed or stored as JPEG: export it exactly, as PNG)"
        return text

    def _describe(self, value: int, count: int) -> str:
        pixels = "1 pixel" if count == 1 else f"{count} pixels"
        if self.kind == "ids":
            return f"{value} ({pixels})"
        colours = np.array([unpack(v) for v in self.values])
        nearest = int(np.square(colours - np.array(unpack(value))).sum(axis=1).argmin())
        name = self.names[self._classes[nearest]]
        return f"{unpack(value)} ({pixels}; nearest is {name} {unpack(self.values[nearest])})"


def pack(colours: UInt8[np.ndarray, "h w 3"]) -> Integer[np.ndarray, "h w"]:
    """RGB colours as one number each, 0xRRGGBB (uint32)."""
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def pack_one(colour: Colour) -> int:
    """One RGB colour as a number, 0xRRGGBB."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def unpack(value: int) -> Colour:
    """The RGB colour of a packed number."""
    return value >> 16 & 255, value >> 8 & 255, value & 255


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """The colours of Pascal VOC from its class 1 on: all distinct, none black, early ones far apart (at most 255)."""
    numbers = np.arange(1, count + 1)
    rgb = np.zeros((count, 3), int)
    for bit in range(8):  # bit 3k + c of the number is bit 7 - k of channel c
        rgb[:, bit % 3] |= (numbers >> bit & 1) << (7 - bit // 3)
    return tuple((int(r), int(g), int(b)) for r, g, b in rgb)


@lru_cache(maxsize=4)
def _table(labels: LabelMap) -> UInt8[np.ndarray, " n"]:
    """The class index of every 16-bit id or 24-bit colour (64 KB or 16 MB)."""
    table = np.full(1 << (16 if labels.kind == "ids" else 24), _UNKNOWN, np.uint8)
    _set(table, labels.ignored, [IGNORE] * len(labels.ignored))
    _set(table, labels.values, labels._classes)
    return table


def _set(table: UInt8[np.ndarray, " n"], values: Sequence[int], indices: Sequence[int]) -> None:
    """Ids that no unsigned pixel can hold (negative, above 16 bits) have no place in the table and need none."""
    for value, index in zip(values, indices, strict=True):
        if 0 <= value < len(table):
            table[value] = index
