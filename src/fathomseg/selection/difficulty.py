"""How hard images are: the error of a small depth student, trained on the images chosen so far, against its teacher.

Hoyer et al. 2021 (arXiv:2012.10782), section 3.4. No label is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from pydantic import PositiveInt, field_validator, model_validator
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.config.bounds import Fraction, Share
from fathomseg.data.colour import ColourJitter
from fathomseg.data.loading import Stream
from fathomseg.data.transforms import Geometry
from fathomseg.depth_sources import AnyDepthSource, DisparityMaps, prepare
from fathomseg.engine.checkpoint import FILE as CHECKPOINT
from fathomseg.engine.loop import Loop, Trainer, accelerator
from fathomseg.engine.optimiser import Optimiser
from fathomseg.engine.step import Step
from fathomseg.errors import FathomError
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predictor import Predictor
from fathomseg.io.array_store import mapped, store
from fathomseg.io.files import write_text
from fathomseg.io.prefetch import ahead
from fathomseg.io.progress import named, say
from fathomseg.losses.segmentation import upsample
from fathomseg.models.decoders import DepthUNet
from fathomseg.models.network import Network
from fathomseg.objectives.base import Setup
from fathomseg.objectives.supervised import Supervised
from fathomseg.selection.pool import Pool
from fathomseg.selection.result import pool_hash
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.depth_loss import DepthLoss
from fathomseg.tasks.network import NetworkConfig

_BATCH: Final = 16
_ASKED: Final = "asked.json"
_ERRORS: Final = "errors.npy"


class Student(Part):
    """The depth network that is trained anew at every stage, to predict its teacher's disparity."""

    network: NetworkConfig = NetworkConfig(tasks={"depth": Depth(decoder=DepthUNet(stride=2, norms=True), scales=1)})
    """Encoder (from its pretrained weights) and the branch for depth: with norms, as the students of Hoyer et al. have
    them, since without them so few steps learn little; without its costliest level; of one scale, the only one used."""
    loss: DepthLoss = DepthLoss(target="disparity")
    """BerHu against the teacher's disparity, at its resolution."""
    geometry: Geometry = Geometry(scale=(1.0, 1.0))
    """Random crop and flip of image and disparity."""
    colour: ColourJitter | None = None
    """Random colours of the images; null = none."""
    ema_decay: Fraction = 0.9
    """Decay of the averaged weights, by which images are compared; low, since students train briefly."""
    optimiser: Optimiser = Optimiser()
    """Optimiser and learning rate."""
    steps: PositiveInt = 100
    """Optimiser steps of the first student; the second gets twice as many, the third three times, and so on. Meant for
    a CPU; Hoyer et al. take 4000 at batch 2 and 512 x 512 pixels."""
    batch: PositiveInt = 4
    """Images in one step."""

    @model_validator(mode="after")
    def _of_depth(self) -> Self:
        if set(self.network.tasks) != {"depth"}:
            raise ValueError(f"a student learns depth alone: network.tasks has {', '.join(self.network.tasks)}")
        if self.loss.target != "disparity":
            raise ValueError(f"a student learns its teacher's disparity: loss.target is {self.loss.target!r}")
        return self

    def step(self, network: Network, steps: int) -> Step:
        """The training step on a stream `images`, whose samples have the teacher's disparity."""
        supervised = Supervised(stream="images", losses={"depth": self.loss})
        objective = supervised.build(Setup(self.network, steps), network, nn.ModuleDict())
        return Step(
            network,
            {"supervised": objective},
            {"images": ("supervised",)},
            {"images": self.colour},
            ema_decay=self.ema_decay,
        )


