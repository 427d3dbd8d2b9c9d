"""What turns feature maps into depth: a head for each level of the decoder, and one for an early output."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.models.blocks import Map
from fathomseg.models.convex import ConvexUpsample
from fathomseg.models.decoders.depth_unet import ReflectConv2d
from fathomseg.models.heads import separable
from fathomseg.models.norms import in_own_precision
from fathomseg.tasks.base import HeadKind


class DepthHeads(nn.Module):
    """A head for each level of a decoder that has one."""

    def __init__(self, heads: Mapping[int, DepthHead], finer: ConvexUpsample | None = None) -> None:
        super().__init__()
        self.scales = nn.ModuleDict({str(level): head for level, head in sorted(heads.items())})
        self.finer = finer

    def forward(self, levels: Mapping[int, Map]) -> list[Float[Tensor, "b 1 _ _"]]:
        """What the heads give, finest first, each at the size of its level; the finest made finer yet by `finer`."""
        found = [head(levels[int(level)]) for level, head in self.scales.items()]
        if self.finer is not None:
            found[0] = self.finer(levels[int(next(iter(self.scales)))], found[0])
        return found


class DepthHead(nn.Module):
    """A feature map -> one number per pixel: one reflection-padded 3x3 convolution, or a separable head."""

    def __init__(self, width: int, start: float, kind: HeadKind = "plain") -> None:
        """`start`: the number everywhere before training."""
        super().__init__()
        self.mix = separable(width) if kind == "separable" else nn.Identity()
        self.conv = nn.Conv2d(width, 1, 3, padding=1) if kind == "separable" else ReflectConv2d(width, 1)
        # Small weights start every pixel near the same depth, whatever the scale of the features.
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.constant_(self.conv.bias, start)  # type: ignore[arg-type]

    def forward(self, x: Map) -> Float[Tensor, "b 1 _ _"]:
        """In full precision under autocast too: a logit of -5 in bfloat16 is a depth to within two percent."""
        return in_own_precision(self.conv, self.mix(x))


class DisparityHead(DepthHead):
    """A feature map -> disparity 0..1 (1 = nearest) of the same size (Godard et al. 2019, supplement, table 5)."""

    def __init__(self, width: int, start: float = 0.2, kind: HeadKind = "plain") -> None:
        """`start`: the disparity everywhere before training."""
        super().__init__(width, math.log(start / (1 - start)), kind)

    def forward(self, x: Map) -> Float[Tensor, "b 1 _ _"]:
        """Disparity 0..1."""
        return super().forward(x).sigmoid()


class EarlyDepthHead(nn.Module):
    """A feature map -> what `DepthHeads` gives, of one scale."""

    def __init__(self, head: DepthHead) -> None:
        super().__init__()
        self.disparity = head

    def forward(self, x: Map) -> list[Float[Tensor, "b 1 _ _"]]:
        """Of the same size."""
        return [self.disparity(x)]
