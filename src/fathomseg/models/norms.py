"""How the norms of a network behave in training."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fathomseg.models.blocks import Norm


class NormedModule(nn.Module):
    """A network whose BatchNorms keep their statistics in training, unless `norm` is "batch"."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.norm = norm

    def train(self, mode: bool = True) -> NormedModule:
        """Training or evaluation mode; BatchNorms of fixed statistics stay in evaluation mode either way."""
        super().train(mode)
        if self.norm != "batch":
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
