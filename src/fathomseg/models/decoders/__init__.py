"""Decoders: each turns the feature pyramid of an encoder into one feature map."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.models.decoders.ddpm_unet import DdpmUNet
from fathomseg.models.decoders.deeplab import DeepLabV3, DeepLabV3Plus
from fathomseg.models.decoders.depth_unet import DepthUNet
from fathomseg.models.decoders.dpt import Dpt
from fathomseg.models.decoders.fpn import Fpn
from fathomseg.models.decoders.lw_refinenet import LwRefineNet
from fathomseg.models.decoders.smp import MAnet, SegFormer, UPerNet
from fathomseg.models.decoders.unet import UNet

AnyDecoder = Annotated[
    Fpn | DeepLabV3Plus | DeepLabV3 | UNet | DepthUNet | Dpt | LwRefineNet | DdpmUNet | SegFormer | UPerNet | MAnet,
    Field(discriminator="name"),
]
