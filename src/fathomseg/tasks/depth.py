"""The task `depth`: how far every pixel is, as a disparity between two depths or in metres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from pydantic import Field, model_validator
from torch import Tensor, nn

from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.geometry.camera import depth_to_disparity, disparity_to_depth, inverse_depth
from fathomseg.io.depth_maps import DepthUnit, read_disparity, read_scale, write_disparity, write_scale
from fathomseg.io.formats import png_bits, png_is_rgb
from fathomseg.io.npz import load_arrays
from fathomseg.io.shapes import refuse_other_shape
from fathomseg.metrics.depth import MEANING, DepthProtocol, DepthScores
from fathomseg.metrics.multitask import MainScore
from fathomseg.models.convex import ConvexUpsample
from fathomseg.models.decoders import AnyDecoder, DepthUNet
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.decoders.depth_unet import COARSEST
from fathomseg.tasks.base import Painter, Places, Task
from fathomseg.tasks.depth_heads import DepthHead, DepthHeads, DisparityHead, EarlyDepthHead
from fathomseg.tasks.depth_pictures import DepthView, DisparityPainter
from fathomseg.tasks.scores import ImageScores, Row, TaskScores
from fathomseg.types import ClassList, Prediction, Size

_COARSEST_SCALE: Final = 3
"""Level of the coarsest disparity if nothing is said: 1/8 of the image, as in the papers."""


class Depth(Task):
    """Disparity 0..1 (1 = nearest) of several scales, finest first, each half the size of the one before (but for the
    finest, which convex upsampling brings to the size of the image); or one map of metres.

    1 / depth = 1 / max_depth + (1 / min_depth - 1 / max_depth) * disparity.
    """

    name: Literal["depth"] = "depth"
    decoder: AnyDecoder | Literal["shared"] = DepthUNet()
    """Its stride is that of the finest disparity. depth_unet has several levels; others give one map. shared: the
    decoder of the network's first task that has one."""
    output: Literal["disparity", "metric"] = "disparity"
    """disparity: of a sigmoid, in a unit of length that training may or may not know. metric: z-depth in metres,
    straight from a convolution, of one scale, to be learned from true depth (Nekrasov et al. 2019)."""
    scales: int | None = Field(default=None, ge=1, le=COARSEST + 1)
    """Disparity maps, beginning at the decoder's stride. null: down to 1/8, as far as the decoder has them."""
    upsampling: Literal["bilinear", "convex"] = "bilinear"
    """bilinear: the finest map stays at the decoder's stride. convex: a light step brings it to the image's size by
    learned convex combinations of neighbours (Teed & Deng 2020), which can keep outlines sharp."""
    start: float = Field(default=0.2, gt=0, lt=1)
    """The disparity everywhere before training; metres begin at its depth. The scale of depth stays near where it
    begins, and disparity ends at 1: from 0.2, nothing can come much nearer than a fifth of the usual distance. Lower
    leaves room, but is learned late unless motions are aligned (`photometric.align`), which finds the translations of
    any scale at once."""
    min_depth: float = Field(default=0.1, gt=0)
    """Depth of disparity 1: metres, if training can know the scale."""
    max_depth: float = Field(default=100.0, gt=0)
    """Depth of disparity 0."""
    unit: DepthUnit | None = None
    """What depth is measured in, as the card of a trained network says. null: metres with `output: metric`, else
    relative until something in the training tells."""

    truth_kind: ClassVar[Kind] = "depth"
    windowed: ClassVar[bool] = False
    places: ClassVar[Places] = Places(values="disparity", views="views", about="depth.json")
    section: ClassVar[str] = "depth"

    @model_validator(mode="after")
    def _enough_levels(self) -> Self:
        if self.min_depth >= self.max_depth:
            raise ValueError(f"min_depth {self.min_depth} must be below max_depth {self.max_depth}")
        if self.output == "metric" and (self.scales or 1) > 1:
            raise ValueError(f"output=metric has one scale, but scales={self.scales}: give 1 or null")
        if isinstance(self.decoder, DepthUNet) and self.scales is not None:
            first = self.decoder.stride.bit_length() - 1
            if (last := first + self.scales - 1) > COARSEST:
                raise ValueError(
                    f"{self.scales} scales from decoder.stride={self.decoder.stride} on would end at "
                    f"1/{2**last} of the image's size, but the decoder begins at 1/{2**COARSEST}. Give scales "
                    f"of at most {COARSEST + 1 - first}, or null"
                )
        return self

    @property
    def depth_range(self) -> tuple[float, float]:
        """Depth of disparity 1 and of disparity 0."""
        return self.min_depth, self.max_depth

    @property
    def depth_unit(self) -> DepthUnit:
        """What depth is measured in."""
        return self.unit or ("metres" if self.output == "metric" else "relative")

    def build_head(self, decoder: DecoderModule, classes: int) -> nn.Module:
        """{level: map} -> disparities, finest first, or one map of metres. Raises `FathomError` if the decoder lacks a
        level."""
        first = decoder.finest
        finer = self._upsampling(decoder)
        if self.output == "metric":
            return DepthHeads({first: self._regression(decoder.channels)}, finer)
        last = max(first, _COARSEST_SCALE) if self.scales is None else first + self.scales - 1
        widths = {level: decoder.width_at(level) for level in range(first, last + 1)}
        own = self.decoder if isinstance(self.decoder, str) else self.decoder.name
        if self.scales is not None and (missing := [level for level, width in widths.items() if width is None]):
            raise FathomError(
                f"network.tasks.{self.name}.scales={self.scales} needs a map at 1/{2 ** missing[0]} of the image's "
                f"size, which decoder {own!r} does not have. Give network.tasks.{self.name}.scales=null, or "
                f"network.tasks.{self.name}.decoder.name=depth_unet."
            )
        heads = {level: self._regression(width) for level, width in widths.items() if width is not None}
        return DepthHeads(heads, finer)

    def _upsampling(self, decoder: DecoderModule) -> ConvexUpsample | None:
        if self.upsampling == "bilinear":
            return None
        if decoder.finest == 0:
            raise FathomError(
                f"network.tasks.{self.name}.upsampling=convex has nothing to do: the decoder ends at the image's "
                f"size. Give network.tasks.{self.name}.decoder.stride=2 or 4, or upsampling=bilinear."
            )
        return ConvexUpsample(decoder.channels, 2**decoder.finest)

    def build_early_head(self, width: int, classes: int) -> nn.Module:
        """A feature map -> one disparity (or map of metres) of the same size, in a list."""
        return EarlyDepthHead(self._regression(width))

    def _regression(self, width: int) -> DepthHead:
        """A feature map -> disparity or metres, everywhere the same before training."""
        if self.output == "disparity":
            return DisparityHead(width, self.start, self.head)
        start = 1 / (self.start / self.min_depth + (1 - self.start) / self.max_depth)
        return DepthHead(width, start, self.head)

    meaning: ClassVar[Mapping[str, str]] = MEANING
    stored_endings: ClassVar[tuple[str, ...]] = (".png", ".npy")

    def truth(self, dataset: Dataset, id: str) -> Float32[np.ndarray, "h w"] | None:
        """z-depth in metres, 0 = unknown."""
        return dataset.depth(id)

    def has_truth(self, dataset: Dataset, id: str) -> bool:
        """Told without opening the depth map where the dataset can."""
        return dataset.has_depth(id)

    def scores(self, dataset: Dataset, device: torch.device | str, protocol: DepthProtocol | None) -> TaskScores:
        """Errors with and without alignment of the scale; always on the CPU, in float64."""
        return ImageScores("depth", DepthScores(protocol))

    def headline(self, result: Mapping[str, Any]) -> dict[str, float]:
        """AbsRel and delta < 1.25 after the alignment to look at first."""
        found = result[self._alignment(result)]
        return {key: found[key] for key in ("abs_rel", "delta1") if found[key] is not None}

    def main_score(self, result: Mapping[str, Any]) -> MainScore:
        """RMSE in metres after the alignment to look at first."""
        how = self._alignment(result)
        return MainScore(f"{how}.rmse", result[how]["rmse"], lower_is_better=True)

    def _alignment(self, result: Mapping[str, Any]) -> str:
        """That of the settings of the scores; by default none for metres, median for the rest."""
        stated = result.get("settings", {}).get("alignment")
        return stated or ("none" if self.depth_unit == "metres" else "median")

    def badness(self, row: Row, result: Mapping[str, Any]) -> float | None:
        """AbsRel after the alignment to look at first."""
        return float(row[self._alignment(result)]["abs_rel"])

    def is_stored(self, path: Path) -> bool:
        """A grey PNG of 16 bits, or .npy."""
        ending = path.suffix.lower()
        return ending == ".npy" or (ending == ".png" and png_bits(path) == 16 and not png_is_rgb(path))

    def read_stored(self, path: Path, folder: Path, labels: LabelMap | None = None) -> Float32[np.ndarray, "h w"]:
        """Inverse depth of a disparity PNG (as `fathom predict` writes it) or of a .npy file of metres; 0 or NaN where
        nothing was predicted. Without a depth.json, PNGs mean the range of depths of this task."""
        if path.suffix.lower() == ".npy":
            return _inverse(_metres(path))
        disparity = torch.from_numpy(read_disparity(path))
        return inverse_depth(disparity, *(read_scale(folder) or self.depth_range)).numpy()

    def stored_fields(
        self,
        path: Path,
        stored: Float32[np.ndarray, "h w"],
        truth: Float[np.ndarray, "h2 w2"],
        dataset: Dataset,
        protocol: DepthProtocol | None,
        labels: LabelMap | None = None,
    ) -> dict[str, Tensor]:
        """`depth` alone, resampled in inverse depth, as disparity of a network is; what is unknown leaves no trace in
        its neighbours. Raises `DataError` for another shape, and where depth is lacking whose truth counts."""
        refuse_other_shape("the depth map", stored.shape, truth.shape, str(path))
        inverse = torch.from_numpy(stored)
        if stored.shape != truth.shape:
            inverse = _resampled(inverse, (truth.shape[0], truth.shape[1]))
        counted = (protocol or DepthProtocol()).valid(torch.tensor(truth))
        if count := int((~(torch.isfinite(inverse) & (inverse > 0)) & counted).sum()):
            raise DataError([Problem(str(path), f"holds no positive depth at {count} pixels whose true depth counts")])
        return {"depth": 1 / inverse}

    def map(self, output: Sequence[Float[Tensor, "b 1 _ _"]]) -> Float32[Tensor, "b 1 h w"]:
        """The finest disparity; metres without their sign."""
        finest = output[0].float()
        return finest if self.output == "disparity" else finest.abs()

    def disparity(self, output: Sequence[Float[Tensor, "b 1 _ _"]]) -> Float32[Tensor, "b 1 h w"]:
        """0..1 at the size of the output, whatever that is."""
        return self._disparity(self.map(output))

    def as_output(self, maps: Float[Tensor, "b 1 h w"]) -> list[Float[Tensor, "b 1 h w"]]:
        """Disparities of one scale."""
        return [maps]

    def averaging(self, maps: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b c h2 w2"]:
        """The maps as they are: there are no windows of depth, and a mirrored map has the same size (Godard et al.
        2017, arXiv:1609.03677, "pp", without the ramps at the borders, which stereo needs and one camera does not)."""
        return maps

    @torch.inference_mode()
    def decode(self, one: Float32[Tensor, "1 h w"], size: Size) -> dict[str, Tensor]:
        """`disparity` (0..1) and `depth`, within the range of depths and saying the same; what the network predicts is
        what is resampled, bilinearly."""
        disparity = self._disparity(F.interpolate(one[None], size, mode="bilinear", align_corners=False)[0, 0])
        return {"disparity": disparity, "depth": disparity_to_depth(disparity, *self.depth_range)}

    def _disparity(self, maps: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
        """What the network predicts as a disparity 0..1."""
        if self.output == "metric":
            maps = depth_to_disparity(maps.clamp(*self.depth_range), *self.depth_range)
        return maps.clamp(0, 1)  # resampling may round to above 1

    def write(self, path: Path, prediction: Prediction, classes: ClassList | None = None) -> None:
        """Disparity as 16-bit grey: round(65535 disparity)."""
        assert prediction.disparity is not None, "the task was predicted"
        write_disparity(path, prediction.disparity)

    def painter(self, classes: ClassList | None) -> Painter:
        """Disparity in colours, near = red, which follow the range of a video slowly."""
        return DisparityPainter()

    def viewer(self, classes: ClassList | None) -> Painter:
        """The same beside the photograph, with a scale of depths in their unit."""
        return DepthView(self.depth_range, self.depth_unit)

    def describe(self, folder: Path, classes: ClassList | None, run: str) -> None:
        """depth.json: the range of depths, and the unit."""
        write_scale(folder, self.depth_range, self.depth_unit, run)


def _resampled(inverse: Float32[Tensor, "h w"], size: Size) -> Float32[Tensor, "h2 w2"]:
    """Bilinear among what is known; 0 = unknown, also where most of what a pixel lies on is."""
    known = torch.isfinite(inverse) & (inverse > 0)
    both = torch.stack([torch.where(known, inverse, 0.0), known.float()])
    total, weight = F.interpolate(both[None], size, mode="bilinear", align_corners=False)[0]
    return torch.where(weight > 0.5, total / weight, 0.0)


def _metres(path: Path) -> Float[np.ndarray, "h w"]:
    """The depth map in a .npy file. Raises `DataError` if it holds something else."""
    depth = load_arrays(path).get("")
    if depth is None or depth.ndim != 2 or depth.dtype.kind != "f" or not depth.size:
        what = f"{depth.dtype} of shape {depth.shape}" if depth is not None else "an archive"
        raise DataError([Problem(str(path), f"holds {what}; expected floating-point depth of height x width, metres")])
    return depth


def _inverse(depth: Float[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    inverse = np.zeros(depth.shape, np.float32)
    np.divide(1, depth, out=inverse, where=np.isfinite(depth) & (depth > 0), casting="unsafe")
    return inverse
