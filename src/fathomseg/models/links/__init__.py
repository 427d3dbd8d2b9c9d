"""Links between the branches of a network. The union below is the table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.models.links.base import NoLinks
from fathomseg.models.links.padnet import PadNet

AnyLinks = Annotated[NoLinks | PadNet, Field(discriminator="name")]
"""Every kind of link. A new one is listed here and nowhere else."""
