"""Strong augmentation of whole batches on their device, with labels, confidence, validity and depth that follow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.augment.affine import Motion
from fathomseg.augment.base import Strong
from fathomseg.augment.colours import Blur, Colours, NoStrong
from fathomseg.augment.policies import AutoAugment, RandAugment

AnyStrong = Annotated[NoStrong | Colours | RandAugment | AutoAugment, Field(discriminator="name")]

__all__ = ["AnyStrong", "AutoAugment", "Blur", "Colours", "Motion", "NoStrong", "RandAugment", "Strong"]