class IgnoredRegions(Part):
    """Regions where the student's error says nothing about difficulty."""

    far: Share = 0.07
    """Teacher's disparities below this do not count: the sky, and cars driving ahead, which look infinitely far to a
    teacher that learned from video. 0 = all count."""
    dilation: PositiveInt = 7
    """Side of the square, in pixels at working size, by which those places are enlarged; odd."""
    hood: Fraction = 0.13
    """Share of the height, from the bottom, that shows the ego-vehicle's hood; neither learned nor counted."""

    @field_validator("dilation")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"dilation must be odd, such as {side + 1}")
        return side

    def first_row(self, height: int) -> int:
        """The first row of the hood, in an image of this many rows."""
        return height - round(self.hood * height)

    def error(self, student: Float[Tensor, "b 1 h w"], teacher: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """E of each image: |log(1 + student) - log(1 + teacher)|, 0 where it does not count, averaged over all pixels.

        Disparities are 0..1; NaN of the teacher's is not known and does not count.
        """
        counts = ~teacher.isnan()
        counts &= F.max_pool2d((teacher < self.far).float(), self.dilation, 1, self.dilation // 2) == 0
        counts[:, :, self.first_row(teacher.shape[2]) :] = False
        difference = (student.log1p() - teacher.log1p()).abs()
        return torch.where(counts, difference, 0.0).mean((1, 2, 3))


@dataclass(frozen=True)
class TeacherMaps:
    """The teacher's disparity as a student learns it: NaN on the car itself."""

    maps: DisparityMaps
    ignored_regions: IgnoredRegions

    def __call__(self, id: str) -> Float32[np.ndarray, "h w"]:
        """Normalised disparity 0..1 of one image at working size."""
        disparity = self.maps(id)
        disparity[self.ignored_regions.first_row(len(disparity)) :] = np.nan
        return disparity


@dataclass(frozen=True)
class StudentError:
    """Trains students and measures their error on the pool."""

    pool: Pool
    student: Student
    ignored_regions: IgnoredRegions
    teacher: TeacherMaps

    @classmethod
    def of(cls, pool: Pool, source: AnyDepthSource, student: Student, ignored_regions: IgnoredRegions) -> StudentError:
        """Prepares the teacher's maps of the whole pool. Raises `DataError` if images have none."""
        maps = prepare(
            source,
            pool.dataset,
            pool.ids,
            pool.size,
            device=pool.place,
            progress=named(pool.progress, "depth maps"),
            team=pool.team,
        )
        return cls(pool, student, ignored_regions, TeacherMaps(maps, ignored_regions))

    def errors(self, labelled: Sequence[str], stage: int) -> Float32[np.ndarray, " n"]:
        """E of every image of the pool, by a student trained on `labelled`; `stage` counts students from 1.

        A finished or interrupted stage of the same images, teacher and student is taken up where it stopped. Raises
        `FathomError` if the student diverged.
        """
        folder = self.pool.folder / f"{len(labelled):06d}"
        depends = {
            "learned from": sorted(labelled),
            "judged": list(self.pool.ids),
            "images": pool_hash(self.pool.dataset, self.pool.ids),
            "teacher": self.teacher.maps.key,
            "student": self.student.model_dump(mode="json"),
            "ignored regions": self.ignored_regions.model_dump(mode="json"),
            "stage": stage,
            "seed": self.pool.seed,
            "size": list(self.pool.size),
        }
        asked = json.dumps(depends, indent=0)
        notes = folder / _ASKED
        if not notes.is_file() or notes.read_text(encoding="utf-8") != asked:
            folder.mkdir(parents=True, exist_ok=True)
            for stale in (CHECKPOINT, _ERRORS):
                (folder / stale).unlink(missing_ok=True)
            write_text(notes, asked)
        if not (folder / _ERRORS).is_file():
            say(f"Stage {stage}: a depth student learns from {len(labelled)} images")
            store(folder / _ERRORS, self._judge(self._trained(sorted(labelled), stage, folder)))
        errors: Float32[np.ndarray, " n"] = np.array(mapped(folder / _ERRORS))
        return errors

    def _trained(self, labelled: Sequence[str], stage: int, folder: Path) -> Network:
        """The student's averaged network."""
        pool, student = self.pool, self.student
        resume = (folder / CHECKPOINT).is_file()
        loop = Loop(
            steps=student.steps * stage, batch=student.batch, device=pool.device, threads=pool.threads, log_every=50
        )
        torch.manual_seed(pool.seed)
        step = student.step(student.network.build(pretrained=not resume), loop.steps)
        stream = Stream(pool.cache, labelled, ("image",), student.geometry, pool.seed, disparity=self.teacher)
        trainer = Trainer(step, {"images": stream}, loop, student.optimiser, folder, pool.seed, accelerator(loop))
        if resume:
            trainer.resume()
        trainer.run(0, None)
        return step.ema.network

    def _judge(self, network: Network) -> Float32[np.ndarray, " n"]:
        pool = self.pool
        device = next(network.parameters()).device
        predictor = Predictor(network, ModelCard(network=self.student.network, size=pool.size), device)
        batches = [pool.ids[start : start + _BATCH] for start in range(0, len(pool.ids), _BATCH)]
        errors: list[Tensor] = []
        tell = named(pool.progress, "errors of the depth student")
        for _, reading in ahead(self._read, batches):
            images, teacher = reading.result()
            student = upsample(predictor.maps(images)["depth"], pool.size)
            errors.append(self.ignored_regions.error(student, teacher.to(device)).cpu())
            if tell is not None:
                tell(min(len(errors) * _BATCH, len(pool.ids)), len(pool.ids))
        found: Float32[np.ndarray, " n"] = torch.cat(errors).numpy()
        if not np.isfinite(found).all():
            raise FathomError("The depth student gives NaN. Lower criterion.student.optimiser.lr and start again.")
        return found

    def _read(self, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Images (b 3 h w) and the teacher's disparity (b 1 h w)."""
        images = torch.from_numpy(self.pool.read(ids)).permute(0, 3, 1, 2)
        return images, torch.from_numpy(np.stack([self.teacher(id) for id in ids]))[:, None]
