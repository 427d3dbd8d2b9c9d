"""What images are compared by: the maps of a network, pooled to a few cells."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16, Float32, UInt8
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.data.datasets.files import Root
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, WEIGHTS, Weights, load_model
from fathomseg.inference.shape import kept_aspect
from fathomseg.io.files import digest
from fathomseg.models.encoders import Encoder
from fathomseg.selection.result import Skipped
from fathomseg.types import Size

Grid = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


@dataclass(frozen=True)
class Features:
    """What the readable images of a pool are compared by."""

    ids: tuple[str, ...]
    """Sorted."""
    matrix: Float16[np.ndarray, "n d"]
    """One row an id: every channel has mean 0 and standard deviation 1 over all images and cells."""
    skipped: tuple[Skipped, ...] = ()
    """Images that could not be read."""
    file: Path | None = None
    """The `.npy` file of the matrix, if it has one."""


@dataclass(frozen=True)
class Extractor:
    """A network that gives a feature map."""

    maps: Callable[[Float32[Tensor, "b 3 h w"]], Float[Tensor, "b c h2 w2"]]
    """Of RGB images 0..1 on the device, in eval mode."""
    size: Size
    """(height, width) images are shown at."""
    key: str
    """A text that changes whenever the maps would."""
    device: torch.device

    @torch.inference_mode()
    def pooled(self, images: UInt8[Tensor, "b 3 h w"], grid: Grid) -> Float32[np.ndarray, "b d"]:
        """The maps averaged over the cells of a grid, flattened with the channel first."""
        inputs = images.to(self.device).float().div(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            maps = self.maps(inputs)
        return F.adaptive_avg_pool2d(maps.float(), grid).flatten(1).cpu().numpy()


class FeatureSource(Part, ABC):
    """A network whose maps tell what is in an image."""

    name: str
    grid: Grid = (4, 8)
    """Rows and columns of cells a map is averaged over; (1, 1) forgets where things are."""

    @abstractmethod
    def open(self, size: Size, device: torch.device) -> Extractor:
        """The network on its device; `size` is the working size, for those that have none of their own.

        Raises `FathomError` if it cannot be had.
        """


class DepthFeatures(FeatureSource):
    """The decoder for depth of a run, one level of it (Hoyer et al. 2021, section 3.4: level 3)."""

    name: Literal["depth"] = "depth"
    run: Root
    """The folder of a run with the task depth."""
    weights: Weights = "ema"
    """ema (averaged) or last."""
    level: Annotated[int, Field(ge=2, le=4)] = 3
    """Level i is at 1/2^i of the image's size."""

    def open(self, size: Size, device: torch.device) -> Extractor:
        """Images are shown at as many pixels as the run was trained at, in the proportions of `size`.

        Raises `FathomError` if the run gives no depth.
        """
        card, network = load_model(self.run, WEIGHTS[self.weights])
        if "depth" not in card.tasks:
            raise FathomError(f"{self.run} gives no depth; it predicts {', '.join(card.tasks)}. Give a run of depth.")
        key = digest([self.run / CARD, self.run / WEIGHTS[self.weights]])
        network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        encoder, decoder = network.encoders[network.encoder_of("depth")], network.decoder_of("depth")

        def maps(images: Tensor) -> Tensor:
            found: Tensor = decoder.levels(encoder(images), self.level)[self.level]
            return found

        return Extractor(maps, kept_aspect(card.size, size), f"depth|{key}|{self.level}", device)


class EncoderFeatures(FeatureSource):
    """The deepest map of a pretrained encoder: for pools without video, or to compare with."""

    name: Literal["encoder"] = "encoder"
    encoder: Encoder = Encoder()
    """Any timm model that gives feature maps."""

    def open(self, size: Size, device: torch.device) -> Extractor:
        """Images are shown at the working size. Raises `FathomError` if the encoder or its weights cannot be had."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for those who ask for random weights
            encoder = self.encoder.build().eval()
        weights = hashlib.sha256(self.encoder.model_dump_json().encode())
        for tensor in encoder.state_dict().values():
            weights.update(tensor.contiguous().numpy().tobytes())
        encoder = encoder.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Extractor(lambda images: encoder(images)[-1], size, f"encoder|{weights.hexdigest()}", device)


AnyFeatures = Annotated[DepthFeatures | EncoderFeatures, Field(discriminator="name")]
"""Every source of features there is, told apart by `name`. A new one is listed here and nowhere else."""
