"""Matching geometry sampling (Hoyer et al. 2023, IJCV): of several source images the one whose depth fits the target's.

Candidates are compared by small maps of disparity that are held in memory, seen through the views that the two streams
show at this position, so that no candidate is loaded. Everything is a pure function of seed and position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from jaxtyping import Bool, Float16, Float32
from pydantic import Field

from fathomseg.config import Part
from fathomseg.config.bounds import Fraction
from fathomseg.data.transforms import Geometry, ViewLabel, draws
from fathomseg.io.images import resize_image
from fathomseg.types import Size

SMALL: Final[Size] = (16, 32)
"""(height, width) at which geometry is compared."""

_CANDIDATES: Final = 2
"""Tells these random numbers from those that choose images (3) and cut views (1)."""


@dataclass(frozen=True)
class Geometries:
    """Small disparities of the images of a stream, and the views it shows of them."""

    small: Float16[np.ndarray, "n h w"]
    """Disparity 0..1 of whole images, NaN = not known."""
    places: Mapping[str, int]
    """By id which of `small` is its own."""
    id_at: Callable[[int], str]
    """Which image the stream shows at a position, before any is chosen by its geometry."""
    geometry: Geometry
    seed: int
    size: Size
    """(height, width) of the images the views are cut from."""
    working: Size | None = None
    """What zoom and crop refer to, if it is not `size`."""

    def seen(self, id: str, position: int) -> Float32[np.ndarray, "h w"]:
        """The disparity of an image in the (first) view that the stream shows at this position; NaN beyond it."""
        small = self.small[self.places[id]]
        _, rng = draws(self.seed, position)
        (across, _, x), (_, down, y) = self.geometry.draw(self.size, rng, self.working).theta(self.size).tolist()
        rows, inside_rows = _nearest(down, y, small.shape[0])
        columns, inside_columns = _nearest(across, x, small.shape[1])
        inside = inside_rows[:, None] & inside_columns
        return np.where(inside, small[rows][:, columns], np.nan).astype(np.float32)


class ByGeometry:
    """At each position the candidate that fits what the other stream shows there."""

    def __init__(self, config: MatchingGeometry, target: Geometries, source: Geometries, seed: int) -> None:
        self.config, self.target, self.source, self.seed = config, target, source, seed
        self._ids = sorted(source.places)

    def id_at(self, position: int) -> str:
        """The best of the candidates; the first of them among equals."""
        ids = self.candidates(position)
        wanted = self.target.seen(self.target.id_at(position), position)
        return ids[int(np.argmin([self.distance(wanted, self.source.seen(id, position)) for id in ids]))]

    def candidates(self, position: int) -> list[str]:
        """Different images of the source, all equally likely."""
        rng = np.random.default_rng((self.seed, _CANDIDATES, position))
        count = min(self.config.candidates, len(self._ids))
        return [self._ids[place] for place in rng.choice(len(self._ids), count, replace=False)]

    def distance(self, target: Float32[np.ndarray, "h w"], source: Float32[np.ndarray, "h w"]) -> float:
        """Mean of |log(1 + D_t) - log(1 + D_s)| over the rows that count and the pixels both know; infinite without."""
        height = len(target)
        first, last = round(self.config.top * height), height - round(self.config.bottom * height)
        apart = np.abs(np.log1p(target[first:last]) - np.log1p(source[first:last]))
        known = np.isfinite(apart)
        return float(apart[known].mean()) if known.any() else float("inf")

    def accepts(self, position: int, label: ViewLabel, tries: int) -> bool:
        """Only the first view has been compared."""
        return True


class MatchingGeometry(Part):
    """Of several random images the one is shown whose depth is most like that of another stream's image at the same
    position, the one it is mixed with (`objectives.NAME.partner`)."""

    name: Literal["matching_geometry"] = "matching_geometry"
    partner: str = "unlabelled"
    """The stream whose images are to be fitted, the target."""
    candidates: Annotated[int, Field(ge=1)] = 5
    """How many images are compared; 1 = random pairs."""
    top: Fraction = 0.156
    """Rows of the view from its upper edge on that do not count, as a part of its height: 80 of 512."""
    bottom: Fraction = 0.195
    """Rows from its lower edge on that do not count, where the camera's own car is: 100 of 512."""

    def order(self, target: Geometries, source: Geometries, seed: int) -> ByGeometry:
        """The sequence of images of the source."""
        return ByGeometry(self, target, source, seed)


def smaller(disparity: Float32[np.ndarray, "h w"]) -> Float16[np.ndarray, "16 32"]:
    """The mean of the known pixels of each cell; NaN where none is known."""
    known = np.isfinite(disparity)
    share = resize_image(known.astype(np.float32), SMALL)
    total = resize_image(np.where(known, disparity, np.float32(0)), SMALL)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share > 0, total / share, np.nan).astype(np.float16)


def _nearest(scale: float, shift: float, cells: int) -> tuple[np.ndarray, Bool[np.ndarray, " n"]]:
    """For each of as many cells of a view the nearest cell of the whole image along one side, and whether it is in it;
    `scale` and `shift` as in `View.theta`."""
    centres = (2 * np.arange(cells) + 1) / cells - 1
    found = np.floor((scale * centres + shift + 1) / 2 * cells).astype(int)
    return found.clip(0, cells - 1), (found >= 0) & (found < cells)
