"""The joint network: one encoder, a decoder for depth and one for classes, which tell each other what they see.

The network of Hoyer et al. 2021 (arXiv:2012.10782), section 3.3: two depth decoders, the second of which segments, with
the multi-modal distillation of PAD-Net between them at a quarter of the image's size.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, TypedDict, cast

from jaxtyping import Float
from pydantic import Field, ValidationError, model_validator
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map, Norm
from fathomseg.models.decoders import AnyDecoder
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.decoders.depth_unet import COARSEST, DepthUNet
from fathomseg.models.depth_network import DepthNetworkConfig
from fathomseg.models.disparity import DisparityHeads
from fathomseg.models.encoders import Encoder, FeatureEncoder
from fathomseg.models.network import SegmentationHead
from fathomseg.models.norms import EncoderNetwork
from fathomseg.models.pad import GatedMessage

Output = Literal["segmentation", "intermediate", "disparity"]

EXCHANGE: Final = 2
"""The decoders' level at which they exchange messages: 1/4 of the image's size."""

FROM_DEPTH: Final[Mapping[str, str]] = {
    "encoder": "encoder",
    "decoders.depth": "decoder",
    "decoders.segmentation": "decoder",
    "heads.disparity": "heads.disparity",
}
"""Parts of a joint network, and the part of a depth network each may start from (for `transfer`)."""

_TASK: Final[Mapping[Output, str]] = {
    "segmentation": "segmentation",
    "intermediate": "segmentation",
    "disparity": "depth",
}
_OTHER: Final[Mapping[str, str]] = {"segmentation": "depth", "depth": "segmentation"}


class JointOutputs(TypedDict, total=False):
    """What a joint network gives; only what was asked for is there."""

    segmentation: Float[Tensor, "b c _ _"]
    """Class logits at the decoders' stride."""
    intermediate: Float[Tensor, "b c _ _"]
    """Class logits at 1/4, from the segmentation features before depth's message is added."""
    disparity: list[Float[Tensor, "b 1 _ _"]]
    """0..1 (1 = nearest), finest first, each half the size of the one before."""


