"""What every encoder is: RGB images to a pyramid of feature maps that starts with the normalised image itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.compat import replace_same_padding


@dataclass(frozen=True, slots=True)
class Pyramid:
    """What an encoder delivers, from fine to coarse: the channels of each map, and the pixels one of its cells spans.

    The first map is the normalised image (3 channels, stride 1). Dilated encoders have several maps of one stride, and
    plain transformers no others.
    """

    model: str
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    read_by: str = "network.tasks.TASK.decoder"
    """Where a recipe has the decoder that reads it, for errors."""

    def at(self, stride: int, wanted_by: str) -> int:
        """The index of the deepest map of this stride. Raises `FathomError` if there is none."""
        if stride not in self.strides:
            raise FathomError(
                f"Decoder {wanted_by!r} needs a feature map of stride {stride}, but encoder {self.model!r} gives "
                f"strides {self.found}. Choose {self.other_decoder}, or an encoder with that stride."
            )
        return len(self.strides) - 1 - self.strides[::-1].index(stride)

    @property
    def found(self) -> str:
        """The strides there are, as text."""
        return ", ".join(str(stride) for stride in self.strides[1:])

    @property
    def other_decoder(self) -> str:
        """The setting of a decoder that can read these maps, if one is known."""
        if self.plain:
            return f"{self.read_by}.name=dpt"
        return f"{self.read_by}.name=fpn" if 4 in self.strides else f"another {self.read_by}.name"

    @property
    def plain(self) -> bool:
        """Whether all maps but the image have one stride, as those of a plain transformer."""
        return len(self.strides) > 2 and len(set(self.strides[1:])) == 1


class FeatureEncoder(nn.Module):
    """Normalises the image and returns its feature maps as `pyramid` describes them."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: Any, model: str, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = replace_same_padding(net)
        self.pyramid = Pyramid(model, (3, *net.feature_info.channels()), (1, *net.feature_info.reduction()))
        self._cuts_off = not self.pyramid.plain and any(_cuts_off(layer) for layer in net.modules())
        self._channels_last = "NHWC" in str(getattr(net, "output_fmt", ""))  # Swin and its kin
        # Saved with the weights, since they are only right together.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The pyramid of RGB images 0..1: the normalised images, then maps of h/stride x w/stride, rounded up."""
        image = (image - self.mean) / self.std
        maps = self.net(self._padded(image) if self._cuts_off else image)
        if self._channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        if self._cuts_off:
            height, width = image.shape[2:]
            sized = zip(maps, self.pyramid.strides[1:], strict=True)
            maps = [x[:, :, : -(-height // stride), : -(-width // stride)] for x, stride in sized]
        return [image, *maps]

    def _padded(self, image: Tensor) -> Tensor:
        """Zeros, the mean colour, on the right and at the bottom, up to whole cells of the deepest map."""
        height, width = image.shape[2:]
        return F.pad(image, (0, -width % self.pyramid.strides[-1], 0, -height % self.pyramid.strides[-1]))


def _cuts_off(layer: nn.Module) -> bool:
    """Whether a layer drops what is not a whole cell at the right and at the bottom, as the patches of ConvNeXt."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.stride[0] > 1
        and layer.kernel_size == layer.stride
        and layer.padding in {(0, 0), "valid"}
    )
