"""Settings of a tiny run that trains in seconds: fake CamVid images and timm's smallest test encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIZE = (48, 64)


def settings(camvid: Path, **sections: Any) -> dict[str, Any]:
    """A recipe for the images in `camvid`; keyword arguments replace whole sections."""
    return {
        "data": {"name": "camvid", "root": str(camvid)},
        "size": list(SIZE),
        "network": {
            "encoder": {"model": "test_efficientnet", "pretrained": "none"},
            "tasks": {"segmentation": {"decoder": {"name": "fpn", "channels": 16}, "dropout": 0.0}},
            "norm": "frozen",
        },
        "optimiser": {"name": "sgd", "lr": 0.01, "warmup": 0},
        "train": {"steps": 6, "batch": 4, "log_every": 2, "save_every": 2, "device": "cpu", "threads": 1},
        "evaluation": {"report": False},
        **sections,
    }
