"""A segmentation network that looks at one pixel at a time, so that what it answers can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fathomseg.models.network import Network


class Pointwise(Network):
    """Logits are a linear function of the pixel's colour. It takes the place of a `Network` in a learner."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        nn.Module.__init__(self)
        self.norm = "batch"
        torch.manual_seed(seed)
        self.encoder = nn.Identity()  # type: ignore[assignment]
        self.heads = nn.ModuleDict({"segmentation": nn.Conv2d(3, classes, 1)})
        nn.init.normal_(self.heads["segmentation"].weight, std=4.0)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits of every pixel."""
        return {"segmentation": self.heads["segmentation"](image)}
