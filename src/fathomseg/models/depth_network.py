"""The depth network: an encoder, the depth decoder, and disparity of several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.models.blocks import Norm
from fathomseg.models.decoders.depth_unet import COARSEST, DepthUNet, DepthUNetDecoder
from fathomseg.models.disparity import DisparityHeads
from fathomseg.models.encoders import Encoder, FeatureEncoder
from fathomseg.models.norms import EncoderNetwork

_COARSEST_SCALE: Final = 3
"""Level of the coarsest disparity if nothing is said: 1/8 of the image, as in the papers."""


class DepthNetworkConfig(Part):
    """A network for disparity: which encoder, how the decoder climbs, and how many scales are predicted."""

    name: Literal["depth"] = "depth"
    encoder: Encoder = Encoder()
    """The timm model that turns the image into a pyramid of feature maps."""
    decoder: DepthUNet = DepthUNet()
    """Its `stride` is that of the finest disparity: 1 is the papers', 4 the cheapest."""
    norm: Norm = "batch"
    """batch, frozen or group, as in a segmentation network."""
    scales: int | None = Field(default=None, ge=1, le=COARSEST + 1)
    """Disparity maps, each half the size of the one before, beginning at decoder.stride. null: down to 1/8."""

    start: float = Field(default=0.2, gt=0, lt=1)
    """The disparity everywhere before training. The scale of depth stays near where it begins, and disparity ends at 1:
    from 0.2, nothing can come much nearer than a fifth of the usual distance. Lower leaves room, but is learned late
    unless motions are aligned (`learner.align`), which finds the translations of any scale at once."""

    @model_validator(mode="after")
    def _enough_levels(self) -> DepthNetworkConfig:
        if self.levels[-1] > COARSEST:
            raise ValueError(
                f"{self.scales} scales from decoder.stride={self.decoder.stride} on would end at "
                f"1/{2 ** self.levels[-1]} of the image's size, but the decoder begins at 1/{2**COARSEST}. Give scales "
                f"of at most {COARSEST + 1 - self.levels[0]}, or null"
            )
        return self

    @property
    def levels(self) -> range:
        """The decoder's levels that get a disparity head, finest first; level i is 1/2^i of the image."""
        finest = self.decoder.stride.bit_length() - 1
        return range(finest, _COARSEST_SCALE + 1 if self.scales is None else finest + self.scales)

    def build(self, pretrained: bool = True) -> DepthNetwork:
        """The network; `pretrained=False` skips the encoder's weights (a saved file brings them).

        Raises `FathomError` if the encoder or its weights cannot be had, or it lacks a stride the decoder needs.
        """
        encoder = self.encoder.build(pretrained)
        decoder = self.decoder.build(encoder.pyramid, self.norm)
        heads = DisparityHeads({level: decoder.widths[level] for level in self.levels}, self.start)
        return DepthNetwork(encoder, decoder, heads, self.norm)


class DepthNetwork(EncoderNetwork):
    """encoder -> decoder -> disparity. Encoder and decoder bear the same names as in a segmentation `Network`."""

    def __init__(
        self, encoder: FeatureEncoder, decoder: DepthUNetDecoder, disparity: DisparityHeads, norm: Norm = "batch"
    ) -> None:
        super().__init__(encoder, norm)
        self.decoder = decoder
        self.heads = nn.ModuleDict({"disparity": disparity})
        self.train(self.training)

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the finest disparity."""
        return self.decoder.stride

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, list[Float[Tensor, "b 1 _ _"]]]:
        """ "disparity" of RGB images 0..1: maps of values 0..1 (1 = nearest), finest first, each half the one before.

        Any height and width will do; a map at stride s measures ceil(h / s) x ceil(w / s). Resizing is left to the
        caller.
        """
        return {"disparity": self.disparities(self.encoder(image))}

    def disparities(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b 1 _ _"]]:
        """The same from the encoder's feature maps, for those who need these maps as well."""
        disparities: list[Tensor] = self.heads["disparity"](self.decoder.levels(maps))
        return disparities
