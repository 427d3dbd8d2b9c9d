"""Mapillary Vistas (Neuhold et al., ICCV 2017), versions 1.2 (65 classes) and 2.0: 18,000 / 2,000 labelled images."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from fathomseg.data.datasets.files import Files, Listing, files_below, without_image
from fathomseg.data.datasets.labels import LabelMap, distinct_colours, pack_one
from fathomseg.data.datasets.maps import ScaledLabels
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.formats import png_is_rgb
from fathomseg.text import read_text
from fathomseg.types import ClassList

_SPLITS: Final = {"train": "training", "val": "validation", "test": "testing"}
_VERSIONS: Final = ("2.0", "1.2")
"""In the order they are looked for."""


class Mapillary(ScaledLabels):
    """Mapillary Vistas. Ids are `split/name` ("train/0035fkbjWljhaftpVM37-g"); the images are no video.

    Classes are those of the configuration file that are evaluated, by their readable names ("Traffic Sign (Front)");
    the others are ignored. Labels are the palette images, or RGB images in the configuration's colours.
    """

    name: Literal["mapillary"] = "mapillary"
    version: Literal["1.2", "2.0"] | None = None
    """Which labels, where the copy has both; null = the newer ones."""

    @property
    def classes(self) -> ClassList:
        """The evaluated classes of the configuration file, in its order. Raises `FathomError` without it."""
        rows = [row for row in self._config if row["evaluate"]]
        names = [str(row["readable"]) for row in rows]
        if len({name.casefold() for name in names}) < len(names):
            names = [str(row["name"]) for row in rows]
        colours = [(int(r), int(g), int(b)) for r, g, b in (row["color"] for row in rows)]
        distinct = len(set(colours)) == len(colours)
        return ClassList(tuple(names), tuple(colours) if distinct else distinct_colours(len(names)))

    @cached_property
    def _labels(self) -> LabelMap:
        """Places in the configuration file, or its colours if the first label is an RGB image."""
        first = next((f.label for f in self._listing.samples.values() if f.label is not None), None)
        in_colours = first is not None and png_is_rgb(first)
        values = [pack_one(tuple(row["color"])) for row in self._config] if in_colours else range(len(self._config))
        if len(set(values)) < len(values):
            reason = "gives several classes one colour, so RGB labels do not tell them apart; use the palette images"
            raise DataError([Problem(str(self._config_file), reason)])
        evaluated = [bool(row["evaluate"]) for row in self._config]
        return LabelMap(
            kind="colours" if in_colours else "ids",
            names=self.classes.names,
            values=tuple(value for value, counts in zip(values, evaluated, strict=True) if counts),
            ignored=tuple(value for value, counts in zip(values, evaluated, strict=True) if not counts),
            remedy=f"expected what {self._config_file.name} lists",
        )

    def notes(self) -> tuple[str, ...]:
        """Which version was found."""
        return (f"Classes are those of {self._config_file}; labels hold {self._labels.kind}.",)

    def _list(self) -> Listing:
        splits = {}
        for side, folder in _SPLITS.items():
            images = files_below(self.root / folder / "images")
            labels = files_below(self._label_folder(folder))
            splits[side] = {f"{side}/{stem}": Files(path, labels.get(stem)) for stem, path in images.items()}
        if not any(splits.values()):
            raise FathomError(
                f"No Mapillary Vistas at {self.root}: expected training/images/, training/labels/ (or training/v1.2/"
                "labels/, training/v2.0/labels/), the same in validation/, and config.json (config_v1.2.json, "
                "config_v2.0.json) there. Set root=FOLDER."
            )
        return Listing.of({side: split for side, split in splits.items() if split})

    def _strays(self) -> dict[Path, list[Path]]:
        parts = {part: self.root / part / "images" for part in ("training", "validation")}
        return {
            images: without_image(files_below(images), files_below(self._label_folder(part)))
            for part, images in parts.items()
        }

    def _label_folder(self, part: str) -> Path:
        """Where the labels of a part lie: in the folder of their version, or directly in it."""
        own = self.root / part / f"v{self._found}" / "labels"
        return own if own.is_dir() else self.root / part / "labels"

    @cached_property
    def _found(self) -> str:
        """The version whose labels are read; "" for a copy that does not say."""
        named = (v for v in _VERSIONS if (self.root / f"config_v{v}.json").is_file())
        return self.version or next(named, "")

    @property
    def _config_file(self) -> Path:
        own = self.root / f"config_v{self._found}.json"
        return own if own.is_file() else self.root / "config.json"

    @cached_property
    def _config(self) -> list[dict[str, Any]]:
        """The labels of the configuration file. Raises `FathomError` without it, `DataError` if it is another file."""
        path = self._config_file
        if not path.is_file():
            raise FathomError(
                f"No classes of Mapillary Vistas at {self.root}: expected {path.name} there, which says what "
                "labels mean."
            )
        try:
            rows = json.loads(read_text(path))["labels"]
            return [{key: row[key] for key in ("name", "readable", "color", "evaluate")} for row in rows]
        except DataError:
            raise
        except (ValueError, KeyError, TypeError):
            reason = 'is not Mapillary\'s: expected {"labels": [{"name", "readable", "color", "evaluate"}, ...]}'
            raise DataError([Problem(str(path), reason)]) from None
