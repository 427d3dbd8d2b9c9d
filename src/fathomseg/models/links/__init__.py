"""Links between the branches of a network. The union below is the table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.models.links.base import NoLinks
from fathomseg.models.links.cross_stitch import CrossStitch
from fathomseg.models.links.modulation import Modulation
from fathomseg.models.links.nddr import Nddr
from fathomseg.models.links.one_by_one import PlainConv, ZeroConv
from fathomseg.models.links.padnet import PadNet

AnyLinks = Annotated[
    NoLinks | PadNet | ZeroConv | PlainConv | CrossStitch | Nddr | Modulation, Field(discriminator="name")
]
"""Every kind of link. A new one is listed here and nowhere else."""
