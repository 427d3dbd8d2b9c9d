"""Plain vision transformers (ViT, DeiT, DINOv2, DINOv3, EVA): the tokens of a few blocks, as maps of one stride.

They have no pyramid of their own: all blocks see the patches of one grid. `decoders/dpt.py` makes one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.compat import load_timm

DEPTHS: Final = 4
"""Blocks whose tokens are read."""

_MODULES: Final = ("vision_transformer", "deit", "eva")
"""timm's files of plain transformers that take images of any size."""


def is_plain(model: str) -> bool:
    """Whether a timm model is a plain transformer whose positions can be interpolated."""
    return bool(load_timm().models.is_model_in_modules(model, _MODULES))


def create_plain(model: str, blocks: Sequence[int] | None, **options: Any) -> TokenMaps:
    """The timm model, cut behind the last of `blocks` (counted from 1; the ends of its four quarters if None).

    It takes images of any size: zeros, the mean colour, fill the patches at the right and at the bottom, and the
    positions are interpolated. Raises `FathomError` for blocks it does not have.
    """
    net = load_timm().create_model(model, num_classes=0, dynamic_img_size=True, dynamic_img_pad=True, **options)
    depth = len(net.blocks)
    wanted = quarters(depth) if blocks is None else tuple(blocks)
    if wanted[-1] > depth:
        raise FathomError(
            f"network.encoder.blocks asks for block {wanted[-1]}, but {model!r} has {depth} blocks. "
            f"Give {DEPTHS} ascending numbers from 1 to {depth}, or null for {quarters(depth)}."
        )
    return TokenMaps(net, [block - 1 for block in wanted])


def quarters(depth: int) -> tuple[int, ...]:
    """The last block of each quarter, counted from 1: 3, 6, 9, 12 of 12 (Ranftl et al. 2021, section 3, ViT-Base)."""
    return tuple(max(1, depth * k // DEPTHS) for k in range(1, DEPTHS + 1))


class TokenMaps(nn.Module):
    """The patch tokens behind some blocks, each through the model's last norm; class and register tokens left out."""

    def __init__(self, net: Any, indices: Sequence[int]) -> None:
        """`indices` of the blocks, from 0; what lies behind the last one is taken away from `net`."""
        super().__init__()
        self.indices = list(indices)
        self.feature_info = load_timm().models.FeatureInfo(net.feature_info, tuple(indices))
        self.pretrained_cfg = net.pretrained_cfg
        net.prune_intermediate_layers(self.indices, prune_norm=False)
        self.net = net

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images b x 3 x h x w -> maps of ceil(h / patch) x ceil(w / patch)."""
        maps: list[Tensor] = self.net.forward_intermediates(
            image, indices=self.indices, norm=True, intermediates_only=True
        )
        return maps
