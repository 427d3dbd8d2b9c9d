"""Geometric augmentation of one sample: image, label, depth, neighbouring frames and camera move together.

No library moves the intrinsics along, hence our own. A view is a window of the working image, resampled to the crop's
size and perhaps mirrored; drawing it and cutting it are two functions, so that tests can cut a view they know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fathomseg.config import Part
from fathomseg.data.sizes import scaled
from fathomseg.types import IGNORE, Camera, Sample, Size

ZOOM: Final = (1.0, 2.0)
"""The usual range of the random zoom: with the whole image as the crop, nothing below 1 is without padding."""

_SAMPLE: Final = 1
"""Tells the random numbers of a view from those that choose its image (`sampling`)."""

PositiveSize = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]

ViewLabel = Callable[[], UInt8[np.ndarray, "h w"] | None]
"""Cuts the label that a view shows; None if there is none."""


@dataclass(frozen=True, slots=True)
class View:
    """A window of an image, in pixels of that image: it may reach beyond the image; what is outside becomes ignore."""

    top: int
    left: int
    window: Size
    size: Size
    """(height, width) the window is resampled to."""
    flip: bool = False
    depth_divisor: float = 1.0
    """What depth is divided by; the camera stays as it is."""

    def theta(self, image: Size) -> Float32[np.ndarray, "2 3"]:
        """Where the view's pixels lie in an image of this size, for `F.affine_grid(..., align_corners=False)`."""
        (height, width), (h, w) = image, self.window
        across, down = (-w if self.flip else w) / width, h / height
        return np.array(
            [[across, 0, (2 * self.left + w) / width - 1], [0, down, (2 * self.top + h) / height - 1]], np.float32
        )


def draws(seed: int, position: int) -> tuple[int, np.random.Generator]:
    """The random key of what a stream shows at a position, and the random numbers its view is drawn with."""
    rng = np.random.default_rng((seed, _SAMPLE, position))
    return int(rng.integers(2**63)), rng


class Geometry(Part):
    """Random scale, crop and horizontal flip."""

    crop: PositiveSize | None = None
    """(height, width) of the training crop; nothing = the whole working size."""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    """Range of the random zoom, drawn log-uniformly, so that halving is as likely as doubling. 1 = no zoom; below 1 an
    image may become smaller than the crop, and is padded. null = 1 to 2; with neighbouring frames 1."""
    detail: Annotated[float, Field(ge=1)] | None = None
    """Images are prepared at this many times the working size, so that zooming in shows detail and not larger pixels.
    null = as far as the largest zoom and the stored images go. Prepared arrays take its square of the space."""
    whole: Annotated[float, Field(gt=0)] = 1.0
    """Teachers that are shown whole images see them at this many times the working size, though not larger than they
    are prepared, and in whole steps (`sizes.scaled`). At 1.4 things are as large as in the average view of zooms from
    1 to 2."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of mirroring left to right."""
    depth_follows_zoom: bool = False
    """false: zooming changes the camera's focal length, and depth keeps its metres. true: depth is divided by the zoom,
    as if the camera had come nearer, for a network that cannot know the focal length (Nekrasov et al. 2019)."""

    @model_validator(mode="after")
    def _ordered(self) -> Geometry:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"scale must be [smallest, largest], but is {list(self.zoom)}")
        return self

    @property
    def zoom(self) -> tuple[float, float]:
        """The range of the random zoom."""
        return self.scale or ZOOM

    def for_frames(self) -> Geometry:
        """The same for images that come with neighbouring frames, whose motion would be lost in a small window."""
        return self if self.scale is not None else self.model_copy(update={"scale": (1.0, 1.0)})

    def prepared(self, working: Size, native: Size) -> Size:
        """The (height, width) at which images are prepared, from the working size and that of the stored images."""
        stored = max(1.0, min(native[0] / working[0], native[1] / working[1]))
        detail = max(1.0, min(self.zoom[1], stored)) if self.detail is None else self.detail
        return round(working[0] * detail), round(working[1] * detail)

    def view_size(self, working: Size) -> Size:
        """The (height, width) of its views."""
        return self.crop or working

    def whole_size(self, working: Size, prepared: Size) -> Size:
        """The (height, width) at which teachers are shown whole images."""
        factor = min(self.whole, max(1.0, min(prepared[0] / working[0], prepared[1] / working[1])))
        return scaled(working, factor, prepared)

    def draw(self, size: Size, rng: np.random.Generator, working: Size | None = None) -> View:
        """A random view of an image of `size`: the zoom first, then a place for the window, then the mirror.

        Zoom and crop mean the image at the `working` size, if it is prepared larger than that.
        """
        working = working or size
        out = self.view_size(working)
        zoom = float(np.exp(rng.uniform(*np.log(self.zoom))))
        tall, wide = (out[i] / zoom * (size[i] / working[i]) for i in (0, 1))
        window = (max(1, round(tall)), max(1, round(wide)))
        top, left = (_place(have, want, rng) for have, want in zip(size, window, strict=True))
        flip = bool(rng.random() < self.flip)
        return View(top, left, window, out, flip, zoom if self.depth_follows_zoom else 1.0)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A random view of the sample, `crop` large."""
        return cut(sample, self.draw(sample.size, rng))


def whole(image: UInt8[np.ndarray, "h w 3"], size: Size) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The whole image at a size, resampled as views are."""
    view = View(0, 0, (image.shape[0], image.shape[1]), size)
    shown: UInt8[np.ndarray, "h2 w2 3"] = _cut(image, view, 0, _image_interpolation(view))
    return shown


