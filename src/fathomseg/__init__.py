"""Semantic segmentation from very few labelled images, by first learning depth from unlabelled video.

predictor = fathomseg.load("runs/mine")
prediction = predictor.predict(image)  # uint8 height x width x 3, RGB
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fathomseg.predictor import Predictor, load
    from fathomseg.types import Prediction

__all__ = ["Prediction", "Predictor", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import PyTorch only when the API is used, so that the command line answers --help at once."""
    if name in ("load", "Predictor"):
        from fathomseg import predictor

        return getattr(predictor, name)
    if name == "Prediction":
        from fathomseg.types import Prediction

        return Prediction
    raise AttributeError(f"module 'fathomseg' has no attribute {name!r}")
