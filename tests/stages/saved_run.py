"""A run folder as training leaves it, with tiny random networks of any tasks, made without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from fathomseg.inference.card import POSE, WEIGHTS, ModelCard
from fathomseg.models.decoders import DepthUNet
from fathomseg.models.encoders import Encoder
from fathomseg.models.links import AnyLinks, NoLinks
from fathomseg.models.network import Network
from fathomseg.models.pose import PoseConfig
from fathomseg.tasks import Depth, Segmentation, SourceDepth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import ClassList
from tests.saved_model import save_model

ENCODER = Encoder(model="test_efficientnet", pretrained="none")
RANGE = (0.5, 50.0)
TASKS = {
    "segmentation": Segmentation(),
    "depth": Depth(decoder=DepthUNet(stride=4), min_depth=RANGE[0], max_depth=RANGE[1]),
}
AUXILIARY = {"source_depth": SourceDepth(decoder="shared", min_depth=RANGE[0], max_depth=RANGE[1])}


def network_of(tasks: Sequence[str], links: AnyLinks | None = None) -> NetworkConfig:
    """Settings of a tiny network with these tasks."""
    known = {**TASKS, **AUXILIARY}
    return NetworkConfig(encoder=ENCODER, tasks={name: known[name] for name in tasks}, links=links or NoLinks())


def build(config: NetworkConfig, classes: int, seed: int) -> Network:
    """A random network whose predictions vary over an image."""
    torch.manual_seed(seed)
    network = config.build(classes=classes, pretrained=False)
    for name, weights in network.heads.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(weights, std=1.0 if name.startswith("segmentation") else 0.5)
    return network.eval()


def save_run(
    folder: Path,
    classes: ClassList | None,
    data: dict[str, object],
    size: tuple[int, int] = (24, 32),
    tasks: Sequence[str] = ("segmentation",),
    links: AnyLinks | None = None,
    pose: bool = False,
    seed: int = 0,
) -> Path:
    """Random networks (the averaged and the last one differ) and the configuration that names their data.

    `classes` are those of segmentation, None without it. With `pose` there is a network of motions, large enough to be
    told apart.
    """
    config, motion = network_of(tasks, links), PoseConfig(encoder=ENCODER) if pose else None
    names = {} if classes is None else {"classes": classes.names, "colours": classes.colours}
    card = ModelCard(network=config, size=size, pose=motion, **names)
    for number, file in enumerate(WEIGHTS.values()):
        save_model(folder, card, build(config, len(card.classes), seed + number).state_dict(), file)
    if motion is not None:
        torch.manual_seed(seed + 7)
        network = motion.build(pretrained=False)
        nn.init.normal_(network.motion.weight, std=1.0)
        nn.init.normal_(network.motion.bias, std=5.0)
        save_file(network.state_dict(), folder / POSE)
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data, "size": list(size)}))
    return folder


def save_depth_run(
    folder: Path, data: dict[str, object], size: tuple[int, int] = (32, 64), pose: bool = True, seed: int = 0
) -> Path:
    """A run of depth alone, as `fathom pretrain` leaves it."""
    return save_run(folder, None, data, size, tasks=("depth",), pose=pose, seed=seed)
