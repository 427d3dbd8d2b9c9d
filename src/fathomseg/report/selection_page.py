"""The page of a selection: what was chosen and why, where it lies in the pool, and how well it covers it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.places import evenly
from fathomseg.errors import DataError, FathomError
from fathomseg.io import draw
from fathomseg.report.depth_colours import disparity_scale
from fathomseg.report.html import environment
from fathomseg.report.selection_map import Point, PoolMap, curves, pool_map
from fathomseg.report.thumbnails import thumbnail
from fathomseg.selection.result import Choice, Selection

Disparity = Callable[[str], Float32[np.ndarray, "_ _"]]
"""The normalised disparity of a sample, 0..1, 1 = nearest, NaN = not known; as `depth_sources.prepare` gives it."""

PAGE: Final = "selection.html"

_CARDS: Final = 400
"""Chosen images that are shown; further ones are listed."""
_CARD_BYTES: Final = 5_500_000
"""Of all their pictures together. With the rest, the page stays below 10 MB whatever the pool."""
_GLIMPSES: Final = 160
"""Images of the rest of the pool that the map can show."""
_GLIMPSE_BYTES: Final = 1_600_000
_LARGEST: Final = 60_000
_LISTED: Final = 5_000


def render_selection(
    selection: Selection,
    dataset: Dataset,
    features: Float[np.ndarray, "n d"] | None,
    disparity: Disparity | None = None,
    pool: Sequence[str] | None = None,
) -> str:
    """One page of less than 10 MB that needs no other file; all text from outside is escaped.

    `features` may be memory-mapped; they are those of `pool`, by default the images of the split in its order without
    those skipped. Without features the page has neither map nor coverage. Raises `FathomError` if their numbers differ.
    """
    skipped = {one.id for one in selection.skipped}
    pool = pool or [id for id in dataset.ids(selection.split) if id not in skipped]
    views = None if features is None else _views(selection, features, pool)
    return (
        environment()
        .get_template("selection.html")
        .render(
            selection=selection,
            criterion=_settings(selection.criterion),
            features=_settings(selection.features or {}),
            cards=_cards(selection, dataset, disparity),
            further=selection.chosen[_CARDS : _CARDS + _LISTED],
            left_out=max(0, len(selection.chosen) - _CARDS - _LISTED),
            views=views,
            glimpses=[] if views is None else list(_glimpses(views["map"], pool, dataset)),
            depth=None if disparity is None else disparity_scale(),
        )
    )


def _views(selection: Selection, features: Float[np.ndarray, "n d"], pool: Sequence[str]) -> dict[str, Any]:
    """What features show: the map, and the curves of coverage."""
    if len(pool) != len(features):
        raise FathomError(f"There are features of {len(features)} images, but the pool has {len(pool)}.")
    rows = {id: row for row, id in enumerate(pool)}
    missing = [id for id in (*selection.ids, *selection.already) if id not in rows]
    if missing:
        raise FathomError(f"{len(missing)} images of the selection are not in the pool, for example {missing[0]!r}.")
    chosen, taken = [rows[id] for id in selection.ids], [rows[id] for id in selection.already]
    cells = compared_cells(selection.criterion)
    largest, mean = curves(features, chosen, taken, selection.seed, cells)
    return {"map": pool_map(features, chosen, taken), "largest": largest, "mean": mean, "cells": cells}


def compared_cells(criterion: Mapping[str, Any]) -> int:
    """Parts of an image that the criterion compares by themselves; 1 = images as wholes."""
    return math.prod(criterion["features"]["grid"]) if criterion.get("compare") == "cells" else 1


@dataclass(frozen=True, slots=True)
class _Card:
    """One chosen image."""

    choice: Choice
    image: str
    """A data URI, as the depth."""
    depth: str | None
    nearest_rank: int | None
    """The rank of the most similar image, if it was chosen too."""
    scores: list[tuple[str, str]]


def _cards(selection: Selection, dataset: Dataset, disparity: Disparity | None) -> list[_Card]:
    shown = selection.chosen[:_CARDS]
    limit = min(_LARGEST, _CARD_BYTES // (len(shown) * (1 if disparity is None else 2)))
    ranks = {choice.id: choice.rank for choice in selection.chosen}
    return [
        _Card(
            choice,
            thumbnail(dataset.image(choice.id), limit),
            None if disparity is None else thumbnail(draw.disparity_picture(disparity(choice.id)), limit),
            ranks.get(choice.nearest or ""),
            [(name, f"{score:.3g}") for name, score in choice.scores.items()],
        )
        for choice in shown
    ]


@dataclass(frozen=True, slots=True)
class _Glimpse:
    """An image of the pool that was not chosen, to be looked at on the map."""

    id: str
    place: Point
    image: str


def _glimpses(drawn: PoolMap, pool: Sequence[str], dataset: Dataset) -> Iterator[_Glimpse]:
    """Some of the images behind the dots, evenly spread over the pool; one that has gone meanwhile is passed over."""
    for row, place in evenly(list(zip(drawn.rows, drawn.places, strict=True)), _GLIMPSES):
        id = pool[row]
        try:
            picture = dataset.image(id)
        except DataError:
            continue
        yield _Glimpse(id, place, thumbnail(picture, _GLIMPSE_BYTES // _GLIMPSES))


def _settings(tree: object, path: str = "") -> list[tuple[str, str]]:
    """Settings in settings as lines of a.b and a value."""
    if isinstance(tree, dict):
        return [line for key, value in tree.items() for line in _settings(value, f"{path}.{key}" if path else str(key))]
    return [(path, str(tree))]
