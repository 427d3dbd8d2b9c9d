"""Semantic segmentation from very few labelled images, by first learning depth from unlabelled video.

predictor = fathomseg.load("runs/mine")
prediction = predictor.predict(image)  # uint8 height x width x 3, RGB -> label, confidence

predictor = fathomseg.load_depth("runs/depth")
prediction = predictor.predict(image)  # -> disparity 0..1, depth
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fathomseg.version import __version__

if TYPE_CHECKING:
    from fathomseg.inference.depth_predictor import DepthPredictor, load_depth
    from fathomseg.inference.predictor import Predictor, load
    from fathomseg.types import DepthPrediction, Prediction

__all__ = ["DepthPrediction", "DepthPredictor", "Prediction", "Predictor", "__version__", "load", "load_depth"]

_HOMES = {
    "load": "inference.predictor",
    "Predictor": "inference.predictor",
    "load_depth": "inference.depth_predictor",
    "DepthPredictor": "inference.depth_predictor",
    "Prediction": "types",
    "DepthPrediction": "types",
}
"""The module each public name lives in."""


def __getattr__(name: str) -> Any:
    """Import PyTorch only when the API is used, so that the command line answers --help at once."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"fathomseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fathomseg' has no attribute {name!r}")
