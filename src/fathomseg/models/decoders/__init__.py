"""Decoders: each turns the feature pyramid of an encoder into one feature map."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.models.decoders.fpn import Fpn

AnyDecoder = Annotated[Fpn, Field()]

__all__ = ["AnyDecoder", "Fpn"]
