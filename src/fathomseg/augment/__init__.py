"""Strong augmentation of whole batches on their device, with labels, weight, validity and depth that follow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.augment.affine import Motion
from fathomseg.augment.base import Augmentation
from fathomseg.augment.channel_dropout import complementary
from fathomseg.augment.colours import Blur, Colours, NoAugmentation
from fathomseg.augment.masking import Masking
from fathomseg.augment.policies import AutoAugment, RandAugment

AnyAugmentation = Annotated[NoAugmentation | Colours | RandAugment | AutoAugment, Field(discriminator="name")]

__all__ = [
    "AnyAugmentation",
    "Augmentation",
    "AutoAugment",
    "Blur",
    "Colours",
    "Masking",
    "Motion",
    "NoAugmentation",
    "RandAugment",
    "complementary",
]
