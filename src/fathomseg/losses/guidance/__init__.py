"""Semantic guidance of depth: what classes say about depth, one file each. The union below is the table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.losses.guidance.contact import GroundContact
from fathomseg.losses.guidance.ranking import Ranking
from fathomseg.losses.guidance.sky import SkyIsFar
from fathomseg.losses.guidance.smoothness import SemanticSmoothness
from fathomseg.losses.guidance.triplet import Triplet

AnyGuidance = Annotated[Ranking | SemanticSmoothness | Triplet | SkyIsFar | GroundContact, Field(discriminator="name")]
"""Every guidance there is. A new one is listed here and nowhere else."""
