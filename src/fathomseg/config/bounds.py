"""Bounds of settings that pydantic has no type for. Its own are `PositiveInt`, `PositiveFloat`, `NonNegativeFloat`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Byte = Annotated[int, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]
"""0 = nothing, 1 = all: a probability, a share of pixels."""
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""What may be nothing and is never all."""
