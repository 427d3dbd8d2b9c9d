"""The page of a check: what a dataset holds, what is odd about it, and what training will see of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float

from fathomseg.augment import Colours
from fathomseg.data.colour import ColourJitter
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.held_out import HeldOut
from fathomseg.data.places import evenly
from fathomseg.data.transforms import Geometry, cut
from fathomseg.errors import DataError, FathomError
from fathomseg.io import draw
from fathomseg.io.draw import Picture
from fathomseg.io.images import resize_image, resize_nearest
from fathomseg.report.depth_colours import metric_scale
from fathomseg.report.html import environment, page_size, uri
from fathomseg.report.section import Figure
from fathomseg.types import ClassList, Sample, Size

_LABELLED: Final = 6
"""Labelled images that are shown."""
_PLAIN: Final = 3
"""Images without a label that are shown."""
_AUGMENTED: Final = 3
"""Images that are shown augmented."""
_TRAINED: Final = ("train", "clips")
"""Splits whose images are, unless they are held out."""


def render_check(
    report: Mapping[str, Any], dataset: Dataset, warnings: Sequence[str], origin: Mapping[str, Any]
) -> str:
    """The page as text. `report`: what `fathom check --json` prints; `warnings`: what it asks to be looked at."""
    classes = _classes(dataset)
    ids = list(dict.fromkeys(_ids(dataset, report)))
    labelled = [id for id in ids if dataset.has_label(id)]
    having = frozenset(labelled)
    chosen = [*_of_splits(dataset, report, having), *evenly([id for id in ids if id not in having], _PLAIN)]
    shown = [found for id in chosen if (found := _sample(dataset, id)) is not None]
    learned = _learned_from(dataset, [one.id for one in shown])
    seen = [one for one in shown if one.id in learned][:_AUGMENTED]
    return (
        environment()
        .get_template("check.html")
        .render(
            report=report,
            warnings=warnings,
            shares=[] if classes is None else _shares(report, classes),
            splits=[name for name, split in report["splits"].items() if sum(split["pixels"].values())],
            figures=[_figure(one, classes) for one in shown],
            augmented=[_augmented(one, classes, place) for place, one in enumerate(seen)],
            classes=[] if classes is None else list(zip(classes.names, classes.colours, strict=True)),
            depth=metric_scale() if any(one.depth is not None for one in shown) else None,
            title=name_of(dataset),
            totals=_totals(report, len(ids), len(labelled)),
            origin=origin,
        )
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """A class and its part of the labelled pixels of each split, 0..1, and how long its bar is."""

    name: str
    colour: tuple[int, int, int]
    parts: list[tuple[float, float]]


def _shares(report: Mapping[str, Any], classes: ClassList) -> list[_Share]:
    """Bars are as long as the square root of a share, so that rare classes are seen beside the road."""
    counts = [split["pixels"] for split in report["splits"].values() if sum(split["pixels"].values())]
    parts = [{name: pixels / sum(count.values()) for name, pixels in count.items()} for count in counts]
    most = max((share for part in parts for share in part.values()), default=1.0)
    return [
        _Share(name, colour, [(part.get(name, 0.0), (part.get(name, 0.0) / most) ** 0.5) for part in parts])
        for name, colour in zip(classes.names, classes.colours, strict=True)
        if parts
    ]


def _totals(report: Mapping[str, Any], images: int, labelled: int) -> list[tuple[str, int]]:
    """Different images; of depth, clips and cameras those of the split that has most, since splits may share images."""
    kinds = ("depths", "clips", "cameras")
    most = {key: max((split[key] for split in report["splits"].values()), default=0) for key in kinds}
    return [
        ("images", images),
        ("with a label", labelled),
        *([("with depth", most["depths"])] if most["depths"] else []),
        ("video clips", most["clips"]),
        ("with a known camera", most["cameras"]),
    ]


def name_of(dataset: Dataset) -> str:
    """What the data is called: the folder it is in, or else the dataset's name."""
    root = getattr(dataset, "root", None)
    return (root.resolve().name if isinstance(root, Path) else "") or dataset.name