class JointNetworkConfig(Part):
    """A network for classes and disparity: which encoder, how the decoders climb, and whether they exchange messages.

    As published: ResNet-101 at output stride 16, `decoder.channels=(64, 128, 128, 256, 256)`, `decoder.aspp=(6, 12,
    18)`, `dropout=0`.
    """

    name: Literal["joint"] = "joint"
    encoder: Encoder = Encoder()
    """The timm model that turns the image into a pyramid of feature maps, shared by both tasks."""
    decoder: DepthUNet = DepthUNet()
    """The decoder for depth. Its `stride` is that of the finest disparity."""
    segmentation: AnyDecoder | None = None
    """The decoder for classes: depth_unet, or any that answers at 1/4. null: one like that for depth, as published,
    which can start from a depth run too."""
    norm: Norm = "batch"
    """batch, frozen or group, as in a segmentation network."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """The chance that a channel of the segmentation features is zeroed before they are classified, in training."""
    scales: int | None = Field(default=None, ge=1, le=COARSEST + 1)
    """Disparity maps, each half the size of the one before, beginning at decoder.stride. null: down to 1/8."""
    distillation: bool = True
    """Whether the decoders exchange messages at 1/4 (PAD). Without, they share the encoder alone."""
    intermediate: bool = True
    """Whether classes are also predicted at 1/4 before the exchange, for a loss that keeps those features semantic."""

    @model_validator(mode="after")
    def _enough_levels(self) -> JointNetworkConfig:
        try:
            self.depth  # noqa: B018  its own check has the words
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    @property
    def depth(self) -> DepthNetworkConfig:
        """The depth network inside this one, whose weights it can start from (see `FROM_DEPTH`)."""
        return DepthNetworkConfig(encoder=self.encoder, decoder=self.decoder, norm=self.norm, scales=self.scales)

    def build(self, classes: int, pretrained: bool = True) -> JointNetwork:
        """The network for `classes` classes; `pretrained=False` skips the encoder's weights (a saved file brings them).

        Raises `FathomError` if the encoder or its weights cannot be had, or it lacks a stride the decoders need.
        """
        encoder = self.encoder.build(pretrained)
        segmentation = (self.segmentation or self.decoder).build(encoder.pyramid, self.norm)
        depth = self.decoder.build(encoder.pyramid, self.norm)
        widths = {"segmentation": _width_at_exchange(segmentation), "depth": _width_at_exchange(depth)}
        heads = {
            "segmentation": SegmentationHead(segmentation.channels, classes, self.dropout),
            "disparity": DisparityHeads({level: depth.widths[level] for level in self.depth.levels}),
        }
        if self.intermediate:
            heads["intermediate"] = SegmentationHead(widths["segmentation"], classes, dropout=0.0)
        messages = {}
        if self.distillation:
            messages = {task: GatedMessage(widths[task], widths[other]) for task, other in _OTHER.items()}
        return JointNetwork(encoder, {"segmentation": segmentation, "depth": depth}, heads, messages, self.norm)


class JointNetwork(EncoderNetwork):
    """encoder -> both decoders down to 1/4 -> exchange -> both decoders to their finest level -> heads.

    The exchange, once and with gradients both ways: F_s' = F_s + SA_d(F_d), F_d' = F_d + SA_s(F_s). Disparities
    at 1/4 and coarser are read before the exchange; but the finest, at whatever stride, always after it.
    """

    def __init__(
        self,
        encoder: FeatureEncoder,
        decoders: Mapping[str, DecoderModule],
        heads: Mapping[str, nn.Module],
        messages: Mapping[str, GatedMessage],
        norm: Norm = "batch",
    ) -> None:
        """`decoders` by task, `messages` by the task that sends (none = no exchange), `heads` by output."""
        super().__init__(encoder, norm)
        self.decoders = nn.ModuleDict(decoders)
        self.messages = nn.ModuleDict(messages)
        self.heads = nn.ModuleDict(heads)
        self.train(self.training)

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the logits."""
        return self._decoder("segmentation").stride

    @property
    def from_depth(self) -> Mapping[str, str]:
        """`FROM_DEPTH` for this network: a decoder of another kind than a depth network's cannot start from it."""
        shared = type(self.decoders["segmentation"]) is type(self.decoders["depth"])
        return {to: origin for to, origin in FROM_DEPTH.items() if shared or to != "decoders.segmentation"}

    def depth_parameters(self) -> list[nn.Parameter]:
        """Those of the depth decoder and its heads."""
        return [*self.decoders["depth"].parameters(), *self.heads["disparity"].parameters()]

    def classifying(self) -> list[nn.Module]:
        """What runs when classes are asked for: with messages, the depth decoder down to the exchange as well."""
        depth = self._decoder("depth").parts_down_to(EXCHANGE) if self.messages else []
        heads = [head for output, head in self.heads.items() if output != "disparity"]
        return [self.encoder, self.decoders["segmentation"], *depth, *self.messages.values(), *heads]

    def forward(self, image: Float[Tensor, "b 3 h w"], outputs: Collection[Output] | None = None) -> JointOutputs:
        """`outputs` of RGB images 0..1 of any size; nothing that does not take part in them is computed.

        By default all there are in training, and segmentation and disparity otherwise. Resizing is left to the caller.
        """
        wanted = self._default() if outputs is None else outputs
        maps = self.encoder(image)
        coarse = {task: self._decoder(task).levels(maps, EXCHANGE) for task in self._taking_part(wanted)}
        found = JointOutputs()
        if "intermediate" in wanted:
            found["intermediate"] = self.heads["intermediate"](coarse["segmentation"][EXCHANGE])
        if "segmentation" in wanted:
            levels = self._finished("segmentation", coarse, maps)
            found["segmentation"] = self.heads["segmentation"](levels[self.stride.bit_length() - 1])
        if "disparity" in wanted:
            found["disparity"] = self.heads["disparity"](self._finished("depth", coarse, maps))
        return found

    def _default(self) -> Collection[Output]:
        with_intermediate = self.training and "intermediate" in self.heads
        return ("segmentation", "disparity", "intermediate") if with_intermediate else ("segmentation", "disparity")

    def _taking_part(self, wanted: Collection[Output]) -> Collection[str]:
        """The tasks whose decoders must run, at least down to the exchange."""
        if self.messages and ("segmentation" in wanted or "disparity" in wanted):
            return tuple(_OTHER)
        needed = {_TASK[output] for output in wanted}
        return [task for task in _OTHER if task in needed]  # always in the same order, for the sake of dropout

    def _finished(self, task: str, coarse: Mapping[str, Mapping[int, Map]], maps: Sequence[Map]) -> Mapping[int, Map]:
        """All levels of a task: the coarse ones as they are, and those that come after the exchange."""
        feature = coarse[task][EXCHANGE]
        if self.messages:
            feature = feature + self.messages[_OTHER[task]](coarse[_OTHER[task]][EXCHANGE])
        return {**coarse[task], **(self._decoder(task).levels_from(feature, EXCHANGE, maps) or {EXCHANGE: feature})}

    def _decoder(self, task: str) -> DecoderModule:
        return cast(DecoderModule, self.decoders[task])


def _width_at_exchange(decoder: DecoderModule) -> int:
    """The channels of a decoder's map at 1/4. Raises `FathomError` if it has no such map."""
    width = decoder.width_at(EXCHANGE)
    if width is None:
        raise FathomError(
            f"The decoders of a joint network meet at 1/{2**EXCHANGE} of the image's size, but network.segmentation "
            f"answers at 1/{decoder.stride}. Choose one that answers there (fpn, deeplabv3plus), depth_unet, or null."
        )
    return width


class Only(nn.Module):
    """A joint network that gives one of its outputs, and computes no more than that takes. Exportable."""

    def __init__(self, network: JointNetwork, output: Output) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> JointOutputs:
        """The output by its name, of RGB images 0..1."""
        outputs: JointOutputs = self.network(image, (self.output,))
        return outputs


def only(network: nn.Module, output: Output) -> nn.Module:
    """`network` giving no more than `output`, if it is one that gives several things; otherwise as it is."""
    return Only(network, output) if isinstance(network, JointNetwork) else network
