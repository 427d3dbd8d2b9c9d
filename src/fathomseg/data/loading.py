"""From sample ids to an endless stream of batches that is a pure function of (seed, step, rank).

Step t of a run takes the global positions t*B .. (t+1)*B-1 of an endless sequence of shuffled epochs. Ranks and
micro-batches share those positions out among themselves, so two processes see together exactly what one would see,
and a resumed run continues by starting the same sequence at its step: there is no loader state to save.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from fathomseg.data.cache import Cache, Prepared
from fathomseg.data.distilled import DistilledReader, as_target, placeholder, target_name
from fathomseg.data.label_counts import label_counts
from fathomseg.data.progressive import SmallFirst
from fathomseg.data.sampling import ByClass, Order, Shuffled
from fathomseg.data.transforms import Geometry, View, cut, cut_label, draws, whole
from fathomseg.errors import FathomError
from fathomseg.types import IGNORE, Batch, Camera, Sample, Size

Disparity = Callable[[str], Float32[np.ndarray, "h w"]]
"""Normalised disparity 0..1 of the whole image of an id at the size of the cache, NaN = not known."""


@dataclass(frozen=True, slots=True)
class BatchSlice:
    """The part of every global batch that one process takes: `rank` of `world`, in `accumulate` micro-batches."""

    batch: int
    """Samples in a whole optimiser step, over all processes and micro-batches."""
    rank: int = 0
    world: int = 1
    accumulate: int = 1
    setting: str = "train.batch"
    """The name of the setting that says `batch`, for the error."""

    def __post_init__(self) -> None:
        parts = self.world * self.accumulate
        if self.batch % parts:
            raise FathomError(
                f"{self.setting} = {self.batch} cannot be shared out over {self.world} processes x {self.accumulate}"
                f" accumulation steps; make it a multiple of {parts}."
            )

    def positions(self, step: int) -> Iterator[list[int]]:
        """The global positions of each of this process's micro-batches in one step."""
        size = self.batch // (self.world * self.accumulate)
        for micro in range(self.accumulate):
            first = step * self.batch + (micro * self.world + self.rank) * size
            yield list(range(first, first + size))


