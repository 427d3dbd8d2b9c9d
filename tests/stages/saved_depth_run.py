"""A depth run folder as `fathom pretrain` leaves it, with random networks."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from fathomseg.models.decoders.depth_unet import DepthUNet
from fathomseg.models.depth_network import DepthNetworkConfig
from fathomseg.models.encoders import Encoder
from fathomseg.models.pose import PoseConfig
from fathomseg.inference.card import POSE, WEIGHTS, ModelCard, save_model

ENCODER = Encoder(model="test_efficientnet", pretrained="none")
NETWORK = DepthNetworkConfig(encoder=ENCODER, decoder=DepthUNet(stride=4))
RANGE = (0.5, 50.0)


def save_depth_run(
    folder: Path, data: dict[str, object], size: tuple[int, int] = (32, 64), pose: bool = True, seed: int = 0
) -> Path:
    """The averaged and the last weights differ; the motions are large enough to be told apart."""
    motion = PoseConfig(encoder=ENCODER) if pose else None
    card = ModelCard(network=NETWORK, size=size, depth_range=RANGE, pose=motion)
    for number, file in enumerate(WEIGHTS.values()):
        torch.manual_seed(seed + number)
        network = NETWORK.build(pretrained=False)
        for head in network.heads["disparity"].scales.values():
            nn.init.normal_(head.conv.weight, std=0.5)
        save_model(folder, card, network.state_dict(), file)
    if motion is not None:
        torch.manual_seed(seed + 7)
        network = motion.build(pretrained=False)
        nn.init.normal_(network.motion.weight, std=1.0)
        nn.init.normal_(network.motion.bias, std=5.0)
        save_file(network.state_dict(), folder / POSE)
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data, "size": list(size)}))
    return folder
