"""What every dataset offers: stable sample ids, and one accessor for each thing that may be known about a sample.

A dataset never loads what it is not asked for: reading an image does not touch its label file. What a sample lacks is
None, never a placeholder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from fathomseg.config import Part
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.errors import DataError, Problem
from fathomseg.types import Camera, ClassList, Size

if TYPE_CHECKING:
    from fathomseg.data.datasets.files import Files

Kind = Literal["image", "label", "depth"]
"""The arrays a sample can have; each is read, checked and cached by itself."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a user may not know of an image of his."""

    turned: bool = False
    """Whether it is turned or mirrored as it is read, as an EXIF orientation asks for."""
    bits: int | None = None
    """How many bits an image in a file of 16 bits is taken to have; None for one of 8."""


class Dataset(Part, ABC):
    """Base of all datasets. A dataset is a frozen part: its settings say where the data is, its methods read it.

    A sample id is a stable string (usually `split/stem`), never a position in a listing, so a list of ids means the
    same images on every machine. Arrays come at their stored size; resizing is the reader's work.
    """

    name: str

    @property
    @abstractmethod
    def classes(self) -> ClassList:
        """The classes label values 0..C-1 stand for."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits there are, for example ("train", "val")."""

    @abstractmethod
    def ids(self, split: str) -> Sequence[str]:
        """The ids of a split, sorted. Raises `FathomError` listing the splits there are if there is no such split."""

    def every_id(self) -> Sequence[str]:
        """The ids of all samples, those of no split included; patterns are fitted to them."""
        return sorted({id for split in self.splits for id in self.ids(split)})

    @abstractmethod
    def image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB image, uint8. Raises `DataError` with the reason if it cannot be read."""

    def files(self, id: str) -> Files | None:
        """Where a sample is stored; None if it lies in no file."""
        return None

    def size_of(self, id: str) -> Size:
        """(height, width) of the stored image. Raises `DataError`."""
        height, width = self.image(id).shape[:2]
        return height, width

    def has_label(self, id: str) -> bool:
        """Whether a label exists, WITHOUT opening the label file."""
        return False

    def label_map(self, id: str | None = None) -> LabelMap | None:
        """Which value in a label file means which class: of one sample, or of all alike. None = the class indices."""
        return None

    def label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Class indices, 255 = ignore, at the stored size; None if there is none. Raises `DataError` if it is bad."""
        return None

    def depth(self, id: str) -> Float32[np.ndarray, "h w"] | None:
        """z-depth in metres, 0 = invalid; None if there is none."""
        return None

    def has_depth(self, id: str) -> bool:
        """Whether a depth exists, without opening its file where possible; one that cannot be read counts."""
        try:
            return self.depth(id) is not None
        except DataError:
            return True

    def unread_depth(self) -> str | None:
        """A sentence on depth maps that lie there and are not read, and what to do; None if there are none."""
        return None

    def few_to_train(self) -> str | None:
        """A sentence on a default val that has more labels than train, and what to do; None for any other."""
        return None

    def stored_normals(self, id: str) -> Float32[np.ndarray, "h w 3"] | None:
        """Unit vectors (x right, y down, z forward) towards the camera, 0 0 0 = unknown; None if none are stored."""
        return None

    def normals(self, id: str) -> Float32[np.ndarray, "h w 3"] | None:
        """Those that are stored, or else computed from depth and camera; None if these are not known."""
        from fathomseg.data.normals import true_normals  # loads PyTorch

        if (stored := self.stored_normals(id)) is not None:
            return stored
        camera = self.camera(id)
        depth = None if camera is None else self.depth(id)
        return None if camera is None or depth is None else true_normals(depth, camera)

    def has_normals(self, id: str) -> bool:
        """Whether there are normals, without opening a map where possible. Raises `DataError` for a bad camera."""
        return self.has_depth(id) and self.camera(id) is not None

    def normals_fingerprint(self, id: str) -> str | None:
        """As `fingerprint`, of the normals."""
        depth = self.fingerprint(id, "depth")
        return None if depth is None else f"normals|{self.camera(id)}|{depth}"

    def camera(self, id: str) -> Camera | None:
        """The pinhole camera of the stored image, in its pixels; None if it is not known."""
        return None

    def camera_height(self, id: str) -> float | None:
        """Metres from the ground to the camera; None if it is not known."""
        return None

    def world_T_cam(self, id: str) -> Float64[np.ndarray, "4 4"] | None:
        """The camera's pose (camera to world, metres); None if it is not known. Named target-first."""
        return None

    def neighbour(self, id: str, offset: int) -> str | None:
        """The id of the video frame `offset` steps later (earlier if negative); None if there is none."""
        return None

    def clip(self, id: str) -> str | None:
        """The clip (drive, video) whose frame the sample is; None if it is of none, or nothing is known of it."""
        return None

    def clips_remedy(self) -> str:
        """What to do where splits share clips, as the end of a sentence; "" if nothing is known."""
        return ""

    def held_out(self) -> frozenset[str]:
        """Ids that nothing may be learned from, whatever split names them: drives that are held out as a whole, their
        frames without a label included. `data.held_out.HeldOut` adds the split that is scored on."""
        return frozenset()

    def fresh(self, split: str, seed: int, position: int) -> str | None:
        """The id of a new random sample, a pure function of both numbers, of a dataset without an end; None for all
        others, whose samples are those in `ids`."""
        return None

    def moment(self, id: str) -> str:
        """The id that stands for all samples of the same moment, in other weather or from a camera beside it; the id
        itself in datasets that have no such."""
        return id

    def fingerprint(self, id: str, kind: Kind) -> str | None:
        """A text that changes whenever the stored array would: what the cache is keyed by. None = do not cache."""
        return None

    def identity(self, id: str) -> str | None:
        """A text that two ids share if they show the same stored picture, by whatever path or settings it is read: what
        hold-out goes by. None if that is not known. Raises `DataError` if the file has gone."""
        return self.fingerprint(id, "image")

    @property
    def stated_bits(self) -> int | None:
        """Bits that images in files of 16 are said to use; None if nobody said."""
        return None

    def traits(self, id: str) -> Traits:
        """What is to be known of how the image is read. Raises `DataError` if it cannot be."""
        return Traits()

    def problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Everything wrong with these samples, in order, with the words training would stop with."""
        yield from ()

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Those of `problems` that need no decoding to be seen."""
        yield from ()

    def notes(self) -> tuple[str, ...]:
        """What a reader of `fathom check` should know about how this copy was understood."""
        return ()

    def passed_over(self) -> tuple[str, ...]:
        """Sentences on files there that no one reads, for the user to know."""
        return ()
