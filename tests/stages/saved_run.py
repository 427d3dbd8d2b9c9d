"""A run folder as training leaves it, with networks that know some of the answers, made without training."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from torch import nn

from fathomseg.inference.card import WEIGHTS, ModelCard, save_model
from fathomseg.models.encoders import Encoder
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import ClassList

SMALL = NetworkConfig(encoder=Encoder(model="test_efficientnet", pretrained="none"))


def save_run(folder: Path, classes: ClassList, data: dict[str, object], size: tuple[int, int] = (24, 32)) -> Path:
    """Random networks (the averaged and the last one differ) and the configuration that names their data."""
    card = ModelCard(network=SMALL, classes=classes.names, colours=classes.colours, size=size)
    for seed, file in enumerate(WEIGHTS.values()):
        torch.manual_seed(seed)
        network = SMALL.build(classes=len(classes), pretrained=False)
        nn.init.normal_(network.heads["segmentation"][1].weight)
        save_model(folder, card, network.state_dict(), file)
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data, "size": list(size)}))
    return folder
