"""Convex upsampling (Teed & Deng 2020, ECCV: RAFT, arXiv:2003.12039, section 3.3): a finer map by learned weights."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.models.blocks import Map
from fathomseg.models.decoders.depth_unet import ReflectConv2d
from fathomseg.models.norms import in_own_precision

_HIDDEN: Final = 32
_SPREAD: Final = 0.1
"""How much of the weights is spread evenly over the nine neighbours before training: none of them begins at zero,
which no gradient leaves."""


class ConvexUpsample(nn.Module):
    """Each fine pixel is a convex combination of the 3 x 3 coarse ones around it; weights are read off features.

    Before training they are those of bilinear interpolation, but for a tenth. Unlike interpolation it can keep a jump,
    and unlike a decoder of full resolution it convolves nothing there.
    """

    def __init__(self, width: int, factor: int) -> None:
        """Features of `width` channels, of the size of the coarse map, which grows by `factor` each way."""
        super().__init__()
        self.factor = factor
        self.hidden = nn.Sequential(ReflectConv2d(width, _HIDDEN), nn.ReLU(inplace=True))
        self.weights = nn.Conv2d(_HIDDEN, 9 * factor**2, 1)
        nn.init.zeros_(self.weights.weight)
        with torch.no_grad():
            assert self.weights.bias is not None
            self.weights.bias.copy_(((1 - _SPREAD) * bilinear(factor) + _SPREAD / 9).log().flatten())

    def forward(self, features: Map, coarse: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 _ _"]:
        """b x 1 x factor h x factor w, of nothing beyond the range of `coarse`."""
        height, width = coarse.shape[2:]
        logits = in_own_precision(self.weights, self.hidden(features))
        share = logits.unflatten(1, (9, self.factor**2)).softmax(1)
        padded = F.pad(coarse, (1, 1, 1, 1), mode="replicate")
        around = [padded[:, :, dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
        fine = (share * torch.stack(around, dim=1)).sum(1)
        return F.pixel_shuffle(fine, self.factor)


def bilinear(factor: int) -> Float[Tensor, "9 n"]:
    """The weights of the 3 x 3 coarse pixels in each of the factor^2 fine ones, pixel edges aligned."""
    # Between the centres of the coarse pixels lie those of the fine ones, at (i + 0.5) / factor - 0.5 from the middle.
    at = (torch.arange(factor) + 0.5) / factor - 0.5
    along = torch.stack([(-at).clamp(min=0), 1 - at.abs(), at.clamp(min=0)])
    return torch.einsum("yi,xj->yxij", along, along).reshape(9, factor**2)