def _of_splits(dataset: Dataset, report: Mapping[str, Any], labelled: frozenset[str]) -> list[str]:
    """Labelled images of every split in turn, evenly spread over each."""
    found = [[id for id in dataset.ids(split) if id in labelled] for split in report["splits"]]
    spread = [evenly(ids, _LABELLED) for ids in found if ids]
    turns = [ids[place] for place in range(_LABELLED) for ids in spread if place < len(ids)]
    return list(dict.fromkeys(turns))[:_LABELLED]


def _learned_from(dataset: Dataset, ids: Sequence[str]) -> frozenset[str]:
    """Those of these images that a training may see; none if the splits cannot be read, which is among the problems."""
    try:
        splits = {id for split in _TRAINED if split in dataset.splits for id in dataset.ids(split)}
        return frozenset(HeldOut.of(dataset).without(dataset, [id for id in ids if id in splits]))
    except FathomError:
        return frozenset()


def _classes(dataset: Dataset) -> ClassList | None:
    try:
        return dataset.classes
    except FathomError:  # several datasets whose classes differ
        return None


def _ids(dataset: Dataset, report: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the scanned splits."""
    for split in report["splits"]:
        yield from dataset.ids(split)


def _sample(dataset: Dataset, id: str) -> Sample | None:
    """What is known of an image at the size of the page; None if it cannot be read, which is among the problems."""
    try:
        image, label, depth = dataset.image(id), dataset.label(id), dataset.depth(id)
    except DataError:
        return None
    size = page_size((image.shape[0], image.shape[1]))
    return Sample(
        id,
        resize_image(image, size),
        label=None if label is None else resize_nearest(label, size),
        depth=None if depth is None else resize_nearest(depth, size),
    )


def _figure(sample: Sample, classes: ClassList | None) -> Figure:
    pictures = [("image", uri(sample.image, ".jpg"))]
    if sample.label is not None and classes is not None:
        pictures.append(("label, laid over it", uri(draw.overlay(sample.image, sample.label, classes), ".jpg")))
        pictures.append(("label", uri(draw.colourise(sample.label, classes), ".png")))
    if sample.depth is not None:
        pictures.append(("depth", uri(draw.depth_picture(sample.depth), ".png")))
    return Figure(sample.id, "", pictures)


def _augmented(sample: Sample, classes: ClassList | None, place: int) -> Figure:
    """Two views as labelled images are learned from by default, and one as mixed images are; others at each `place`."""
    pictures = []
    for number in range(2):
        view = _view(sample, 3 * place + number, sample.size)
        picture = _coloured(view.image, 3 * place + number)
        if view.label is not None and classes is not None:
            picture = draw.overlay(picture, view.label, classes, 0.35)
        pictures.append((f"zoom, crop, flip, colours ({number + 1})", uri(picture, ".jpg")))
    pictures.append(("strong colours and blur", uri(_strong(sample.image, 3 * place + 2), ".jpg")))
    return Figure(sample.id, "", pictures)


def _view(sample: Sample, number: int, size: Size) -> Sample:
    geometry = Geometry()
    return cut(sample, geometry.draw(size, np.random.default_rng(number), size))


def _coloured(image: Picture, key: int) -> Picture:
    return _bytes(ColourJitter(probability=1.0)(_unit(image), [key]))


def _strong(image: Picture, key: int) -> Picture:
    """As the pseudo-labels' objective recolours its images."""
    return _bytes(Colours().recolour(_unit(image), [key]))


def _unit(image: Picture) -> Float[torch.Tensor, "1 3 h w"]:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def _bytes(image: Float[torch.Tensor, "1 3 h w"]) -> Picture:
    picture: Picture = (255 * image[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    return picture
