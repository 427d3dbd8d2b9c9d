"""The output of every stage of timm's EfficientNet family, where its own feature pyramid has one map of each stride."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.compat import load_timm

_SIDE = 64
"""Pixels of the image that is tried: a multiple of every stride."""


class Stages(nn.Module):
    """image -> what comes out of the last block of every stage, from the modules of `net`, by their names there."""

    def __init__(self, net: Any, model: str) -> None:
        """`net`: timm's feature extractor. Raises `FathomError` if it is no EfficientNet, MobileNet or relative."""
        super().__init__()
        if not isinstance(getattr(net, "blocks", None), nn.Sequential) or not hasattr(net, "conv_stem"):
            raise FathomError(
                f"network.encoder.taps=stages is for timm's EfficientNets and MobileNets (mobilenetv2_100, "
                f"tf_efficientnet_lite0 ...); {model!r} is none: give taps=strides."
            )
        self.conv_stem, self.bn1, self.act1 = net.conv_stem, net.bn1, getattr(net, "act1", nn.Identity())
        self.blocks = net.blocks
        with torch.no_grad():
            tried = self.eval()(next(self.parameters()).new_zeros(1, 3, _SIDE, _SIDE))
        self.train()
        info = [{"num_chs": x.shape[1], "reduction": _SIDE // x.shape[2], "module": ""} for x in tried]
        self.feature_info = load_timm().models.FeatureInfo(info, tuple(range(len(info))))

    def forward(self, image: Tensor) -> list[Tensor]:
        """b x 3 x h x w -> maps of all stages, fine to coarse."""
        x, maps = self.act1(self.bn1(self.conv_stem(image))), []
        for stage in self.blocks:
            x = stage(x)
            maps.append(x)
        return maps
