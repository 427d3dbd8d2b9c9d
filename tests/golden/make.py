"""Make supervised.json: the losses of a short supervised run, kept so that no change alters them unnoticed.

Run it only when a change is MEANT to alter what is learned, and say so in the commit: python -m tests.golden.make
"""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file

from fathomseg.config import validate
from fathomseg.stages.train import train_once
from fathomseg.training.recipe import Recipe
from tests import fakes

FILE = Path(__file__).with_name("supervised.json")
SIZE = (48, 64)


def curve(folder: Path) -> dict[str, Any]:
    """Ten steps with scaling, crops, flips, colour jitter, AdamW and EMA; `losses` are in full precision.

    `ema_distance` is the Euclidean distance of the averaged weights from the last ones. The normalisation is frozen:
    with batch statistics of maps this small, rounding grows to 2e-4 of the loss in ten steps, with frozen ones to 2e-7.
    """
    camvid = fakes.make_camvid(folder / "camvid", train=8, val=1, size=SIZE)
    settings = {
        "data": {"name": "camvid", "root": str(camvid)},
        "size": SIZE,
        "network": {
            "encoder": {"model": "test_efficientnet", "pretrained": "none"},
            "tasks": {"segmentation": {"decoder": {"name": "fpn", "channels": 16}, "dropout": 0.0}},
            "norm": "frozen",
        },
        "optimiser": {"lr": 5e-3, "warmup": 2},
        "train": {
            **{"steps": 10, "batch": 4, "log_every": 1, "save_every": 10, "ema_decay": 0.8},
            **{"device": "cpu", "threads": 1},
        },
        "evaluation": {"split": None, "report": False},
    }
    train_once(validate(Recipe, settings), folder / "run", resume=False)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    last, averaged = (load_file(folder / "run" / name) for name in ("last.safetensors", "model.safetensors"))
    weights = [name for name in last if name.endswith("weight")]
    distance = sum(float((last[name] - averaged[name]).double().square().sum()) for name in weights) ** 0.5
    return {"losses": [line["supervised.segmentation"] for line in lines], "ema_distance": distance}


def main() -> None:
    """Write the file, with what it was made on."""
    with tempfile.TemporaryDirectory() as folder:
        made = curve(Path(folder))
    origin = {"torch": torch.__version__, "numpy": numpy.__version__, "machine": platform.machine()}
    FILE.write_text(json.dumps({"made_with": origin, **made}, indent=2) + "\n")


if __name__ == "__main__":
    main()
