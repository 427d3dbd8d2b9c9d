"""Teachers: what predicts the missing modality. Here a run of ours or a file of `fathom export`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from fathomseg.config import Part
from fathomseg.data.class_match import ClassMatch
from fathomseg.distillation.predictions import Predictions, agreement, labels
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, WEIGHTS, Weights
from fathomseg.inference.onnx import is_onnx
from fathomseg.inference.predictor import load, stacked
from fathomseg.inference.settings import trained_inference
from fathomseg.io.depth_maps import DepthUnit
from fathomseg.io.files import digest
from fathomseg.types import Size

TaskName = Literal["segmentation", "depth", "normals"]
Picture = UInt8[np.ndarray, "h w 3"]


class TeacherNote(Part):
    """Which teacher it was; the same text means the same predictions."""

    kind: Literal["run", "onnx", "huggingface"]
    source: str
    """The run folder, the file, or the model's name on the hub, as given."""
    revision: str | None = None
    """The commit on the hub."""
    weights: str
    """A hash of the files that hold settings and weights."""
    settings: dict[str, Any]
    """How it predicted: size, windows, mirror ..."""


class Teacher(ABC):
    """Predicts one modality of images of any size."""

    note: TeacherNote
    target: Literal["label", "depth", "disparity", "normals"]
    """What it gives. disparity: the larger the nearer, of unknown scale and offset."""
    unit: DepthUnit | None = None
    """What its depth is measured in."""
    has_confidence: bool
    classes: tuple[str, ...] = ()
    """Those it tells apart."""

    @abstractmethod
    def predict(self, images: Sequence[Picture], match: ClassMatch | None, soft: bool) -> list[Predictions]:
        """The predictions for each image at its size; `match` of a teacher of classes."""


class RunTeacher(Teacher):
    """The network of a run, or one that `fathom export` wrote, with the inference settings of `fathom predict`."""

    def __init__(
        self,
        run: str,
        task: TaskName,
        weights: Weights,
        device: str | None,
        flip: bool,
        overrides: Sequence[str] = (),
    ) -> None:
        """`overrides` are of evaluation.inference. Raises `FathomError` if it has no such task, or tiles are asked."""
        folder = Path(run)
        inference = trained_inference(folder, None, flip, overrides)
        self.predictor = load(folder, weights, device, inference, (task,))
        self.task = self.predictor.tasks[task]
        if inference.mode == "tiles" and self.task.windowed:
            raise FathomError(f"{run} predicts in tiles, as no teacher can; give evaluation.inference.mode=slide.")
        self.flip = inference.flip
        self.target = {"segmentation": "label", "depth": "depth", "normals": "normals"}[task]  # type: ignore[assignment]
        self.unit = self.predictor.card.depth_unit if task == "depth" else None
        self.has_confidence = task == "segmentation" or self.flip
        self.classes = self.predictor.card.classes if task == "segmentation" else ()
        weighed = self.predictor.card.class_weights if task == "segmentation" else ()
        self.class_weights = torch.tensor(weighed).view(-1, 1, 1) if weighed else None
        """Those that its training gave the classes, which a student gives them itself."""
        exported = is_onnx(folder)
        files = [folder] if exported else [folder / CARD, folder / WEIGHTS[weights]]
        self.note = TeacherNote(
            kind="onnx" if exported else "run",
            source=run,
            weights=digest(files),
            settings={
                **inference.model_dump(mode="json"),
                "working_size": list(self.predictor.size),
                "proportions": "kept",  # before, images were stretched to the working size
                "precision": self.predictor.precision,
                **({"class_weights": "taken off"} if self.class_weights is not None else {}),
            },
        )

    def predict(self, images: Sequence[Picture], match: ClassMatch | None, soft: bool) -> list[Predictions]:
        """One pass for all images of a working size, two with the mirror."""
        rows: dict[Size, list[int]] = {}
        for row, image in enumerate(images):
            rows.setdefault(self.predictor.size_for((image.shape[0], image.shape[1])), []).append(row)
        found: dict[int, Predictions] = {}
        for size, own in rows.items():
            found |= zip(own, self._at(size, [images[row] for row in own], match, soft), strict=True)
        return [found[row] for row in range(len(images))]

    def _at(self, working: Size, images: Sequence[Picture], match: ClassMatch | None, soft: bool) -> list[Predictions]:
        stack = stacked(images, working)
        sizes = [image.shape[:2] for image in images]
        if self.target == "label":
            assert match is not None, "classes are matched"
            maps = self.predictor.maps(stack)[self.task.name]
            if self.class_weights is not None:  # softmax(maps) is proportional to weight * P (`logit_adjusted`)
                maps = maps - self.class_weights.log().to(maps.device)
            return [labels(one, size, match, soft) for one, size in zip(maps, sizes, strict=True)]
        views = self.predictor.views(self.predictor.inputs(stack), [self.task.name])
        predictions = self._decoded(self.predictor.merged(views, working), sizes)
        if self.flip:  # the agreement with the mirror is the confidence
            for prediction, *both in zip(predictions, *(self._decoded(view, sizes) for view in views), strict=True):
                a, b = (torch.from_numpy(one[self.target]) for one in both)
                sure = agreement(a, b) if self.target == "depth" else (a * b).sum(2).clamp(0, 1)
                prediction[f"{self.target}_confidence"] = sure.numpy()
        return predictions

    def _decoded(self, maps: Mapping[str, Float32[Tensor, "b _ _ _"]], sizes: Sequence[Size]) -> list[Predictions]:
        own = zip(maps[self.task.name], sizes, strict=True)
        return [{self.target: self.task.decode(one, size)[self.target].cpu().numpy()} for one, size in own]
