"""What every strong augmentation offers: new colours, and perhaps a motion that labels and predictions can follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.augment.affine import Motion
from fathomseg.config import Part
from fathomseg.mixing.pixels import Pixels
from fathomseg.types import Size


class Augmentation(Part, ABC):
    """Base of all strong augmentations. Every choice for a sample is a function of its key alone.

    So `motion` and `recolour` can be called apart, again, or in another batch, and always mean the same draw.
    """

    name: str

    @abstractmethod
    def recolour(self, image: Float[Tensor, "b 3 h w"], keys: Sequence[int]) -> Float[Tensor, "b 3 h w"]:
        """The images, 0..1, with other colours; every pixel stays where it is."""

    def motion(self, keys: Sequence[int], size: Size, like: Tensor) -> Motion | None:
        """How pictures of (height, width) `size` move, on the device of `like`; None = nothing ever moves."""
        return None

    @torch.no_grad()
    def __call__(self, pixels: Pixels, keys: Sequence[int]) -> Pixels:
        """Photometric before geometric augmentation, so that colours see no padded pixels; all fields move together."""
        pixels = pixels.each(Tensor.detach)
        height, width = pixels.image.shape[2:]
        motion = self.motion(keys, (height, width), pixels.image)
        recoloured = replace(pixels, image=self.recolour(pixels.image, keys))
        return recoloured if motion is None else motion(recoloured)
