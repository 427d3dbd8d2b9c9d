"""Tiny scene models and batches whose samples have a place in the generated city."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fathomseg.config import validate
from fathomseg.data.datasets.streets import Streets
from fathomseg.inference.card import ModelCard, save_card
from fathomseg.models.saved import save_weights
from fathomseg.models.scene.model import SceneEncoder
from fathomseg.models.scene.saved import SCENE, SceneCard
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch, ClassList
from tests.objectives.steps import CLASSES

TOWER = {"name": "vit", "size": [16, 24], "width": 8, "depth": 1, "heads": 2}
ENCODER = {"tower": TOWER, "embedding": 6}
NO_NETWORK: dict[str, Any] = {"encoder": {"model": "test_resnet", "pretrained": "none"}, "tasks": {}}
LIST = ClassList(tuple("abcd"), tuple((60 * i, 255 - 60 * i, 100) for i in range(CLASSES)))
CITY = Streets(train_clips=8, frames=8)
IDS = tuple(CITY.ids("train"))
KNOWN: dict[str, Any] = {"classes": LIST, "samples": {"labelled": (CITY, IDS)}}


def at(batch: Batch, ids: Sequence[str]) -> Batch:
    """The batch, as if it showed these samples."""
    return replace(batch, ids=tuple(ids))


def frame(clip: int, number: int) -> str:
    """The id of a frame of the city."""
    return f"train/{clip:04d}/{number:06d}"


def save_scene_run(folder: Path, classes: ClassList = LIST, encoder: dict[str, Any] | None = None) -> Path:
    """A run that has trained nothing but a scene model, of random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    config = validate(SceneEncoder, encoder or ENCODER)
    card = SceneCard(encoder=config, classes=classes.names, colours=classes.colours, apart=3)
    save_weights(folder / SCENE, config.build().state_dict())
    save_card(folder, ModelCard(network=validate(NetworkConfig, NO_NETWORK), size=(16, 24), scene=card))
    return folder
