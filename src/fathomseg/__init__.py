"""Semantic segmentation from very few labelled images, by first learning depth from unlabelled video.

predictor = fathomseg.load("runs/mine")
prediction = predictor.predict(image)  # path, PIL image, uint8 array -> label, confidence, disparity, depth
prediction.overlay(); prediction.save("seen")

run = fathomseg.train("recipe.yaml", data={"root": "mydata"})  # and check, select, evaluate, predict, export, distill
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fathomseg.version import __version__

if TYPE_CHECKING:
    from fathomseg.inference.align import align
    from fathomseg.inference.predictor import Predictor, load
    from fathomseg.selection.annotation import Imported
    from fathomseg.stages.api import (
        Chosen,
        Run,
        Scores,
        check,
        distill,
        evaluate,
        export,
        import_labels,
        predict,
        pretrain,
        select,
        train,
    )
    from fathomseg.stages.check_report import CheckReport
    from fathomseg.stages.distill import Distilled
    from fathomseg.stages.predict import Predicted
    from fathomseg.types import Prediction

__all__ = [
    "CheckReport",
    "Chosen",
    "Distilled",
    "Imported",
    "Predicted",
    "Prediction",
    "Predictor",
    "Run",
    "Scores",
    "__version__",
    "align",
    "check",
    "distill",
    "evaluate",
    "export",
    "import_labels",
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
    "CheckReport": "stages.check_report",
    "Distilled": "stages.distill",
    "Imported": "selection.annotation",
    "Predicted": "stages.predict",
    **dict.fromkeys(
        (
            *("Chosen", "Run", "Scores", "check", "distill", "evaluate", "export", "import_labels", "predict"),
            *("pretrain", "select", "train"),
        ),
        "stages.api",
    ),
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
