"""Making timm fit: imported late and beside a torchvision wheel built for another torch; its padding exportable."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


class SameConv2d(nn.Conv2d):
    """TensorFlow's "SAME" padding, as the `tf_` models were trained with: what is odd goes to the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """b x c x h x w -> b x d x ceil(h / stride) x ceil(w / stride)."""
        top, bottom = self._margins(x.shape[2], 0)
        left, right = self._margins(x.shape[3], 1)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _margins(self, length: Any, axis: int) -> tuple[Any, Any]:
        # Any: an int, or the symbol torch.export puts in its place for sizes left free.
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        # Without a comparison of lengths: torch.export would keep the outcome for the length it was shown.
        total = reach - 1 - (length - 1) % self.stride[axis]
        if reach < self.stride[axis]:
            total = torch.sym_max(total, 0)
        return total // 2, total - total // 2


def replace_same_padding(net: nn.Module) -> nn.Module:
    """Swap timm's layer for ours in place, weights kept: its float rounding defeats torch.export with free sizes."""
    theirs = load_timm().layers.Conv2dSame
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and type(child) is theirs:
                setattr(module, name, _ours(child))
    return net


def _ours(theirs: nn.Conv2d) -> SameConv2d:
    ours = SameConv2d(
        theirs.in_channels,
        theirs.out_channels,
        theirs.kernel_size,  # type: ignore[arg-type]
        theirs.stride,  # type: ignore[arg-type]
        dilation=theirs.dilation,  # type: ignore[arg-type]
        groups=theirs.groups,
        bias=theirs.bias is not None,
        device="meta",
    )
    ours.weight, ours.bias = theirs.weight, theirs.bias
    return ours
