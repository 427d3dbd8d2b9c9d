"""A depth run with a tiny random network."""

from __future__ import annotations

from pathlib import Path

import torch

from fathomseg.inference.card import WEIGHTS, ModelCard, save_model
from fathomseg.models.decoders import DepthUNet
from fathomseg.models.encoders import Encoder
from fathomseg.tasks import Depth
from fathomseg.tasks.network import NetworkConfig

TINY = NetworkConfig(
    encoder=Encoder(model="test_efficientnet", pretrained="none"),
    tasks={"depth": Depth(decoder=DepthUNet(channels=(4, 6, 8, 10, 12)))},
)


def save_depth_run(folder: Path, seed: int = 0, size: tuple[int, int] = (32, 64)) -> Path:
    """A run folder whose averaged and last networks differ; their disparity varies over an image."""
    card = ModelCard(network=TINY, size=size)
    for offset, file in enumerate(WEIGHTS.values()):
        torch.manual_seed(10 * seed + offset)
        network = TINY.build(pretrained=False)
        for name, weights in network.named_parameters():
            if name.startswith("heads") and name.endswith("weight"):
                torch.nn.init.normal_(weights, std=0.5)
        save_model(folder, card, network.state_dict(), file)
    return folder
