"""Where the intrinsics come from that learning depth needs: the dataset, an assumption, or the training itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from fathomseg.config import Part
from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import FathomError
from fathomseg.types import Camera, Size

Degrees = Annotated[float, Field(gt=1, lt=175)]


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """The camera of every image, and which of them are assumed."""

    cameras: Mapping[str, Camera]
    """By sample id, for the stored image."""
    assumed: Mapping[str, int]
    """For every image without a known camera the number of its camera; images of one number share a camera."""
    names: tuple[str, ...] = ()
    """What each of these numbers stands for: `device`."""
    learned: bool = False
    """Whether training is to find the focal lengths of the assumed ones."""

    @property
    def learned_focal_ids(self) -> Mapping[str, int]:
        """The images whose focal length is learned, each with the number of its camera; empty if none is."""
        return self.assumed if self.learned else {}


class Known(Part):
    """The cameras the dataset knows; an image without one is an error."""

    name: Literal["known"] = "known"

    def intrinsics(self, dataset: Dataset, ids: Sequence[str]) -> Intrinsics:
        """Raises `FathomError` if an image has no camera."""
        cameras = {id: dataset.camera(id) for id in ids}
        unknown = [id for id, camera in cameras.items() if camera is None]
        if unknown:
            raise FathomError(
                f"{len(unknown)} of {len(ids)} images of {dataset.name} have no camera, for example {unknown[0]!r}, "
                "and learning depth needs the intrinsics. Give them (a camera.yaml, docs/data.md); or let training "
                "find the focal length: camera.name=learned; or assume a horizontal field of view: "
                "camera.name=field_of_view camera.degrees=65."
            )
        return Intrinsics({id: camera for id, camera in cameras.items() if camera is not None}, {})


class FieldOfView(Part):
    """A pinhole camera with square pixels, its axis through the middle, for every image without a known camera."""

    name: Literal["field_of_view"] = "field_of_view"
    degrees: Degrees = 65.0
    """Horizontal field of view: dash cameras have 60 to 120, phones 60 to 75, KITTI has 81."""

    def intrinsics(self, dataset: Dataset, ids: Sequence[str]) -> Intrinsics:
        """Known cameras where there are any, the assumed one elsewhere."""
        return _filled(dataset, ids, self.degrees)


class Learned(Part):
    """As `field_of_view`, but one focal length for each unknown camera is learned with depth and motion. Clips of one
    folder and one size of images share a camera: clips of another go into a folder of their own (clips/NAME/CLIP/,
    videos/NAME/CLIP.mp4).

    What a focal length does to the image is seen when the camera turns (Gordon et al., ICCV 2019): clips that only go
    straight ahead cannot teach it.
    """

    name: Literal["learned"] = "learned"
    degrees: Degrees = 65.0
    """Horizontal field of view to begin with."""

    def intrinsics(self, dataset: Dataset, ids: Sequence[str]) -> Intrinsics:
        """As `FieldOfView`, marked to be learned."""
        return replace(_filled(dataset, ids, self.degrees), learned=True)


AnyIntrinsics = Annotated[Known | FieldOfView | Learned, Field(discriminator="name")]
"""Every source of intrinsics."""


def _filled(dataset: Dataset, ids: Sequence[str], degrees: float) -> Intrinsics:
    cameras: dict[str, Camera] = {}
    assumed: dict[str, int] = {}
    numbers: dict[str, int] = {}
    pinholes: dict[str, Camera] = {}
    for id in ids:
        if (known := dataset.camera(id)) is None:
            clip = id.rpartition("/")[0]
            if clip not in pinholes:  # frames of one clip have one size, and one image tells it
                pinholes[clip] = pinhole(dataset.size_of(id), degrees)
            known = pinholes[clip]
            assumed[id] = numbers.setdefault(device(dataset, clip, known), len(numbers))
        cameras[id] = known
    return Intrinsics(cameras, assumed, tuple(numbers))


def device(dataset: Dataset, clip: str, camera: Camera) -> str:
    """The name of the camera that made a clip, as far as one can tell: the folder the clip lies in and the size of its
    images ("clips-gopro-1920x1080"), since cameras are kept apart by folders, and a mode of another size or a turned
    phone has another focal length."""
    folder = clip.rpartition("/")[0] or dataset.name
    return f"{folder.replace('/', '-')}-{camera.width}x{camera.height}"


def pinhole(size: Size, degrees: float) -> Camera:
    """The camera of this horizontal field of view whose axis goes through the middle of the image."""
    height, width = size
    focal = width / 2 / math.tan(math.radians(degrees) / 2)
    return Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, height, width)


def field_of_view(camera: Camera) -> float:
    """The horizontal field of view in degrees of a camera whose axis goes through the middle."""
    return math.degrees(2 * math.atan(camera.width / 2 / camera.fx))
