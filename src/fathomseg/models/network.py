"""The network: an encoder, a decoder, and named heads on the decoder's feature map. Pure PyTorch, exportable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.models.blocks import Norm
from fathomseg.models.decoders import AnyDecoder, Fpn
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.encoders import Encoder, FeatureEncoder
from fathomseg.models.norms import EncoderNetwork


class NetworkConfig(Part):
    """A segmentation network: which encoder, which decoder, and how their norms behave in training."""

    name: Literal["segmentation"] = "segmentation"
    encoder: Encoder = Encoder()
    """The timm model that turns the image into a pyramid of feature maps."""
    decoder: AnyDecoder = Fpn()
    """What turns the pyramid into the feature map that is classified."""
    norm: Norm = "batch"
    """batch: BatchNorm with batch statistics. frozen: BatchNorm whose statistics never move (tiny batches). group:
    GroupNorm in the decoder and fixed BatchNorm statistics in the encoder. Scales and offsets train in all three."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """The chance that a channel of the decoder's feature map is zeroed before it is classified, in training."""

    def build(self, classes: int, pretrained: bool = True) -> Network:
        """The network for `classes` classes; `pretrained=False` skips the encoder's weights (a saved file brings them).

        Raises `FathomError` if the encoder or its weights cannot be had, or it lacks a stride the decoder needs.
        """
        encoder = self.encoder.build(pretrained)
        decoder = self.decoder.build(encoder.pyramid, self.norm)
        head = SegmentationHead(decoder.channels, classes, self.dropout)
        return Network(encoder, decoder, {"segmentation": head}, self.norm)


class SegmentationHead(nn.Sequential):
    """Channel dropout (Tompson et al. 2015) and a 1x1 convolution to one logit per class."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        classifier = nn.Conv2d(channels, classes, 1)
        # Small weights start every class at nearly equal probability, so the first loss is log(classes).
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)  # type: ignore[arg-type]
        super().__init__(nn.Dropout2d(dropout), classifier)


class Network(EncoderNetwork):
    """encoder -> decoder -> one output per named head."""

    def __init__(
        self, encoder: FeatureEncoder, decoder: DecoderModule, heads: Mapping[str, nn.Module], norm: Norm = "batch"
    ) -> None:
        super().__init__(encoder, norm)
        self.decoder = decoder
        self.heads = nn.ModuleDict(heads)
        self.train(self.training)

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the outputs: outputs measure ceil(h / stride) x ceil(w / stride)."""
        return self.decoder.stride

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """Every head's output for RGB images 0..1, at the decoder's stride; "segmentation": logits, one map a class.

        Any height and width will do. Resizing to the image's size is left to the caller (bilinear,
        align_corners=False), since a loss, a metric and an export each want another size.
        """
        return self.classified(self.encoder(image))

    def classified(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """The same from the encoder's feature maps, for those who change them on the way."""
        feature = self.decoder(maps)
        return {name: head(feature) for name, head in self.heads.items()}
