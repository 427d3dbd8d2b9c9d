"""What every task offers: everything that tells one kind of prediction from another, in one file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.errors import DataError, FathomError
from fathomseg.io.draw import Picture
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.metrics.multitask import MainScore
from fathomseg.models.decoders import AnyDecoder
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.encoders import AnyEncoder
from fathomseg.tasks.scores import Row, TaskScores
from fathomseg.types import Batch, ClassList, Prediction, Size, SumCount

HeadKind = Literal["plain", "separable"]

Painter = Callable[[Picture, Prediction], Picture]
"""An image and its prediction -> the prediction as a picture to look at."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where predictions on disk lie: folders for the predicted numbers and for the pictures to look at."""

    values: str
    views: str
    about: str = ""
    """The file beside them that `Task.describe` writes."""


class Task(Part, ABC):
    """One branch of a network: its settings, and what its output means."""

    name: str
    encoder: Literal["shared", "own"] | AnyEncoder = "shared"
    """shared: that of the network. own: another like it. Or the settings of one."""
    decoder: AnyDecoder | Literal["shared"]
    """What turns the encoder's pyramid into the map heads work on. shared: the decoder of the network's first task that
    has one, in the order segmentation, depth, normals, source_depth."""
    head: HeadKind = "plain"
    """plain: one convolution. separable: a weight for each channel, ReLU6, and a 3x3 convolution (Nekrasov et al.
    2019)."""
    frozen: bool = False
    """Keep the branch as an earlier run has learned it (`init_from.tasks`): neither its weights nor its statistics
    move, and no objective trains it. With links that lead from it to another task, its features are an input of that
    one's. Needs an encoder and a decoder of its own."""

    truth_kind: ClassVar[Kind]
    """What a dataset's own truth for this task is called."""
    windowed: ClassVar[bool]
    """Whether sliding-window inference applies to it; where not, the whole image is always shown."""
    auxiliary: ClassVar[bool] = False
    """Whether it only helps others to learn: it is saved with the network, but never predicted, scored or exported."""
    places: ClassVar[Places]
    """Where its predictions are written. No two tasks share a folder."""
    section: ClassVar[str]
    """Which section of a page shows its scores (`report.page.SECTIONS`): that of the task whose scores it has. A name
    that is not among them stands for a plain table."""

    @property
    def depth_range(self) -> tuple[float, float] | None:
        """Depth of disparity 1 and of disparity 0; None for a task that gives no depth."""
        return None

    @abstractmethod
    def build_head(self, decoder: DecoderModule, classes: int) -> nn.Module:
        """A module from the decoder's maps by level to the task's output. Raises `FathomError` if a level is
        missing."""

    def build_early_head(self, width: int, classes: int) -> nn.Module:
        """A module from one feature map of `width` channels to an early prediction in the form of the task's output.

        Raises `FathomError` for a task that has none.
        """
        raise FathomError(f"Task {self.name!r} has no early prediction: leave it out of network.links.early.")

    meaning: ClassVar[Mapping[str, str]]
    """What each key of its scores means; written beside the numbers."""
    stored_endings: ClassVar[tuple[str, ...]] = (".png",)
    """Of the files predictions are stored in, by any program."""

    @abstractmethod
    def truth(self, dataset: Dataset, id: str) -> Shaped[np.ndarray, "h w *c"] | None:
        """What the dataset knows of a sample; None if nothing. Raises `DataError`."""

    def has_truth(self, dataset: Dataset, id: str) -> bool:
        """Whether the dataset knows anything of a sample. A file that cannot be read counts: scoring will name it."""
        try:
            return self.truth(dataset, id) is not None
        except DataError:
            return True

    def misfit(self, classes: tuple[str, ...], dataset: Dataset) -> str | None:
        """Why predictions of a network of these classes cannot be compared with the dataset; None if they can."""
        return None

    @abstractmethod
    def scores(self, dataset: Dataset, device: torch.device | str, protocol: DepthProtocol | None) -> TaskScores:
        """Scores over no images yet; `protocol` says which pixels of a true depth count."""

    @abstractmethod
    def headline(self, result: Mapping[str, Any]) -> dict[str, float]:
        """The scores to look at first, as far as they are defined."""

    def over_classes(self, result: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        """Further scores over these classes alone (`ModelCard.shared_classes`), for a task that has classes."""
        return {}

    @abstractmethod
    def main_score(self, result: Mapping[str, Any]) -> MainScore:
        """The one score by which runs are compared over several tasks (`metrics/multitask.py`)."""

    @abstractmethod
    def badness(self, row: Row, result: Mapping[str, Any]) -> float | None:
        """How bad the prediction of an image is, by its own scores; None where that is undefined. `result`: the scores
        of all images, which say how they were taken."""

    @abstractmethod
    def is_stored(self, path: Path) -> bool:
        """Whether a file can be a stored prediction of this task, and of no other, by its name and header."""

    @abstractmethod
    def read_stored(self, path: Path, folder: Path, labels: LabelMap | None = None) -> Shaped[np.ndarray, "h w *c"]:
        """The numbers of a stored prediction, one of those in `folder`; `labels` says how the dataset stores classes.
        Raises `DataError`."""

    @abstractmethod
    def stored_fields(
        self,
        path: Path,
        stored: Shaped[np.ndarray, "h w *c"],
        truth: Shaped[np.ndarray, "h2 w2 *c"],
        dataset: Dataset,
        protocol: DepthProtocol | None,
        labels: LabelMap | None = None,
    ) -> dict[str, Tensor]:
        """What `read_stored` gave as the fields of a prediction at the size of the truth, which serves to check it, not
        to make it. Raises `DataError` naming `path` if it does not cover what counts."""

    @abstractmethod
    def map(self, output: Any) -> Float[Tensor, "b c h w"]:
        """The part of the branch's output that predictions are made from, at the network's own resolution."""

    def as_output(self, maps: Float[Tensor, "b c h w"]) -> Any:
        """The output of a branch that gives this map and nothing else: `map(as_output(x))` is x."""
        return maps

    def averaging(self, maps: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b c h2 w2"]:
        """`maps` in the form in which several views (mirrored, windows) may be averaged, at `size`."""
        return nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)

    def averaged(self, mean: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The mean of several views as a map again."""
        return mean

    def mirrored(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The map of the mirrored image, mirrored back."""
        return maps.flip(3)

    @abstractmethod
    def decode(self, one: Float32[Tensor, "c h w"], size: Size) -> dict[str, Tensor]:
        """The fields of `types.Prediction` that the map of one image gives, as tensors of (height, width) `size`,
        perhaps with channels behind."""

    @abstractmethod
    def write(self, path: Path, prediction: Prediction, classes: ClassList | None = None) -> None:
        """Write the predicted numbers as a PNG, which appears only when complete. `classes`: those of the network."""

    @abstractmethod
    def painter(self, classes: ClassList | None) -> Painter:
        """What draws predictions: a new one for each image and each video, whose frames must come in order.

        `classes`: those of the network; None if it has none.
        """

    def viewer(self, classes: ClassList | None) -> Painter:
        """What draws the pictures that are kept, with what explains them; by default the same."""
        return self.painter(classes)

    @abstractmethod
    def describe(self, folder: Path, classes: ClassList | None, run: str) -> None:
        """Write what the numbers in `folder` / `places.values` mean into a file in `folder`; `run` made them."""


class TaskLoss(Part, ABC):
    """The supervised loss of a task: its settings."""

    name: str
    weight: float
    target: str
    """The target of a batch it compares with."""

    def misfit(self, task: Task) -> str | None:
        """Why the task cannot be learned from it, with what to set; None if it can."""
        return None

    def distilled_misfit(self, soft: bool, weighted: bool) -> str | None:
        """Why it cannot learn from what a teacher predicted, with `soft` targets or pixels `weighted` by confidence.

        A loss that can has `soft` targets beside its own as TARGET_classes and TARGET_probabilities, and the weights of
        pixels as TARGET_weight (Float32 b h w, which multiplies a pixel's loss and leaves the count alone).
        """
        if soft:
            return "soft targets are probabilities of classes: set soft=false"
        return "this loss weighs no pixels: set weigh=false" if weighted else None

    @abstractmethod
    def build(self, task: Task, pixels: Int64[Tensor, " c"] | None) -> TaskCriterion:
        """The loss at work on the output of `task`; `pixels` counts those of every class, where labels are used."""


class TaskCriterion(nn.Module, ABC):
    """The supervised loss of a task at work. Samples without the target count nowhere, without waiting for a device."""

    @abstractmethod
    def forward(self, output: Any, batch: Batch, progress: float) -> SumCount:
        """The loss summed over all that counts, and how much that is, at `progress` 0..1 of the training.

        The target must be in the batch; where no sample counts, (0, 0) with a zero gradient.
        """

    def count(self, batch: Batch) -> Float[Tensor, ""] | None:
        """The count that `forward` will give (0 for a batch without the target), if the data alone tells it.

        Whether it does is the same for every batch: ranks and micro-batches add their counts up.
        """
        return None

    def class_weights(self) -> Float[Tensor, " c"] | None:
        """The weight of every class, for tasks that have classes and a loss that weighs them."""
        return None


def nothing(output: Any) -> SumCount:
    """(0, 0) with a zero gradient, for a batch without the target: ranks and micro-batches must agree on the terms."""
    tensors = output if isinstance(output, list | tuple) else [output]
    total = sum((0 * tensor.float().sum() for tensor in tensors[1:]), 0 * tensors[0].float().sum())
    return total, total.detach().clone()
