"""A run folder of several tasks as training leaves it, with random networks, made without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from fathomseg.data.datasets.base import Dataset
from fathomseg.inference.card import POSE, WEIGHTS, ModelCard
from fathomseg.models.decoders import DepthUNet
from fathomseg.models.encoders import Encoder
from fathomseg.models.links import PadNet
from fathomseg.models.network import Network
from fathomseg.models.pose import PoseConfig
from fathomseg.models.saved import save_weights
from fathomseg.tasks import Depth, Segmentation
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Size
from tests.saved_model import save_model

ENCODER = Encoder(model="test_efficientnet", pretrained="none")
RANGE = (0.5, 50.0)
TASKS = {
    "segmentation": Segmentation(),
    "depth": Depth(decoder=DepthUNet(stride=4), min_depth=RANGE[0], max_depth=RANGE[1]),
}
BOTH = ("segmentation", "depth")


def config_of(tasks: Sequence[str]) -> NetworkConfig:
    """A small network of these tasks, with links if there are several."""
    links = {"links": PadNet()} if len(tasks) > 1 else {}
    return NetworkConfig(encoder=ENCODER, tasks={name: TASKS[name] for name in tasks}, **links)


def network_of(tasks: Sequence[str], classes: int = 0, seed: int = 0) -> Network:
    """Random, with outputs that differ from pixel to pixel."""
    torch.manual_seed(seed)
    network = config_of(tasks).build(classes, pretrained=False)
    for name, weight in network.heads.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(weight, std=1.0 if name.startswith("segmentation") else 0.5)
    return network


def card_of(tasks: Sequence[str], dataset: Dataset, size: Size, pose: bool) -> ModelCard:
    """What lies beside the weights."""
    segments = "segmentation" in tasks
    return ModelCard(
        network=config_of(tasks),
        classes=dataset.classes.names if segments else (),
        colours=dataset.classes.colours if segments else (),
        size=size,
        pose=PoseConfig(encoder=ENCODER) if pose else None,
    )


def save_joint_run(
    folder: Path,
    dataset: Dataset,
    tasks: Sequence[str] = BOTH,
    size: Size = (32, 64),
    pose: bool = True,
    seed: int = 0,
) -> Path:
    """The averaged and the last weights differ; the motions are large enough to be told apart."""
    card = card_of(tasks, dataset, size, pose)
    for number, file in enumerate(WEIGHTS.values()):
        save_model(folder, card, network_of(tasks, len(card.classes), seed + number).state_dict(), file)
    if card.pose is not None:
        torch.manual_seed(seed + 7)
        motion: Any = card.pose.build(pretrained=False)
        nn.init.normal_(motion.motion.weight, std=1.0)
        nn.init.normal_(motion.motion.bias, std=5.0)
        save_weights(folder / POSE, motion.state_dict())
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": dataset.model_dump(mode="json"), "size": list(size)}))
    return folder
