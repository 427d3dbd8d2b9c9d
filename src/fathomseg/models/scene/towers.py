"""Towers of the scene model: from one picture to one vector of features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.models.compat import load_timm
from fathomseg.types import Size


class TowerConfig(Part, ABC):
    """The settings of a tower."""

    name: str

    @abstractmethod
    def build(self, pretrained: bool) -> Tower:
        """The tower; `pretrained=False` skips weights it would fetch (a saved file brings them)."""


class Vit(TowerConfig):
    """A small plain vision transformer (Dosovitskiy et al. 2021) from random weights, its tokens averaged at the end.

    0.8 M parameters as it is; a ViT-Tiny has width 192, depth 12, heads 3.
    """

    name: Literal["vit"] = "vit"
    size: tuple[PositiveInt, PositiveInt] = (64, 128)
    """(height, width) in pixels to which maps are resized, whatever their shape."""
    patch: PositiveInt = 8
    """Pixels along a side of a patch."""
    width: PositiveInt = 128
    """Channels of a token."""
    depth: PositiveInt = 4
    """Blocks."""
    heads: PositiveInt = 4
    """Attention heads of a block."""

    @model_validator(mode="after")
    def _divides(self) -> Vit:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.size[0] % self.patch or self.size[1] % self.patch:
            raise ValueError(f"size {list(self.size)} must be a multiple of patch {self.patch}")
        return self

    def build(self, pretrained: bool) -> Tower:
        """Random weights in any case."""
        net = load_timm().models.VisionTransformer(
            img_size=self.size,
            patch_size=self.patch,
            num_classes=0,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            class_token=False,
            global_pool="avg",
        )
        return Tower(net, self.size, self.width, (0.5,) * 3, (0.5,) * 3)


class TimmTower(TowerConfig):
    """Any timm model by name; by default the vision tower of CLIP ViT-L/14 (Radford et al. 2021), 304 M parameters.

    CLIP's own projection is left out, since the scene model has one.
    """

    name: Literal["timm"] = "timm"
    model: str = "vit_large_patch14_clip_224.openai"
    """The model; its features are pooled as timm pools them for it."""
    pretrained: bool = True
    """Begin with its weights from the Hugging Face hub; false = random weights."""

    def build(self, pretrained: bool) -> Tower:
        """At the size and with the normalisation of the model. Raises `FathomError` if it cannot be had."""
        timm = load_timm()
        if not timm.is_model(self.model):
            raise FathomError(
                f"timm {timm.__version__} has no model named {self.model!r}; `timm.list_models()` lists all."
            )
        fetched = pretrained and self.pretrained
        try:
            net = timm.create_model(self.model, pretrained=fetched, num_classes=0)
        except Exception as error:  # the hub's client raises many unrelated types
            if not fetched:
                raise
            raise FathomError(
                f"The weights of {self.model!r} could not be fetched from the Hugging Face hub ({error}). Check your "
                "connection, or start from random weights: tower.pretrained=false, or tower.name=vit."
            ) from error
        found = timm.data.resolve_model_data_config(net)
        return Tower(net, tuple(found["input_size"][1:]), int(net.num_features), found["mean"], found["std"])


class Tower(nn.Module):
    """Resizes a picture 0..1, normalises it, and returns one vector."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: Any, size: Size, width: int, mean: Sequence[float], std: Sequence[float]) -> None:
        """`net` maps pictures of `size` to `width` numbers."""
        super().__init__()
        self.net, self.size, self.width = net, size, width
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Shrinking averages over the pixels (antialias), so that thin objects do not come and go."""
        if picture.shape[2:] != self.size:
            picture = F.interpolate(picture, self.size, mode="bilinear", align_corners=False, antialias=True)
        features: Tensor = self.net((picture - self.mean) / self.std)
        return features
