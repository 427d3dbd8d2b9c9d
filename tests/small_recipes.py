"""Settings that make a recipe small and leave its structure as it is."""

from __future__ import annotations

from typing import Any

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
