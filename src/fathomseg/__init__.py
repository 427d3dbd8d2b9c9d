"""Semantic segmentation from very few labelled images, by first learning depth from unlabelled video.

predictor = fathomseg.load("runs/mine")
prediction = predictor.predict(image)  # path, PIL image, uint8 array -> label, confidence, disparity, depth
prediction.overlay(); prediction.save("seen")

run = fathomseg.train("recipe.yaml", data={"root": "mydata"})  # and pretrain, select, evaluate, predict, export
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fathomseg.version import __version__

if TYPE_CHECKING:
    from fathomseg.inference.align import align
    from fathomseg.inference.predictor import Predictor, load
    from fathomseg.stages.api import distill, evaluate, export, predict, pretrain, select, train
    from fathomseg.types import Prediction

__all__ = [
    "Prediction",
    "Predictor",
    "__version__",
    "align",
    "distill",
    "evaluate",
    "export",
    "load",
    "predict",
    "pretrain",
    "select",
    "train",
]

_HOMES = {
    "align": "inference.align",
    "load": "inference.predictor",
    "Predictor": "inference.predictor",
    "Prediction": "types",
    **dict.fromkeys(("distill", "evaluate", "export", "predict", "pretrain", "select", "train"), "stages.api"),
}
"""The module each public name lives in."""


def __dir__() -> list[str]:
    """The public names."""
    return __all__


def __getattr__(name: str) -> Any:
    """Import PyTorch only when the API is used, so that the command line answers --help at once."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"fathomseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fathomseg' has no attribute {name!r}")