@dataclass(eq=False, repr=False)
class Stream(TorchDataset[Sample]):
    """Samples by global position: position -> id (by shuffled epochs, or another order) -> arrays -> a random view."""

    cache: Cache
    """What holds the arrays at working size, or larger."""
    ids: Sequence[str]
    """The images."""
    kinds: Sequence[Prepared]
    """The arrays of each image that are read."""
    geometry: Geometry
    """Random zoom, crop and flip."""
    seed: int
    """Of order and views."""
    neighbours: Mapping[str, Mapping[int, str]] | None = None
    """For the ids that have some, those of the frames to come along, by their offset in time; cameras come too."""
    cameras: Mapping[str, Camera] | None = None
    """Those of the stored images, in the place of the dataset's own."""
    labels_of: Container[str] | None = None
    """The ids whose labels may be opened; None = all."""
    disparity: Disparity | None = None
    """Gives that of a whole image at the size of the cache."""
    distilled: Mapping[str, DistilledReader] = field(default_factory=dict)
    """What gives a teacher's label, depth or normals, by these names, of the ids that have none of their own."""
    working: Size | None = None
    """The size that zoom and crop refer to, if images are cached larger."""
    with_whole: bool = False
    """Whether samples carry the whole image."""
    order: Order = None  # type: ignore[assignment]  # never None once made
    """Which image comes when; left out, all in shuffled epochs."""
    classes: UInt8[np.ndarray, " 256"] | None = None
    """What each label value of the dataset becomes (`ClassMatch.table`); a teacher's labels are in the training's
    classes."""
    small_first: SmallFirst | None = None
    """The first views are smaller than the others."""

    def __post_init__(self) -> None:
        """Raises `FathomError` if there are no ids."""
        if not self.ids:
            raise FathomError("There is no image to train on: the list of sample ids is empty.")
        self.ids, self.kinds = tuple(self.ids), tuple(self.kinds)
        self.order = self.order or Shuffled(self.ids, self.seed)

    def id_at(self, position: int) -> str:
        """The sample id at a global position of the endless sequence."""
        return self.order.id_at(position)

    def label_pixels(self, classes: int) -> Int64[Tensor, " c"]:
        """Labelled pixels of every class over the whole stream, each image counted once, as it is cached; a teacher's
        labels count where they stand in for an image's own."""
        return torch.from_numpy(self.label_counts[:classes].copy())

    def drawn_pixels(self, classes: int) -> Int64[Tensor, " c"]:
        """The same, each image counted as often as it comes on average among as many as there are."""
        if not isinstance(self.order, ByClass):
            return self.label_pixels(classes)
        often, counts = self.order.frequencies, self.label_counts_by_id
        drawn = sum((len(self.ids) * often.get(id, 0.0) * counts[id] for id in self.ids), start=np.zeros(256))
        return torch.from_numpy(drawn[:classes].round().astype(np.int64))

    @cached_property
    def label_counts(self) -> Int64[np.ndarray, " 256"]:
        """Pixels of every label value over the whole stream, each image counted once, as it is cached."""
        return sum(self.label_counts_by_id.values(), start=np.zeros(256, dtype=np.int64))

    @cached_property
    def label_counts_by_id(self) -> dict[str, Int64[np.ndarray, " 256"]]:
        """Pixels of every label value in each of `ids`, as it is cached."""
        return self._counted(None)

    def count_labels(self, progress: Callable[[int, int], None]) -> None:
        """Find out `label_counts_by_id`, which takes a while; `progress` is called with (done, total)."""
        self.label_counts_by_id = self._counted(progress)

    def _counted(self, progress: Callable[[int, int], None] | None) -> dict[str, Int64[np.ndarray, " 256"]]:
        told = [id for id in self.ids if not self._hidden(id)]
        classes = None if self.classes is None else self.classes.tolist()
        kept = None if self.distilled else self.cache.entry_of_all(told, "label", f"pixels|{self.ids}|{classes}")
        return label_counts(self.ids, self._label_or_teachers, kept, progress)

    def _label_or_teachers(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Its label, or else a teacher's."""
        label = self._label(id)
        if label is None and "label" in self.distilled:
            label = (self.distilled["label"](id) or {}).get("label")
        return label

    def __getstate__(self) -> dict[str, Any]:
        """Without the counts of labels, megabytes that no worker of a loader needs."""
        return {key: value for key, value in self.__dict__.items() if not key.startswith("label_counts")}

    def __getitem__(self, position: int) -> tuple[int, Sample]:  # type: ignore[override]
        """The random key and the augmented sample at a global position."""
        id = self.id_at(position)
        key, rng = draws(self.seed, position)
        sample = self._sample(id)
        view, tries = self._view(sample.size, rng, position), 1
        # Only what shows enough of a class by its label is cut whole.
        while not self.order.accepts(position, partial(cut_label, sample.label, view), tries):
            view, tries = self._view(sample.size, rng, position), tries + 1
        return key, self._cut(sample, view)

    def _view(self, size: Size, rng: np.random.Generator, position: int) -> View:
        """A random view of an image of this size."""
        view = self.geometry.draw(size, rng, self.working)
        return view if self.small_first is None else self.small_first(view, position)

    def _cut(self, sample: Sample, view: View) -> Sample:
        """What a view shows of a sample."""
        seen = cut(sample, view)
        if not self.with_whole:
            return seen
        size = self.geometry.whole_size(self.working or sample.size, sample.size)
        return replace(seen, whole=whole(sample.image, size), view=view.theta(sample.size))

    def _hidden(self, id: str) -> bool:
        """Whether its label must not be opened."""
        return self.labels_of is not None and id not in self.labels_of

    def _label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Its label in the classes that are learned; None if it has none or it must not be opened."""
        label = None if self._hidden(id) else self.cache.read(id, "label")
        return label if label is None or self.classes is None else self.classes[label]

    def _sample(self, id: str) -> Sample:
        """What is known of one id at the size of the cache, as far as this stream wants it."""
        arrays = {kind: self.cache.read(id, kind) for kind in self.kinds if kind != "label"}
        label = self._label(id) if "label" in self.kinds else None
        image = arrays["image"]
        assert image is not None, f"{id} has no image"
        disparity = None if self.disparity is None else self.disparity(id)
        depth, normals = arrays.get("depth"), arrays.get("normals")
        sample = Sample(id, image, label=label, depth=depth, disparity=disparity, normals=normals)
        sample = self._with_distilled(sample)
        if self.neighbours is None or id not in self.neighbours:
            return sample
        frames = {offset: self.cache.read(other, "image") for offset, other in self.neighbours[id].items()}
        camera = self.cache.dataset.camera(id) if self.cameras is None else self.cameras[id]
        if camera is None:
            raise FathomError(f"{id} has no camera, which learning depth needs; add a camera.yaml (docs/data.md).")
        known = {offset: frame for offset, frame in frames.items() if frame is not None}
        return replace(sample, frames=known, camera=camera.resized(sample.size))

    def _with_distilled(self, sample: Sample) -> Sample:
        """What the sample lacks, as far as a teacher has predicted it."""
        lacking = [name for name in self.distilled if getattr(sample, name) is None]
        found = {key: array for name in lacking for key, array in (self.distilled[name](sample.id) or {}).items()}
        return replace(sample, distilled=found) if found else sample


class Steps(Sampler[list[int]]):
    """The micro-batches of one process, from step `start` up to `stop`."""

    def __init__(self, part: BatchSlice, start: int, stop: int) -> None:
        self.part, self.start, self.stop = part, start, stop

    def __iter__(self) -> Iterator[list[int]]:
        """Lists of global positions."""
        for step in range(self.start, self.stop):
            yield from self.part.positions(step)

    def __len__(self) -> int:
        return max(0, self.stop - self.start) * self.part.accumulate


def collate(items: Sequence[tuple[int, Sample]]) -> Batch:
    """Stack samples. A target is in the batch if any sample has it; the rows of the others say nothing."""
    keys, samples = zip(*items, strict=True)
    image = np.stack([sample.image for sample in samples]).transpose(0, 3, 1, 2)
    stacked = {
        "label": _stack([s.label for s in samples], lambda i: np.full(samples[i].size, IGNORE, np.uint8)),
        "depth": _stack([_plane(s.depth) for s in samples], lambda i: np.zeros((1, *samples[i].size), np.float32)),
        "disparity": _stack(
            [_plane(s.disparity) for s in samples], lambda i: np.full((1, *samples[i].size), np.nan, np.float32)
        ),
        "normals": _stack(
            [None if s.normals is None else np.moveaxis(s.normals, -1, 0) for s in samples],
            lambda i: np.zeros((3, *samples[i].size), np.float32),
        ),
        "frames": _stack([_frames(s) for s in samples], lambda i: _repeated(samples, i)),
        "camera": _stack(
            [None if s.camera is None else s.camera.matrix().astype(np.float32) for s in samples],
            lambda i: np.eye(3, dtype=np.float32),
        ),
        "whole": _stack(
            [None if s.whole is None else np.moveaxis(s.whole, -1, 0) for s in samples],
            lambda i: np.moveaxis(samples[i].image, -1, 0),
        ),
        "view": _stack([s.view for s in samples], lambda i: np.eye(2, 3, dtype=np.float32)),
    }
    for name in sorted({name for sample in samples for name in sample.distilled}):
        stacked[target_name(name)] = _stack(
            [as_target(name, s.distilled[name]) if name in s.distilled else None for s in samples],
            lambda i, name=name: placeholder(name, samples),  # type: ignore[misc]
        )
    valid = _stack([s.valid for s in samples], lambda i: np.ones(samples[i].size, dtype=np.bool_))
    found = {name: pair for name, pair in stacked.items() if pair is not None}
    return Batch(
        ids=tuple(sample.id for sample in samples),
        keys=tuple(keys),
        image=torch.from_numpy(image).contiguous(memory_format=torch.channels_last),
        targets={name: target for name, (target, _) in found.items()},
        present={name: which for name, (_, which) in found.items()},
        valid=None if valid is None else valid[0],
    )


def _stack(
    arrays: Sequence[Shaped[np.ndarray, "..."] | None], placeholder: Callable[[int], Shaped[np.ndarray, "..."]]
) -> tuple[Tensor, Bool[Tensor, " b"]] | None:
    """The arrays of a batch, and which samples have one; None if no sample has."""
    there = [array is not None for array in arrays]
    if not any(there):
        return None
    filled = [placeholder(i) if array is None else array for i, array in enumerate(arrays)]
    return torch.from_numpy(np.stack(filled)), torch.tensor(there)


def _plane(array: Float32[np.ndarray, "h w"] | None) -> Float32[np.ndarray, "1 h w"] | None:
    return None if array is None else array[None]


def _frames(sample: Sample) -> UInt8[np.ndarray, "s 3 h w"] | None:
    """The neighbouring frames in the order of time."""
    if not sample.frames:
        return None
    return np.ascontiguousarray(np.moveaxis(np.stack([sample.frames[o] for o in sorted(sample.frames)]), -1, -3))


def _repeated(samples: Sequence[Sample], index: int) -> UInt8[np.ndarray, "s 3 h w"]:
    """The image itself in the place of every neighbour that other samples have."""
    count = max(len(sample.frames) for sample in samples)
    return np.repeat(np.moveaxis(samples[index].image, -1, 0)[None], count, axis=0)


def loader(stream: Stream, steps: Steps, workers: int, pin: bool) -> DataLoader[Batch]:
    """The data loader of one stream. Workers live as long as the run, since the sequence of epochs has no end."""
    return DataLoader(
        stream,  # type: ignore[arg-type]
        batch_sampler=steps,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers > 0 else None,
        multiprocessing_context="forkserver" if workers > 0 else None,
        worker_init_fn=_quiet_worker,
    )


def _quiet_worker(_: int) -> None:
    """One thread a worker: OpenCV and torch would otherwise start as many as there are cores in each of them."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
