"""Encoders: each turns an image into a pyramid of feature maps. Without a name it is a timm model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Tag

from fathomseg.config import by_name
from fathomseg.models.encoders.base import FeatureEncoder, Pyramid
from fathomseg.models.encoders.ddpm import DdpmEncoder
from fathomseg.models.encoders.timm import Encoder

AnyEncoder = Annotated[Annotated[Encoder, Tag("timm")] | Annotated[DdpmEncoder, Tag("ddpm")], by_name("timm")]
"""Every encoder there is; the name of its model or architecture chooses."""

__all__ = ["AnyEncoder", "DdpmEncoder", "Encoder", "FeatureEncoder", "Pyramid"]
