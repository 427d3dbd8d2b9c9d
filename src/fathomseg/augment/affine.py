"""Shear, shift and turn an image and all that is known of its pixels with one matrix, resampled once.

Matrices are named target-first: `source_T_target` takes a pixel (x, y, 1) of the moved picture to where it is seen in
the original. Pixel centres lie at integers, and everything turns about the centre of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from fathomseg.geometry.camera import image_plane
from fathomseg.mixing.draws import on_device
from fathomseg.mixing.pixels import Pixels, over
from fathomseg.types import IGNORE, Size

GREY = 0.5
"""What padded pixels show: 128 in the published policies."""

Matrix = Float64[np.ndarray, "3 3"]


@dataclass(frozen=True, slots=True)
class Motion:
    """Where every pixel of the moved pictures is seen in the originals, and which are seen nowhere."""

    position: Float32[Tensor, "b 2 h w"]
    """x and y in pixels of the original."""
    shown: Bool[Tensor, "b h w"]
    """False where the pixel is padded: from beyond the original, or cut out."""

    def bilinear(self, field: Float[Tensor, "b *c h w"]) -> Float[Tensor, "b *c h w"]:
        """Images, or the probabilities (not: class indices) of a prediction, moved. Beyond the border it is repeated.

        Mask the result with `shown`; a prediction smaller than the image is to be upsampled first.
        """
        span = on_device([max(n - 1, 1) for n in (field.shape[-1], field.shape[-2])], self.position)
        grid = self.position.permute(0, 2, 3, 1) * (2 / span) - 1
        flat = field.reshape(field.shape[0], -1, *field.shape[-2:])
        # Pixel centres lie at integers and -1, 1 are centres of pixels: only align_corners=True leaves them in place.
        return F.grid_sample(flat, grid, "bilinear", "border", align_corners=True).view_as(field)

    def nearest(self, field: Tensor) -> Tensor:
        """Labels, masks or disparities (b ... h w, any type) moved: the value of the nearest pixel, exactly."""
        index = over(self._nearest(), field).expand_as(field)
        return field.flatten(-2).gather(-1, index.flatten(-2)).view_as(field)

    def __call__(self, pixels: Pixels) -> Pixels:
        """Everything moved alike. What is padded is grey, ignored, of weight 0, invalid, of unknown disparity.

        Images, frames and probabilities are bilinear; labels, weights, validity and disparity are those of the nearest
        pixel, since between two surfaces lies no third.
        """
        disparity, probabilities, frames = pixels.disparity, pixels.probabilities, pixels.frames
        return Pixels(
            image=self._fill(self.bilinear(pixels.image), GREY),
            label=self._fill(self.nearest(pixels.label), IGNORE),
            weight=self._fill(self.nearest(pixels.weight), 0.0),
            valid=self.nearest(pixels.valid) & self.shown,
            disparity=None if disparity is None else self._fill(self.nearest(disparity), math.nan),
            probabilities=None if probabilities is None else self.bilinear(probabilities),
            frames=None if frames is None else self._fill(self.bilinear(frames), GREY),
        )

    def _nearest(self) -> Int64[Tensor, "b h w"]:
        """The index, in the flattened original, of the pixel nearest to each position."""
        height, width = self.shown.shape[1:]
        x, y = self.position.round().long().unbind(1)
        return y.clamp(0, height - 1) * width + x.clamp(0, width - 1)

    def _fill(self, field: Tensor, value: float) -> Tensor:
        return field.masked_fill(~over(self.shown, field), value)


def motion(source_T_target: Sequence[Matrix], size: Size, like: Tensor) -> Motion:
    """The motion of images of (height, width) `size`, one matrix (last row 0 0 1) each, on the device of `like`."""
    matrices = on_device(np.stack(source_T_target), like)
    position = image_plane(matrices, size)[:, :2]
    height, width = size
    # A pixel reaches half a pixel beyond its centre.
    x, y = position.unbind(1)
    return Motion(position, (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5))


def shear_x(amount: float) -> Matrix:
    """x grows by `amount` a pixel of y."""
    return np.array([[1, amount, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64)


def shear_y(amount: float) -> Matrix:
    """y grows by `amount` a pixel of x."""
    return np.array([[1, 0, 0], [amount, 1, 0], [0, 0, 1]], dtype=np.float64)


def translate(x: float, y: float) -> Matrix:
    """A shift in pixels."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


def rotate(degrees: float) -> Matrix:
    """A turn from the x axis (right) towards the y axis (down)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=np.float64)


def about_centre(matrix: Matrix, size: Size) -> Matrix:
    """The matrix applied about the centre of an image of (height, width) `size` instead of about its first pixel."""
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    centred: Matrix = translate(x, y) @ matrix @ translate(-x, -y)
    return centred
