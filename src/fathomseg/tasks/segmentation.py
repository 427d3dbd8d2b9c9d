"""The task `segmentation`: a class for every pixel."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64, Integer, UInt8
from pydantic import Field
from torch import Tensor, nn

from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.datasets.labels import LabelMap, pack, unpack
from fathomseg.errors import DataError, Problem
from fathomseg.io import draw
from fathomseg.io.draw import Picture
from fathomseg.io.files import write_text
from fathomseg.io.formats import png_bits
from fathomseg.io.label_images import read_drawing, read_values
from fathomseg.io.ranks import gathered
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.metrics.multitask import MainScore
from fathomseg.metrics.segmentation import MEANING, SegmentationScores, mean_over
from fathomseg.models.blocks import Map
from fathomseg.models.decoders import AnyDecoder, Fpn
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.heads import separable
from fathomseg.tasks.base import HeadKind, Painter, Places, Task
from fathomseg.tasks.resampling import strips
from fathomseg.tasks.scores import Row, TaskScores
from fathomseg.types import IGNORE, ClassList, Prediction, Size


class Segmentation(Task):
    """Logits of every class at the decoder's stride, from a 1x1 convolution or a separable head."""

    name: Literal["segmentation"] = "segmentation"
    decoder: AnyDecoder | Literal["shared"] = Fpn()
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """The chance that a channel of the decoder's feature map is zeroed before it is classified, in training."""

    truth_kind: ClassVar[Kind] = "label"
    windowed: ClassVar[bool] = True
    places: ClassVar[Places] = Places(values="ids", views="overlays", about="classes.json")
    section: ClassVar[str] = "segmentation"

    def build_head(self, decoder: DecoderModule, classes: int) -> nn.Module:
        """{level: map} -> logits b x classes x h/stride x w/stride."""
        return SegmentationHead(decoder.channels, classes, self.dropout, decoder.finest, self.head)

    def build_early_head(self, width: int, classes: int) -> nn.Module:
        """A feature map -> logits of the same size."""
        return SegmentationHead(width, classes, dropout=0.0)

    meaning: ClassVar[Mapping[str, str]] = MEANING

    def truth(self, dataset: Dataset, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Class indices, 255 = ignore."""
        return dataset.label(id)

    def has_truth(self, dataset: Dataset, id: str) -> bool:
        """Told without opening the label file."""
        return dataset.has_label(id)

    def misfit(self, classes: tuple[str, ...], dataset: Dataset) -> str | None:
        """The indices of network and labels must mean the same."""
        theirs = dataset.classes.names
        if classes == theirs:
            return None
        pairs = zip(classes, theirs, strict=False)
        lines = [f"  class {i}: {a!r} in the run, {b!r} in the data" for i, (a, b) in enumerate(pairs) if a != b]
        for names, other, where in ((classes, theirs, "run"), (theirs, classes, "data")):
            lines += [f"  class {i}: {names[i]!r} only in the {where}" for i in range(len(other), len(names))]
        return (
            f"was trained on {len(classes)} classes that are not the {len(theirs)} classes of {dataset.name}:\n"
            + "\n".join(lines[:10] + ["  ..."] * (len(lines) > 10))
            + "\nScore it on data with the same class list, in the same order."
        )

    def scores(self, dataset: Dataset, device: torch.device | str, protocol: DepthProtocol | None) -> TaskScores:
        """IoU by class and all else that `MEANING` explains."""
        return LabelScores(dataset.classes.names, device)

    def headline(self, result: Mapping[str, Any]) -> dict[str, float]:
        """mIoU and pixel accuracy, 0..1; also the mIoU over shared classes, if there is one."""
        keys = ("miou", "miou_shared", "pixel_accuracy")
        return {key: result[key] for key in keys if result.get(key) is not None}

    def over_classes(self, result: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        """`miou_shared`, and the classes it is taken over."""
        return {"miou_shared": mean_over(result, names), "shared_classes": list(names)} if names else {}

    def main_score(self, result: Mapping[str, Any]) -> MainScore:
        """mIoU."""
        return MainScore("miou", result["miou"], lower_is_better=False)

    def badness(self, row: Row, result: Mapping[str, Any]) -> float | None:
        """1 - mIoU."""
        return None if row["miou"] is None else 1 - float(row["miou"])

    def is_stored(self, path: Path) -> bool:
        """A PNG of at most 8 bits."""
        return path.suffix.lower() == ".png" and png_bits(path) <= 8

    def read_stored(self, path: Path, folder: Path, labels: LabelMap | None = None) -> Integer[np.ndarray, "h w"]:
        """Stored values: ids, or packed colours (uint32) where the dataset stores colours and the file has some."""
        if labels is not None and labels.kind == "colours" and not png_bits(path, grey=True):
            return pack(read_drawing(path)[0])
        return read_values(path)

    def stored_fields(
        self,
        path: Path,
        stored: Integer[np.ndarray, "h w"],
        truth: UInt8[np.ndarray, "h2 w2"],
        dataset: Dataset,
        protocol: DepthProtocol | None,
        labels: LabelMap | None = None,
    ) -> dict[str, Tensor]:
        """`label` alone: of the size of the label, with classes of the list wherever it has a class.

        Raises `DataError` for any other.
        """
        if stored.shape != truth.shape:
            sizes = " but its label is ".join(f"{height} x {width}" for height, width in (stored.shape, truth.shape))
            reason = f"the prediction is {sizes} (height x width); store predictions at the size of the labels"
            raise DataError([Problem(str(path), reason)])
        classes = len(dataset.classes)
        coloured = labels is not None and labels.kind == "colours"
        mapped = labels is not None and (not coloured or stored.dtype == np.uint32)
        indices = (
            labels.known(stored) if labels is not None and mapped else np.clip(stored, -1, IGNORE).astype(np.int16)
        )
        foreign = np.unique(stored[(truth != IGNORE) & ((indices < 0) | (indices >= classes))])
        if foreign.size:
            values: list[object] = [unpack(int(v)) if coloured and mapped else int(v) for v in foreign[:5]]
            wanted = labels.ids if labels is not None else ()
            expected = (
                f"the ids of {dataset.name}: {', '.join(map(str, wanted))}" if wanted else f"ids 0..{classes - 1}"
            )
            reason = f"holds {', '.join(map(str, values))} where the label has a class; expected {expected}"
            raise DataError([Problem(str(path), reason)])
        return {"label": torch.from_numpy(np.where(indices < 0, IGNORE, indices).astype(np.uint8))}

    def map(self, output: Float[Tensor, "b c h w"]) -> Float32[Tensor, "b c h w"]:
        """The logits."""
        return output.float()

    def averaging(self, maps: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b c h2 w2"]:
        """Probabilities."""
        return F.interpolate(maps, size, mode="bilinear", align_corners=False).softmax(1)

    def averaged(self, mean: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Log-probabilities: finite even where one is 0, since interpolation would make NaN of infinities."""
        return mean.clamp(min=1e-30).log()

    @torch.inference_mode()
    def decode(self, one: Float32[Tensor, "c h w"], size: Size) -> dict[str, Tensor]:
        """`label` (argmax, UInt8) and `confidence` (its softmax, 0..1) of logits upsampled to `size`.

        Bilinear, align_corners=False. Works in strips of rows, so that the upsampled logits of all classes never exist
        at once.
        """
        label = torch.empty(size, dtype=torch.uint8, device=one.device)
        confidence = torch.empty(size, dtype=torch.float32, device=one.device)
        for rows, strip in strips(one, size):
            best, index = strip.max(0)
            label[rows], confidence[rows] = index.byte(), strip.sub_(best).exp_().sum(0).reciprocal_()
        return {"label": label, "confidence": confidence}

    def write(self, path: Path, prediction: Prediction, classes: ClassList | None = None) -> None:
        """The ids that the dataset itself stores, as grey of 8 bits, or 16 if needed. Where it stores colours: indices
        of a palette of these colours, so that the file can be read as either."""
        assert prediction.label is not None, "the task was predicted"
        if classes is not None and classes.by_colour:
            draw.write_indexed(path, prediction.label, classes.palette)
        elif classes is not None and classes.ids:
            ids = np.array(classes.ids, np.uint8 if max(classes.ids) < 256 else np.uint16)
            draw.write(path, ids[prediction.label])
        else:
            draw.write(path, prediction.label)

    def painter(self, classes: ClassList | None) -> Painter:
        """The class colours over the image."""

        def paint(image: Picture, prediction: Prediction) -> Picture:
            assert prediction.label is not None, "the task was predicted"
            assert classes is not None, "a network that segments has classes"
            return draw.overlay(image, prediction.label, classes)

        return paint

    def describe(self, folder: Path, classes: ClassList | None, run: str) -> None:
        """classes.json: id, name and colour (RGB) of every class."""
        assert classes is not None, "a network that segments has classes"
        whole = zip(classes.stored_ids, classes.names, classes.colours, strict=True)
        rows = [{"id": id, "name": name, "colour": colour} for id, name, colour in whole]
        write_text(folder / "classes.json", json.dumps({"classes": rows}, indent=1, ensure_ascii=False) + "\n")


def written_label(path: Path, classes: ClassList) -> UInt8[np.ndarray, "h w"]:
    """The class indices of a file that `Segmentation.write` wrote. Raises `DataError` for other ids."""
    stored = read_values(path)
    if classes.by_colour or not classes.ids:
        return stored.astype(np.uint8)
    ids = LabelMap("ids", classes.names, classes.ids, (), "predict it again")
    return ids.classes(stored, str(path))


class LabelScores(TaskScores):
    """`SegmentationScores`, and each image's own mIoU."""

    def __init__(self, names: tuple[str, ...], device: torch.device | str) -> None:
        self.sums, self.device = SegmentationScores(names, device), device
        self._own: dict[str, Float64[Tensor, ""]] = {}  # on the device, which is not waited for image by image
        self._others: dict[str, Row] = {}

    def update(self, id: str, fields: Mapping[str, Tensor], truth: UInt8[np.ndarray, "h w"]) -> None:
        """Takes `label` and, if it is known, `confidence`."""
        label, confidence = fields["label"].to(self.device), fields.get("confidence")
        self._own[id] = self.sums.update(label, confidence, torch.tensor(truth, device=self.device))

    def all_reduce(self) -> None:
        """Counts are added up, rows gathered."""
        self._others = {id: row for rows in gathered([self.rows]) for id, row in rows.items()}
        self.sums.all_reduce()

    def result(self) -> dict[str, Any]:
        """As `SegmentationScores.result`."""
        return self.sums.result()

    @property
    def rows(self) -> dict[str, Row]:
        """`miou` of every image; None where no pixel is labelled."""
        values = torch.stack(list(self._own.values())).tolist() if self._own else []
        own = {id: {"miou": None if np.isnan(value) else value} for id, value in zip(self._own, values, strict=True)}
        return {**self._others, **own}


class SegmentationHead(nn.Sequential):
    """Channel dropout (Tompson et al. 2015) and a 1x1 convolution to one logit per class, or a separable head."""

    def __init__(
        self, channels: int, classes: int, dropout: float, level: int | None = None, kind: HeadKind = "plain"
    ) -> None:
        """`level`: which of a decoder's maps it takes; None if it is given one map."""
        parted = kind == "separable"
        classifier = nn.Conv2d(channels, classes, 3, padding=1) if parted else nn.Conv2d(channels, classes, 1)
        # Small weights start every class at nearly equal probability, so the first loss is log(classes).
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)  # type: ignore[arg-type]
        super().__init__(nn.Dropout2d(dropout), *([separable(channels)] if parted else []), classifier)
        self.level = level

    def forward(self, maps: Mapping[int, Map] | Map) -> Float[Tensor, "b c h w"]:
        """Logits of the size of the map."""
        logits: Tensor = super().forward(maps if isinstance(maps, Tensor) else maps[self.level])  # type: ignore[index,no-untyped-call]
        return logits
