"""Whether a map, a camera or a frame has the shape of its image: what is stretched to fit tells of other places."""

from __future__ import annotations

from typing import Final

from fathomseg.errors import DataError, Problem
from fathomseg.types import Camera, Size

SPARE: Final = 0.1
"""How much two proportions may differ: networks round sizes to whole cells, here up to 32 of 320 pixels."""

CAMERA_SPARE: Final = 0.02
"""The same of a camera that somebody writes down: its sides are in no need of whole cells."""


def same_shape(one: Size, other: Size, spare: float = SPARE) -> bool:
    """Whether two sizes (height, width) have the same proportions, but for rounding to whole pixels."""
    tall, wide = one[0] * other[1], one[1] * other[0]
    rounding = max(one[1], other[1])  # a pixel of height more or less
    return tall <= wide * (1 + spare) + rounding and wide <= tall * (1 + spare) + max(one[0], other[0])


def refuse_other_shape(what: str, given: Size, image: Size, where: str, spare: float = SPARE) -> None:
    """Raises `DataError` naming `where` if `what` (such as "the depth map") has other proportions than its image."""
    if same_shape(given, image, spare):
        return
    sizes = " (height x width), another shape than its image of ".join(f"{h} x {w}" for h, w in (given, image))
    if same_shape(given[::-1], image, spare):
        remedy = (
            "it lies on its side. Images are turned as their EXIF orientation says: make it of the upright image, or "
            "turn it"
        )
    else:
        remedy = "make it of the whole image; nothing is stretched to fit"
    raise DataError([Problem(where, f"{what} is {sizes}: {remedy}")])


def fitted(camera: Camera, size: Size, where: str, spare: float = CAMERA_SPARE) -> Camera:
    """The camera for its image stored at another size. Raises `DataError` if that has other proportions."""
    refuse_other_shape("the camera", (camera.height, camera.width), size, where, spare)
    return camera.resized(size)
