"""The task `normals`: which way the surface faces at every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from pydantic import Field
from torch import Tensor, nn

from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.errors import DataError, Problem
from fathomseg.geometry.numerics import full_precision
from fathomseg.io.draw import Picture
from fathomseg.io.formats import png_bits, png_is_rgb
from fathomseg.io.normal_maps import describe_normals, normals_picture, read_normals, write_normals
from fathomseg.io.shapes import refuse_other_shape
from fathomseg.losses.segmentation import upsample
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.metrics.multitask import MainScore
from fathomseg.metrics.normals import MEANING, NormalScores
from fathomseg.models.blocks import Map
from fathomseg.models.decoders import AnyDecoder, Fpn
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.heads import separable
from fathomseg.models.norms import in_own_precision
from fathomseg.tasks.base import HeadKind, Painter, Places, Task, TaskCriterion, TaskLoss
from fathomseg.tasks.scores import ImageScores, Row, TaskScores
from fathomseg.types import Batch, ClassList, Prediction, Size, SumCount


class Normals(Task):
    """Unit vectors b x 3 x h/stride x w/stride in the camera's frame (x right, y down, z forward), towards it."""

    name: Literal["normals"] = "normals"
    decoder: AnyDecoder | Literal["shared"] = Fpn()

    truth_kind: ClassVar[Kind] = "depth"
    windowed: ClassVar[bool] = False
    places: ClassVar[Places] = Places(values="normals", views="normal-views", about="normals.json")
    section: ClassVar[str] = "normals"

    def build_head(self, decoder: DecoderModule, classes: int) -> nn.Module:
        """{level: map} -> unit vectors."""
        return NormalHead(decoder.channels, decoder.finest, self.head)

    def build_early_head(self, width: int, classes: int) -> nn.Module:
        """A feature map -> unit vectors of the same size."""
        return NormalHead(width, None, self.head)

    meaning: ClassVar[Mapping[str, str]] = MEANING

    def truth(self, dataset: Dataset, id: str) -> Float32[np.ndarray, "h w 3"] | None:
        """The dataset's own, or computed from its depth and camera; 0 0 0 = unknown."""
        return dataset.normals(id)

    def has_truth(self, dataset: Dataset, id: str) -> bool:
        """Whether there are normals, or depth and camera. Files that cannot be read count."""
        try:
            return dataset.has_normals(id)
        except DataError:
            return True

    def scores(self, dataset: Dataset, device: torch.device | str, protocol: DepthProtocol | None) -> TaskScores:
        """Angles in degrees; always on the CPU, in float64."""
        return ImageScores("normals", NormalScores())

    def headline(self, result: Mapping[str, Any]) -> dict[str, float]:
        """The mean angle in degrees, and the share within 11.25."""
        return {key: result[key] for key in ("mean", "within_11.25") if result[key] is not None}

    def main_score(self, result: Mapping[str, Any]) -> MainScore:
        """The mean angle."""
        return MainScore("mean", result["mean"], lower_is_better=True)

    def badness(self, row: Row, result: Mapping[str, Any]) -> float | None:
        """The mean angle."""
        return float(row["mean"])

    def is_stored(self, path: Path) -> bool:
        """An RGB PNG of 16 bits."""
        return path.suffix.lower() == ".png" and png_bits(path) == 16 and png_is_rgb(path)

    def read_stored(self, path: Path, folder: Path, labels: LabelMap | None = None) -> Float32[np.ndarray, "h w 3"]:
        """Unit vectors."""
        return read_normals(path)

    def stored_fields(
        self,
        path: Path,
        stored: Float32[np.ndarray, "h w 3"],
        truth: Float32[np.ndarray, "h2 w2 3"],
        dataset: Dataset,
        protocol: DepthProtocol | None,
        labels: LabelMap | None = None,
    ) -> dict[str, Tensor]:
        """`normals`, resampled as the predictions of a network are.

        Raises `DataError` for another shape, and where no normal was predicted but the true one is known.
        """
        refuse_other_shape("the map of normals", stored.shape[:2], truth.shape[:2], str(path))
        known = torch.from_numpy(truth).square().sum(2) > 0
        found = _at_size(torch.from_numpy(stored).permute(2, 0, 1), (truth.shape[0], truth.shape[1]))
        if count := int(((found.square().sum(2) == 0) & known).sum()):
            raise DataError([Problem(str(path), f"holds no normal at {count} pixels whose true normal is known")])
        return {"normals": found}

    def map(self, output: Float[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 3 h w"]:
        """The unit vectors."""
        return output.float()

    def averaged(self, mean: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Of length 1 again."""
        return F.normalize(mean, dim=1)

    def mirrored(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """In a mirror, left is right: x changes its sign."""
        return maps.flip(3) * maps.new_tensor([-1, 1, 1]).view(1, 3, 1, 1)

    @torch.inference_mode()
    def decode(self, one: Float32[Tensor, "3 h w"], size: Size) -> dict[str, Tensor]:
        """`normals`, height x width x 3, resampled bilinearly and made unit vectors again."""
        return {"normals": _at_size(one, size)}

    def write(self, path: Path, prediction: Prediction, classes: ClassList | None = None) -> None:
        """RGB of 16 bits: round(65535 (n + 1) / 2)."""
        assert prediction.normals is not None, "the task was predicted"
        write_normals(path, prediction.normals)

    def painter(self, classes: ClassList | None) -> Painter:
        """(n + 1) / 2 as RGB."""

        def paint(image: Picture, prediction: Prediction) -> Picture:
            assert prediction.normals is not None, "the task was predicted"
            return normals_picture(prediction.normals)

        return paint

    def describe(self, folder: Path, classes: ClassList | None, run: str) -> None:
        """normals.json: what the colours mean."""
        describe_normals(folder, run)


class NormalHead(nn.Module):
    """A 3x3 convolution, or a separable head, to three numbers that are divided by their length."""

    def __init__(self, width: int, level: int | None, kind: HeadKind = "plain") -> None:
        """`level`: which of a decoder's maps it takes; None if it is given one map."""
        super().__init__()
        self.level = level
        self.mix = separable(width) if kind == "separable" else nn.Identity()
        self.conv = nn.Conv2d(width, 3, 3, padding=1)
        # Everything faces the camera at first, which is as far from the length 0 as from any direction.
        nn.init.normal_(self.conv.weight, std=0.01)
        with torch.no_grad():
            self.conv.bias.copy_(torch.tensor([0.0, 0.0, -1.0]))  # type: ignore[union-attr]

    def forward(self, maps: Mapping[int, Map] | Map) -> Float[Tensor, "b 3 h w"]:
        """Unit vectors of the size of the map."""
        x = maps if isinstance(maps, Tensor) else maps[self.level]  # type: ignore[index]
        return F.normalize(in_own_precision(self.conv, self.mix(x)), dim=1)


class NormalsLoss(TaskLoss):
    """The cosine distance 1 - n.n* at the resolution of the truth."""

    name: Literal["normals"] = "normals"
    target: Literal["normals"] = "normals"
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight beside the losses of the other tasks."""

    def distilled_misfit(self, soft: bool, weighted: bool) -> str | None:
        """Pixels are weighted."""
        return super().distilled_misfit(soft, weighted=False)

    def build(self, task: Task, pixels: Int64[Tensor, " c"] | None) -> NormalsCriterion:
        """Needs nothing."""
        return NormalsCriterion()


class NormalsCriterion(TaskCriterion):
    """The cosine distance of a batch."""

    @full_precision
    def forward(self, output: Float[Tensor, "b 3 _ _"], batch: Batch, progress: float) -> SumCount:
        """The sum over the pixels whose normal is known, and their number."""
        truth = batch.targets["normals"]
        found = F.normalize(upsample(output, (truth.shape[2], truth.shape[3])), dim=1)
        known = _known(truth)
        losses = torch.where(known, 1 - (found * truth).sum(1), 0.0)
        weight = batch.targets.get("normals_weight")
        return (losses if weight is None else losses * weight).sum(), known.sum().float()

    def count(self, batch: Batch) -> Float[Tensor, ""] | None:
        """The pixels whose normal is known."""
        if (truth := batch.targets.get("normals")) is None:
            return torch.zeros((), device=batch.image.device)
        return _known(truth).sum().float()


def _known(truth: Float[Tensor, "b 3 h w"]) -> Tensor:
    return truth.square().sum(1) > 0


def _at_size(one: Float32[Tensor, "3 h w"], size: Size) -> Float32[Tensor, "h2 w2 3"]:
    """Unit vectors at another size."""
    wide = F.interpolate(one[None], size, mode="bilinear", align_corners=False)[0]
    return F.normalize(wide, dim=0).permute(1, 2, 0).contiguous()
