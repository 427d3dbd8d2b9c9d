"""Importing timm: late, and beside a torchvision wheel that was built for another kind of torch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import torch

_MISSING_OPS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# A Library takes its operators back when it is collected, so it must live as long as the process.
_declared: torch.library.Library | None = None


def load_timm() -> Any:
    """The module timm. It imports for two seconds, which whoever gives a wrong setting should not wait: no file imports
    it at its top."""
    ensure_timm_imports()
    return importlib.import_module("timm")


def ensure_timm_imports() -> None:
    """Make `import timm` work where torchvision cannot load its operators; call it before timm is first imported.

    torchvision's CUDA wheel does not load its operators beside a CPU torch, and then stops its own import with
    "operator torchvision::nms does not exist" although timm needs none of them. Declaring their schemas is enough.
    Does nothing where torchvision works or is not installed. Calling it again does nothing.
    """
    global _declared
    if _declared is not None or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        _declared = torch.library.Library("torchvision", "DEF")
        for schema in _MISSING_OPS:
            _declared.define(schema)
        _forget_half_imported()


def _forget_half_imported() -> None:
    """Drop the submodules the failed import left behind, so that the next import starts clean."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
