"""Which image a stream shows at a position of its endless sequence: a pure function of seed and position."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Final, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field

from fathomseg.config import Part
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.geometry_sampling import MatchingGeometry
from fathomseg.data.transforms import ViewLabel
from fathomseg.errors import FathomError
from fathomseg.types import Size

_ORDER: Final = 3
"""Tells these random numbers from those that cut the views, draw candidates, and choose the labelled images.

Not 0: NumPy ignores zeros at the end of a seed, so (seed, 0, 0) chooses the labelled images, and these came first.
"""


@runtime_checkable
class Order(Protocol):
    """An endless sequence of images."""

    def id_at(self, position: int) -> str:
        """The sample id at a global position."""

    def accepts(self, position: int, label: ViewLabel, tries: int) -> bool:
        """Whether the view drawn for this position will do, after so many have been drawn; `label`: cuts its label."""


class Shuffled:
    """Epoch after epoch of all ids, each in an order of its own."""

    def __init__(self, ids: Sequence[str], seed: int) -> None:
        self.ids, self.seed = tuple(ids), seed
        self._epoch: tuple[int, list[int]] | None = None

    def id_at(self, position: int) -> str:
        """The id at a position of the sequence of shuffled epochs."""
        epoch, place = divmod(position, len(self.ids))
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng((self.seed, _ORDER, epoch)).permutation(len(self.ids)).tolist()
            self._epoch = (epoch, order)
        return self.ids[self._epoch[1][place]]

    def accepts(self, position: int, label: ViewLabel, tries: int) -> bool:
        """Any view will do."""
        return True


class Endless:
    """New samples of a dataset without an end."""

    def __init__(self, dataset: Dataset, split: str, seed: int) -> None:
        self.dataset, self.split, self.seed = dataset, split, seed

    def id_at(self, position: int) -> str:
        """The id of a sample that is in all likelihood at no other position."""
        id = self.dataset.fresh(self.split, self.seed, position)
        assert id is not None, "only of datasets without an end"
        return id

    def accepts(self, position: int, label: ViewLabel, tries: int) -> bool:
        """Any view will do."""
        return True


class ByClass:
    """Draws a class, then one of the images that show it."""

    def __init__(
        self,
        classes: Float64[np.ndarray, " c"],
        images: Mapping[int, Sequence[str]],
        seed: int,
        share: float,
        most: int,
    ) -> None:
        """`classes`: the probability of each; `images`: those to draw from, by class; `share`: how many of a view's
        pixels should be of the class, at whatever size it is shown; `most`: views that are cut at most."""
        self.classes, self.images, self.seed, self.share, self.most = classes, images, seed, share, most

    @cached_property
    def frequencies(self) -> dict[str, float]:
        """The probability of each image to be at a position: the sum of p_c / |images of c| over the classes it shows.
        What is never drawn is not in it."""
        found: dict[str, float] = defaultdict(float)
        for index, ids in self.images.items():
            for id in ids:
                found[id] += float(self.classes[index]) / len(ids)
        return dict(found)

    def id_at(self, position: int) -> str:
        """One of the images of the class drawn for this position."""
        return self._draw(position)[1]

    def accepts(self, position: int, label: ViewLabel, tries: int) -> bool:
        """Whether the view shows enough of the class drawn, or no other is to be cut."""
        if tries >= self.most or (shown := label()) is None:
            return True
        return bool((shown == self._draw(position)[0]).sum() >= self.share * shown.size)

    def _draw(self, position: int) -> tuple[int, str]:
        rng = np.random.default_rng((self.seed, _ORDER, position))
        chosen = int(rng.choice(len(self.classes), p=self.classes))
        return chosen, self.images[chosen][int(rng.integers(len(self.images[chosen])))]


class Uniform(Part):
    """Every image once an epoch."""

    name: Literal["uniform"] = "uniform"


class RareClasses(Part):
    """Rare-class sampling (Hoyer et al. 2022, DAFormer, section 3.3): a class is drawn with a probability of
    exp((1 - f) / T), f being its share of the labelled pixels, then one of the images that show it."""

    name: Literal["rare_classes"] = "rare_classes"
    temperature: Annotated[float, Field(gt=0)] = 0.01
    """T: the smaller, the more the rarest classes are preferred."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.003
    """Share of an image's pixels from which on it shows a class; the paper has 3000 of 1280 x 720. If no image has that
    many, those that have any."""
    tries: Annotated[int, Field(ge=1)] = 10
    """Views that are cut until one shows half as many pixels of the class; 1 = the first is taken."""

    def probabilities(self, pixels: Int64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
        """The probability of each class by its labelled pixels; 0 for a class that has none."""
        shares = (1 - pixels / max(1, pixels.sum())) / self.temperature
        weights = np.where(pixels > 0, np.exp(shares - shares[pixels > 0].max(initial=-np.inf)), 0.0)
        return np.asarray(weights / weights.sum())

    def order(
        self,
        counts: Mapping[str, Int64[np.ndarray, " v"]],
        classes: int,
        size: Size,
        seed: int,
        view: Size | None = None,
    ) -> ByClass:
        """The sequence of images by the pixels of every label value in each, whatever size they were counted at; views
        of (height, width) `view`, or as large as these, are cut from images of `size`.

        Raises `FathomError` if none has a labelled pixel.
        """
        every = np.stack(list(counts.values()))
        area, table = every.sum(1, keepdims=True), every[:, :classes]
        total = table.sum(0)
        if not total.any():
            raise FathomError("sampling.name=rare_classes has no labelled pixel to go by; give sampling.name=uniform.")
        ids, shares = list(counts), table / np.maximum(area, 1)
        images = {}
        for index in np.flatnonzero(total).tolist():
            any_ = table[:, index] > 0
            enough = any_ & (shares[:, index] >= self.share)
            images[index] = [id for id, showing in zip(ids, enough if enough.any() else any_, strict=True) if showing]
        shown = math.prod(size) / math.prod(view or size)
        return ByClass(self.probabilities(total), images, seed, self.share * shown / 2, self.tries)


AnySampling = Annotated[Uniform | RareClasses | MatchingGeometry, Field(discriminator="name")]
"""Every way to draw the images of a stream. A new one is listed here and nowhere else."""
