"""A depth run folder as `fathom pretrain` leaves it, with random networks."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from fathomseg.inference.card import POSE, WEIGHTS, ModelCard, save_model
from fathomseg.models.decoders import DepthUNet
from fathomseg.models.encoders import Encoder
from fathomseg.models.pose import PoseConfig
from fathomseg.tasks import Depth
from fathomseg.tasks.network import NetworkConfig

ENCODER = Encoder(model="test_efficientnet", pretrained="none")
RANGE = (0.5, 50.0)
NETWORK = NetworkConfig(
    encoder=ENCODER, tasks={"depth": Depth(decoder=DepthUNet(stride=4), min_depth=RANGE[0], max_depth=RANGE[1])}
)


def save_depth_run(
    folder: Path, data: dict[str, object], size: tuple[int, int] = (32, 64), pose: bool = True, seed: int = 0
) -> Path:
    """The averaged and the last weights differ; the motions are large enough to be told apart."""
    motion = PoseConfig(encoder=ENCODER) if pose else None
    card = ModelCard(network=NETWORK, size=size, pose=motion)
    for number, file in enumerate(WEIGHTS.values()):
        torch.manual_seed(seed + number)
        network = NETWORK.build(pretrained=False)
        for head in network.heads["depth"].scales.values():
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
