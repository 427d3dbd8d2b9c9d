"""The table of encoders; one without a name is a timm model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Tag

from fathomseg.config import by_name
from fathomseg.models.ddpm_encoder import DdpmEncoder
from fathomseg.models.encoders import Encoder

AnyEncoder = Annotated[Annotated[Encoder, Tag("timm")] | Annotated[DdpmEncoder, Tag("ddpm")], by_name("timm")]