def cut(sample: Sample, view: View) -> Sample:
    """The part of the sample that `view` shows.

    Padding is black in the image, 255 in the label, 0 (invalid) in depth, NaN (not known) in disparity, 0 0 0 (not
    known) in normals, and not valid. Zooming changes the camera's focal length, not the scene, so that normals stay and
    depth keeps its metres; unless the view divides depth, which makes the scene smaller and leaves normals as they are.
    """
    return replace(
        sample,
        image=_cut(sample.image, view, 0, _image_interpolation(view)),
        label=cut_label(sample.label, view),
        depth=None if sample.depth is None else _depth(sample.depth, view),
        disparity=None if sample.disparity is None else _cut(sample.disparity, view, np.nan, cv2.INTER_NEAREST_EXACT),
        normals=None if sample.normals is None else _normals(sample.normals, view),
        valid=_shown(sample, view),
        distilled={name: _distilled(name, array, view) for name, array in sample.distilled.items()},
        frames={o: _cut(frame, view, 0, _image_interpolation(view)) for o, frame in sample.frames.items()},
        camera=None if sample.camera is None else _move(sample.camera, view),
    )


def cut_label(label: UInt8[np.ndarray, "h w"] | None, view: View) -> UInt8[np.ndarray, "h2 w2"] | None:
    """The part of a label that `view` shows; None if there is none."""
    return None if label is None else _cut(label, view, IGNORE, cv2.INTER_NEAREST_EXACT)


def _depth(depth: Float32[np.ndarray, "h w"], view: View) -> Float32[np.ndarray, "h2 w2"]:
    seen: Float32[np.ndarray, "h2 w2"] = _cut(depth, view, 0, cv2.INTER_NEAREST_EXACT)
    return seen if view.depth_divisor == 1 else seen / np.float32(view.depth_divisor)


def _normals(normals: Float32[np.ndarray, "h w 3"], view: View) -> Float32[np.ndarray, "h2 w2 3"]:
    """In a mirror left is right, so that x changes its sign."""
    seen: Float32[np.ndarray, "h2 w2 3"] = _cut(normals, view, 0, cv2.INTER_NEAREST_EXACT)
    return seen * np.array([-1, 1, 1], np.float32) if view.flip else seen


def _distilled(name: str, array: NDArray[Any], view: View) -> NDArray[Any]:
    """What a teacher predicted moves as what is known of an image does."""
    if name == "depth":
        return _depth(array, view)
    if name == "normals":
        return _normals(array, view)
    return _cut(array, view, IGNORE if name == "label" else 0, cv2.INTER_NEAREST_EXACT)


def _shown(sample: Sample, view: View) -> Bool[np.ndarray, "h w"] | None:
    """Where the view shows the photograph; None if everywhere."""
    height, width = sample.size
    bottom, right = view.top + view.window[0], view.left + view.window[1]
    inside = view.top >= 0 and view.left >= 0 and bottom <= height and right <= width
    if inside and sample.valid is None:
        return None
    before = np.ones(sample.size, dtype=np.uint8) if sample.valid is None else sample.valid.astype(np.uint8)
    shown: Bool[np.ndarray, "h w"] = _cut(before, view, 0, cv2.INTER_NEAREST_EXACT).astype(np.bool_)
    return shown


def _place(have: int, want: int, rng: np.random.Generator) -> int:
    """Where a window of `want` begins along a side of `have`: inside if it fits, else so that the side is inside it."""
    low, high = min(0, have - want), max(0, have - want)
    return int(rng.integers(low, high + 1))


def _image_interpolation(view: View) -> int:
    shrinks = view.size[0] < view.window[0]
    return int(cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _cut(array: NDArray[Any], view: View, padding: float, interpolation: int) -> NDArray[Any]:
    height, width = array.shape[:2]
    bottom, right = view.top + view.window[0], view.left + view.window[1]
    inside = array[max(view.top, 0) : min(bottom, height), max(view.left, 0) : min(right, width)]
    if inside.shape[:2] != view.window:
        pads = (max(-view.top, 0), max(bottom - height, 0), max(-view.left, 0), max(right - width, 0))
        inside = cv2.copyMakeBorder(inside, *pads, cv2.BORDER_CONSTANT, value=(padding,) * 4)
    if view.window != view.size:
        inside = cv2.resize(inside, view.size[::-1], interpolation=interpolation)
    return np.ascontiguousarray(inside[:, ::-1] if view.flip else inside)


def _move(camera: Camera, view: View) -> Camera:
    moved = camera.cropped(view.top, view.left, view.window).resized(view.size)
    return moved.flipped() if view.flip else moved
