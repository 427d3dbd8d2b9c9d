"""Strong augmentation of whole batches on their device, with labels, confidence, validity and depth that follow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.strong.affine import Motion
from fathomseg.strong.base import Strong
from fathomseg.strong.colours import Blur, Colours, NoStrong
from fathomseg.strong.policies import AutoAugment, RandAugment

AnyStrong = Annotated[NoStrong | Colours | RandAugment | AutoAugment, Field(discriminator="name")]

__all__ = ["AnyStrong", "AutoAugment", "Blur", "Colours", "Motion", "NoStrong", "RandAugment", "Strong"]
