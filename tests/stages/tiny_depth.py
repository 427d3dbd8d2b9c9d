"""Settings of a tiny depth run that trains in a second, and the same with unknown cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from fathomseg.data.datasets.streets import Streets
from tests import fakes

SIZE = (48, 96)
STREETS: dict[str, Any] = {"name": "streets", "size": list(SIZE), "train_clips": 2, "val_clips": 1, "frames": 5}
LOOP: dict[str, Any] = {"steps": 6, "batch": 2, "log_every": 2, "save_every": 2, "device": "cpu", "threads": 1}


def settings(**sections: Any) -> dict[str, Any]:
    """A recipe for the generated city; keyword arguments replace whole sections.

    BatchNorm, Adam's moments, colour jitter, flips and the tie breaker are on: all of them have to survive an
    interruption.
    """
    encoder = {"model": "test_resnet", "pretrained": "none"}
    return {
        "data": STREETS,
        "size": list(SIZE),
        "network": {
            "encoder": encoder,
            "tasks": {"depth": {"decoder": {"channels": [4, 4, 8, 8, 8], "stride": 4}}},
        },
        "streams": clips(),
        "objectives": {"photometric": {"pose": {"encoder": encoder}}},
        "optimiser": {"lr": 1e-3, "warmup": 0},
        "train": LOOP,
        "evaluation": {"split": None, "report": False},
        **sections,
    }


def clips(**more: Any) -> dict[str, Any]:
    """Its one stream, whose frames the filter for motion chooses."""
    return {"clips": {"frames": {"name": "motion"}, **more}}


def drive(root: Path, clips: int = 2, frames: int = 5, suffix: str = ".png", held_out: str | None = None) -> Path:
    """Clips of the generated city as the user's own folder, without cameras."""
    streets = Streets(size=SIZE, train_clips=clips, frames=frames)
    for id in streets.ids("train"):
        _, clip, frame = id.split("/")
        path = root / "clips" / clip / f"{frame}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(streets.image(id)).save(path)
    fakes.write_yaml(root / "dataset.yaml", {"classes": ["a", "b"]})
    if held_out is not None:
        (root / "splits").mkdir()
        (root / "splits" / "val.txt").write_text(f"{held_out}\n")
    return root


def write(path: Path, **sections: Any) -> Path:
    """The recipe as a file."""
    path.write_text(yaml.safe_dump(settings(**sections)))
    return path
