"""What a training step shows a network, as pictures: the maps that its objectives say are worth looking at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import UInt8

from fathomseg.engine.step import Batches, Step
from fathomseg.io import draw
from fathomseg.io.images import resize_image, resize_nearest
from fathomseg.objectives.base import Base, Nets, ObjectiveModule, Shown
from fathomseg.report.depth_colours import relative_picture
from fathomseg.report.html import page_size, uri
from fathomseg.report.section import Figure
from fathomseg.types import ClassList

_COUNT: Final = 3
"""Samples shown of each batch, at most."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What one objective makes of a batch of one stream."""

    title: str
    figures: Sequence[Figure]
    kinds: frozenset[str]
    """Kinds of maps among the pictures."""


@torch.no_grad()
def step_samples(step: Step, batches: Batches, classes: ClassList | None) -> list[Samples]:
    """The first few samples of every stream's batch by the objectives that learn from it. Leaves the step, and the
    random numbers that follow, as they are. The batches are on the device of the step."""
    found = []
    with torch.random.fork_rng():
        for stream, names in step.streams.items():
            if stream not in batches:
                continue
            batch = batches[stream]
            base = Base.of(batch, step.colours[stream], batches)
            nets = Nets(step.network, step.ema.network)
            for name in names:
                objective = step.objectives[name]
                assert isinstance(objective, ObjectiveModule)
                if maps := objective.shown(batch, base, nets):
                    found.append(_samples(f"{name.replace('_', ' ')}, stream {stream}", maps, classes))
    return found


def _samples(title: str, maps: Sequence[Shown], classes: ClassList | None) -> Samples:
    drawn = [one for one in maps if one.kind != "label" or classes is not None]
    ids = drawn[0].ids
    figures = [
        Figure(id, "", [(one.name, _picture(one, row, classes)) for one in drawn])
        for row, id in enumerate(ids[:_COUNT])
    ]
    return Samples(title, figures, frozenset(one.kind for one in drawn))


def _picture(shown: Shown, row: int, classes: ClassList | None) -> str:
    """One map of one sample as a data URI."""
    values = shown.maps[row].float().cpu().numpy()
    if shown.kind == "image":
        return _sized((255 * np.moveaxis(values, 0, -1)).clip(0, 255).round().astype(np.uint8), ".jpg")
    plane: np.ndarray = values.reshape(shown.maps.shape[-2:])
    if shown.kind == "label":
        assert classes is not None
        label = resize_nearest(plane.astype(np.uint8), page_size((values.shape[-2], values.shape[-1])))
        return uri(draw.colourise(label, classes), ".png")
    if shown.kind == "depth":
        return _sized(relative_picture(plane), ".png")
    if shown.kind == "disparity":
        return _sized(draw.disparity_picture(plane), ".png")
    return _sized(draw.colour_map(plane, limits=(0.0, 1.0), style="magma"), ".png")


def _sized(picture: UInt8[np.ndarray, "h w 3"], suffix: str) -> str:
    return uri(resize_image(picture, page_size((picture.shape[0], picture.shape[1]))), suffix)


def all_kinds(samples: Sequence[Samples]) -> Mapping[str, bool]:
    """Which kinds of maps there are, for legends."""
    kinds = frozenset().union(*(one.kinds for one in samples))
    return {kind: kind in kinds for kind in ("label", "depth", "disparity", "share")}
