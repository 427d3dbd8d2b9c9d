"""Mixing two images into one training image: each rule is one file and makes only a mask."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.mixing.base import Mixing, NoMix, mix, mix_pairs
from fathomseg.mixing.classmix import ClassMix
from fathomseg.mixing.combined import AllOf, OneOf
from fathomseg.mixing.cutmix import CutMix
from fathomseg.mixing.depthmix import DepthMix, unit_disparity
from fathomseg.mixing.draws import partner_shift, subkeys
from fathomseg.mixing.pixels import Pixels, composite

AnyMixing = Annotated[NoMix | CutMix | ClassMix | DepthMix | AllOf | OneOf, Field(discriminator="name")]

__all__ = [
    "AllOf",
    "AnyMixing",
    "ClassMix",
    "CutMix",
    "DepthMix",
    "Mixing",
    "NoMix",
    "OneOf",
    "Pixels",
    "composite",
    "mix",
    "mix_pairs",
    "partner_shift",
    "subkeys",
    "unit_disparity",
]
