"""A tiny run that trains in seconds: fake CamVid images and timm's smallest test encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import fakes

from fathomseg.config import validate
from fathomseg.stages.recipe import Recipe


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fake CamVid of 8 training and 3 validation images."""
    return fakes.make_camvid(tmp_path_factory.mktemp("camvid"), train=8, val=3, size=(48, 64))


@pytest.fixture(scope="session")
def settings(camvid: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a tiny run; keyword arguments replace whole sections."""

    def make(**sections: Any) -> dict[str, Any]:
        return {
            "data": {"name": "camvid", "root": str(camvid)},
            "size": [48, 64],
            "network": {
                "encoder": {"model": "test_efficientnet", "pretrained": "none"},
                "decoder": {"name": "fpn", "channels": 16},
                "norm": "frozen",
                "dropout": 0.0,
            },
            "optimiser": {"name": "sgd", "lr": 0.01, "warmup": 0},
            "train": {"steps": 6, "batch": 4, "log_every": 2, "save_every": 2, "device": "cpu", "threads": 1},
            "evaluation": {"report": False},
            **sections,
        }

    return make


@pytest.fixture(scope="session")
def recipe(settings: Callable[..., dict[str, Any]]) -> Callable[..., Recipe]:
    """The same as a validated recipe."""
    return lambda **sections: validate(Recipe, settings(**sections))
