"""Teachers of Hugging Face's `transformers` (the extra `hf`): models for semantic segmentation and for depth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from fathomseg.data.class_match import ClassMatch
from fathomseg.data.datasets.base import Dataset
from fathomseg.depth_sources.huggingface import (
    HuggingFaceDepth,
    HuggingFaceReader,
    declared,
    load_pretrained,
    model_files,
    model_folder,
    require_transformers,
)
from fathomseg.distillation.predictions import Predictions, agreement, labels
from fathomseg.distillation.teachers import Picture, Teacher, TeacherNote
from fathomseg.errors import FathomError
from fathomseg.inference.device import pick_device
from fathomseg.io.files import digest
from fathomseg.models.compat import ensure_timm_imports
from fathomseg.text import at_home
from fathomseg.types import Size

PREFIX = "hf:"
"""What a teacher of Hugging Face's begins with: hf:OWNER/NAME, hf:OWNER/NAME@REVISION, hf:FOLDER."""


def located(text: str) -> tuple[str, str | None, Path]:
    """The model's name, its revision and its folder, fetched if need be. Raises `FathomError`."""
    require_transformers(f"The teacher {text}")
    given = text.removeprefix(PREFIX)
    name, _, revision = given.partition("@") if not at_home(given).is_dir() else (given, "", "")
    folder = model_folder(name, revision or None)
    commit = folder.name if folder.parent.name == "snapshots" else None
    return name, commit or revision or None, folder


def _note(text: str, settings: dict[str, Any]) -> tuple[TeacherNote, Path]:
    name, revision, folder = located(text)
    weights = digest(model_files(folder, name))
    return TeacherNote(kind="huggingface", source=name, revision=revision, weights=weights, settings=settings), folder


class HuggingFaceLabels(Teacher):
    """A model for semantic segmentation that gives logits of every pixel: SegFormer, UperNet, DPT, BEiT ..."""

    target = "label"
    has_confidence = True

    def __init__(self, text: str, device: str | None, flip: bool) -> None:
        """Raises `FathomError` if the model cannot be had, or is of another kind."""
        self.note, folder = _note(text, {"flip": flip})
        self.flip, self.device = flip, pick_device(device)
        self.processor, network = load_pretrained(
            folder, self.note.source, "SemanticSegmentation", "semantic segmentation"
        )
        self.network = network.to(self.device).eval()
        if getattr(self.processor, "do_center_crop", False):
            # Logits are stretched over the whole image, so all of it has to be seen.
            self.processor.do_center_crop = False
            self.note = self.note.model_copy(update={"settings": {**self.note.settings, "center_crop": False}})
        names = self.network.config.id2label
        self.classes = tuple(str(names[index]) for index in range(len(names)))

    def predict(self, images: Sequence[Picture], match: ClassMatch | None, soft: bool) -> list[Predictions]:
        """One pass for images of one size that come together, since a processor may keep the shape of each."""
        assert match is not None, "classes are matched"
        found: list[Predictions] = []
        for size, alike in groupby(images, key=lambda image: image.shape[:2]):
            found += [labels(one, size, match, soft) for one in self._logits(list(alike), size)]
        return found

    @torch.inference_mode()
    def _logits(self, images: list[Picture], size: Size) -> Float32[Tensor, "b c _ _"]:
        """Of images of one size; or log-probabilities of the mean with their mirrors, at that size."""
        seen = self._run(images)
        if not self.flip:
            return seen
        views = seen, self._run([np.ascontiguousarray(image[:, ::-1]) for image in images]).flip(3)
        wide = [F.interpolate(view, size, mode="bilinear", align_corners=False).softmax(1) for view in views]
        return ((wide[0] + wide[1]) / 2).clamp(min=1e-30).log()

    def _run(self, images: list[Picture]) -> Float32[Tensor, "b c _ _"]:
        inputs = self.processor(images=images, return_tensors="pt", input_data_format="channels_last").to(self.device)
        logits: Tensor = self.network(**inputs).logits.float()
        if logits.shape[1] != len(self.classes):
            raise FathomError(
                f"{self.note.source} gives {logits.shape[1]} channels but names {len(self.classes)} classes (id2label)."
            )
        return logits


class HuggingFaceMaps(Teacher):
    """A model for depth estimation, as the depth source `huggingface` asks it. Relative models give disparity."""

    def __init__(
        self,
        text: str,
        dataset: Dataset,
        device: str | None,
        flip: bool,
        gives: Literal["depth", "disparity"] | None = None,
    ) -> None:
        """`gives`: what the model gives, if its config.json does not say. Raises `FathomError` for a contradiction."""
        note, folder = _note(text, {"flip": flip})
        self.flip, self.target = flip, gives or _declared(folder) or "disparity"
        self.note = note.model_copy(update={"settings": {"flip": flip, "gives": self.target}})
        self.unit = "metres" if self.target == "depth" else "relative"
        self.has_confidence = flip and self.target == "depth"
        source = HuggingFaceDepth(model=str(folder), gives=self.target)
        self.reader = HuggingFaceReader(source, folder, dataset, device)

    def predict(self, images: Sequence[Picture], match: ClassMatch | None, soft: bool) -> list[Predictions]:
        """Depth in metres (0 where it is not positive), or disparity as the model gives it."""
        maps = self.reader.given(images)
        if not self.flip:
            return [{self.target: self._valid(one)} for one in maps]
        other = self.reader.given([np.ascontiguousarray(image[:, ::-1]) for image in images])
        return [self._mean(one, mirrored[:, ::-1]) for one, mirrored in zip(maps, other, strict=True)]

    def _mean(self, one: Float32[np.ndarray, "h w"], other: Float32[np.ndarray, "h w"]) -> Predictions:
        prediction: Predictions = {self.target: self._valid((one + other) / 2)}
        if self.target == "depth":
            sure = agreement(torch.from_numpy(one), torch.from_numpy(np.ascontiguousarray(other)))
            prediction["depth_confidence"] = sure.numpy()
        return prediction

    def _valid(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        if self.target == "disparity":
            return values
        return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))


def _declared(folder: Path) -> Literal["depth", "disparity"] | None:
    ensure_timm_imports()  # transformers imports torchvision, as timm does
    from transformers import AutoConfig

    try:
        return declared(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    except (OSError, ValueError, KeyError) as error:
        raise FathomError(f"{folder / 'config.json'} is no settings of a model of transformers: {error}") from None
