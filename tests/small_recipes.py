"""Settings that make a recipe small and leave its structure as it is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fathomseg.data.datasets import camvid
from tests.command import fathom
from tests.distillation.teachers import make_run

SMALL = ["train.batch=2", "train.device=cpu", "train.threads=1", "size=[48,64]"]
ENCODER = ["network.encoder.model=test_efficientnet", "network.encoder.pretrained=none"]
TRANSFORMER = ["network.encoder.model=test_vit", "network.encoder.pretrained=none"]
STREETS = ["data.size=[48,64]", "data.train_clips=1", "data.val_clips=1", "data.frames=4"]


def pose(tree: dict[str, Any]) -> list[str]:
    """The settings of a small pose network, where that of the recipe is not small already."""
    if "encoder" not in tree["objectives"].get("photometric", {}).get("pose", {}):
        return []
    return [f"objectives.photometric.pose.encoder.{word}" for word in ("model=test_efficientnet", "pretrained=none")]


def views(tree: dict[str, Any]) -> list[str]:
    """The settings of small crops, clips and windows, where the recipe has some; every frame of a clip is used.

    The fakes' frames slide by, which is how a turn of the camera looks: the filter for motion would drop them.
    """
    streams = tree["streams"]
    having = [name for name, stream in streams.items() if "crop" in stream.get("geometry", {})]
    settings = [f"streams.{name}.geometry.crop=[32,48]" for name in having]
    if (clips := streams.get("clips")) is not None:
        settings += ["streams.clips.size=[32,64]"] if "size" in clips else []
        still = clips.get("frames", {}).get("name") == "motion"
        settings += ["streams.clips.frames.min_parallax=0"] if still else []
    if "inference" in tree.get("evaluation", {}):
        settings.append("evaluation.inference.window.size=[32,48]")
    return settings


def is_transformer(tree: dict[str, Any]) -> bool:
    """Whether the encoder is a vision transformer, which no wheel has weights of."""
    return str(tree.get("network", {}).get("encoder", {}).get("model", "")).startswith("vit")


def distilled(path: Path, data: Path, folder: Path) -> Path:
    """What the command in the header of a recipe makes, below `folder`, of fake `data` and of a random teacher of
    CamVid's classes."""
    line = next(line for line in path.read_text().splitlines() if "fathom distill " in line)
    teacher, out = make_run(folder / "teacher", camvid.CLASSES.names), folder / "distilled"
    ours = {"runs/": str(teacher), "root=": f"root={data}", "distilled/": str(out)}
    words = [
        next((ours.pop(start) for start in list(ours) if word.startswith(start)), word)
        for word in shlex.split(line.lstrip("# "))[1:]
    ]
    assert not ours, "the header names them"
    fathom(*words)
    return out
