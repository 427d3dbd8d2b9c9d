"""What every source of depth offers: disparity of whole images, of any scale, and a fingerprint to cache it by.

The settings (`DepthSource`) are a part of a recipe; what has to be loaded (a network, a listing of files) belongs to
the reader that `open` makes, and goes with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from pydantic import model_validator

from fathomseg.config import Part
from fathomseg.data.datasets.base import Dataset
from fathomseg.depth_sources.normalise import Normalisation


class DepthSource(Part, ABC):
    """Anything that says how far the pixels of a dataset's images are."""

    name: str
    normalise: Normalisation = Normalisation()
    """Which disparities become 0 and 1."""

    @model_validator(mode="after")
    def _on_a_scale(self) -> Self:
        if self.normalise.over == "none" and not self.is_between_depths:
            raise ValueError(
                f"normalise.over=none takes disparity that is 0..1 between two depths, which {self.name} does not give "
                "here; take over=image or dataset, or a run, or maps that hold its disparity"
            )
        return self

    @property
    def is_between_depths(self) -> bool:
        """Whether disparity is 0..1, linear in 1 / depth, 0 at one depth and 1 at another, the same for all images."""
        return False

    def depth_range(self) -> tuple[float, float] | None:
        """The depths of disparity 1 and of 0; None if they are not known. Raises `FathomError` without a source."""
        return None

    @abstractmethod
    def open(self, dataset: Dataset, device: torch.device | str | None = None) -> DepthReader:
        """The reader for one dataset; a network runs on `device`, by default on a GPU if there is one.

        Raises `FathomError` if the source cannot be used at all (no such run, no such folder, a package missing).
        """

    def disparity(self, dataset: Dataset, id: str) -> Float32[np.ndarray, "h w"] | None:
        """The disparity of one image, as `DepthReader.disparity` gives it. For many images, `prepare` is faster."""
        return self.open(dataset).disparity([id])[0]


class DepthReader(ABC):
    """Reads the disparity of a dataset's images: files by `load`, which threads call, networks by `finish`.

    Disparity is float32 of any scale and offset, the larger the nearer, NaN where it is not known, of the whole image
    at whatever resolution the source has.
    """

    batch: int = 16
    """How many images are best finished at a time."""

    @abstractmethod
    def fingerprint(self, id: str) -> str | None:
        """A text that changes whenever the disparity would; None if there is none to be had. Raises `DataError`."""

    @abstractmethod
    def load(self, id: str) -> NDArray[Any] | None:
        """What `finish` needs, None if there is no disparity. Raises `DataError` if a file cannot be used."""

    def finish(self, loaded: Sequence[NDArray[Any]]) -> list[Float32[np.ndarray, "_ _"]]:
        """Disparity from what was loaded; here it is disparity already."""
        return list(loaded)

    def disparity(self, ids: Sequence[str]) -> list[Float32[np.ndarray, "_ _"] | None]:
        """The disparity of some images, None for those that have none. Raises `DataError`."""
        loaded = {id: self.load(id) for id in ids}
        having = {id: item for id, item in loaded.items() if item is not None}
        found = dict(zip(having, self.finish(list(having.values())), strict=True)) if having else {}
        return [found.get(id) for id in ids]


class NetworkReader(DepthReader):
    """A reader that shows the images of a dataset to a network."""

    def __init__(self, dataset: Dataset, network: str, batch: int) -> None:
        """`network` is a text that changes whenever the network does."""
        self.dataset, self.network, self.batch = dataset, network, batch

    def fingerprint(self, id: str) -> str | None:
        """That of the network and of the image."""
        image = self.dataset.fingerprint(id, "image")
        return None if image is None else f"{self.network}|{image}"

    def load(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The image."""
        return self.dataset.image(id)


def inverse(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """1 / depth, which is 0 where depth is infinite; NaN where depth is no positive number."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        disparity = 1 / depth
        known = (depth > 0) & np.isfinite(disparity)
    return np.where(known, disparity, np.float32(np.nan))
