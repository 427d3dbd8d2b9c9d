"""The data that flows through the program: every shape, unit and value range stated once.

Conventions held everywhere:

* images are RGB; uint8 0..255 outside the network, float32 0..1 inside it;
* labels are uint8 class indices 0..C-1, and 255 means "ignore";
* depth is z-depth in metres (float32), 0 means "invalid"; disparity is always called disparity;
* sizes are (height, width) in pixels; pixel centres lie at integer coordinates, so the image spans -0.5 .. width-0.5;
* transforms are named target-first: `point_cam = cam_T_world @ point_world`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Shaped, UInt8
from torch import Tensor

from fathomseg.errors import FathomError

IGNORE: Final = 255
"""The label value of pixels that count nowhere."""

SumCount = tuple[Float[Tensor, ""], Float[Tensor, ""]]
"""A loss: its sum, and how many pixels or images it was summed over."""

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset in the order of their indices, with the colour (RGB, 0..255) each is drawn in."""

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...] = field(default=(), compare=False)
    """What a label file stores for each class; none = its index. For files alone: in memory labels are indices."""
    by_colour: bool = field(default=False, compare=False)
    """Whether label files store the colours instead."""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colours):
            raise FathomError(
                f"{len(self.names)} class names but {len(self.colours)} colours; give one colour a class."
            )
        if self.ids and len(self.ids) != len(self.names):
            raise FathomError(f"{len(self.names)} class names but {len(self.ids)} ids; give one id a class.")
        if not 2 <= len(self.names) <= 254:
            raise FathomError(f"A class list needs 2 to 254 classes, but this one has {len(self.names)}.")

    @classmethod
    def of(cls, colours: Mapping[str, tuple[int, int, int]]) -> ClassList:
        """The classes in this order, by their names."""
        return cls(tuple(colours), tuple(colours.values()))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def stored_ids(self) -> tuple[int, ...]:
        """The id of each class in label files: `ids`, or else the indices."""
        return self.ids or tuple(range(len(self.names)))

    @cached_property
    def palette(self) -> UInt8[np.ndarray, "256 3"]:
        """The colour of every label value; ignored pixels are black."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self.colours)] = self.colours
        return table


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera for images of `height` x `width` pixels: u = fx * x / z + cx, v = fy * y / z + cy, in pixels.

    x points right, y down, z forward. Pixel centres lie at integer coordinates.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int

    def resized(self, size: Size) -> Camera:
        """The camera of the image resampled to `size`; pixel edges, not centres, stay aligned."""
        sy, sx = size[0] / self.height, size[1] / self.width
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return Camera(self.fx * sx, self.fy * sy, cx, cy, *size)

    def cropped(self, top: int, left: int, size: Size) -> Camera:
        """The camera of the window of `size` whose first pixel is (top, left); both may be negative (padding)."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, height=size[0], width=size[1])

    def flipped(self) -> Camera:
        """The camera of the image mirrored left to right. The vertical principal point does not move."""
        return replace(self, cx=self.width - 1 - self.cx)

    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """The intrinsic matrix K, float64, in pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and what is known about it. What is not known is None (or not in `frames`), never a placeholder."""

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"] | None = None
    depth: Float32[np.ndarray, "h w"] | None = None
    """z-depth in metres, 0 = invalid."""
    camera: Camera | None = None
    frames: Mapping[int, UInt8[np.ndarray, "h w 3"]] = field(default_factory=dict)
    """Neighbouring video frames by their offset in time (-1 = the frame before)."""
    disparity: Float32[np.ndarray, "h w"] | None = None
    """Normalised disparity 0..1, 1 = nearest, on one scale for the whole image it was cut from; NaN = not known."""
    normals: Float32[np.ndarray, "h w 3"] | None = None
    """Unit vectors in the camera's frame towards the camera, 0 0 0 = not known."""
    distilled: Mapping[str, Shaped[np.ndarray, "h w ..."]] = field(default_factory=dict)
    """What a teacher predicted, of what is not known of the image itself, by its name in `data.distilled`."""
    valid: Bool[np.ndarray, "h w"] | None = None
    """Where the image shows a part of the photograph, as padding does not. None = everywhere."""
    whole: UInt8[np.ndarray, "h2 w2 3"] | None = None
    """The whole image that this one is a view of, if it is wanted."""
    view: Float32[np.ndarray, "2 3"] | None = None
    """Where the pixels of this view lie in the whole image, as `F.affine_grid(..., align_corners=False)` takes it."""

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size, stacked. Tensors live on one device; `keys` and `present` stay on the host."""

    ids: tuple[str, ...]
    keys: tuple[int, ...]
    """One random key a sample: every random choice made for it later is a pure function of its key."""
    image: UInt8[Tensor, "b 3 h w"]
    targets: Mapping[str, Shaped[Tensor, "b ..."]] = field(default_factory=dict)
    """What is known of the images, by name; a name is there if any sample has it:

    "label"      UInt8 (b h w)        class indices, 255 = ignore
    "depth"      Float32 (b 1 h w)    z-depth in metres, 0 = invalid
    "disparity"  Float32 (b 1 h w)    normalised disparity 0..1, 1 = nearest; NaN = not known
    "normals"    Float32 (b 3 h w)    unit vectors in the camera's frame (x right, y down, z forward), 0 0 0 = not known
    "frames"     UInt8 (b s 3 h w)    neighbouring video frames in the order of time, the image itself left out
    "camera"     Float32 (b 3 3)      matrix K of the pinhole camera in the image's pixels; the frames share it
    "whole"      UInt8 (b 3 h2 w2)    the whole images that these are views of
    "view"       Float32 (b 2 3)      where a view's pixels lie in its whole image (theta of F.affine_grid)

    and what a teacher predicted for samples that lack label, depth or normals:

    "distilled_label", "distilled_depth", "distilled_normals"   in the form of the above
    "distilled_label_confidence" ...         Float32 (b h w)    0..1, how sure the teacher is of each pixel
    "distilled_label_classes"                UInt8 (b k h w)    its most probable classes, the first one first
    "distilled_label_probabilities"          Float32 (b k h w)  and their probabilities

    The rows of samples that lack it say nothing: 255, 0, NaN, 0, the image itself, the identity."""
    present: Mapping[str, Bool[Tensor, " b"]] = field(default_factory=dict)
    """For every target which samples have it. On the host, so that to choose by it never waits for a device."""
    valid: Bool[Tensor, "b h w"] | None = None
    """Where the images show a part of the photograph, as padding does not. None = everywhere."""

    def __len__(self) -> int:
        return len(self.ids)

    def has(self, *targets: str) -> bool:
        """Whether any sample has all of these targets."""
        return all(name in self.targets for name in targets) and bool(self._having(targets).any())

    def rows(self, *targets: str) -> list[int]:
        """The samples that have all of these targets."""
        return self._having(targets).nonzero().flatten().tolist() if self.has(*targets) else []

    def take(self, rows: Sequence[int]) -> Batch:
        """These samples in this order; the batch itself if they are all of it."""
        if list(rows) == list(range(len(self))):
            return self
        index = torch.tensor(rows)
        there = index.to(self.image.device, non_blocking=True)
        return Batch(
            ids=tuple(self.ids[row] for row in rows),
            keys=tuple(self.keys[row] for row in rows),
            image=self.image[there],
            targets={name: target[there] for name, target in self.targets.items()},
            present={name: which[index] for name, which in self.present.items()},
            valid=None if self.valid is None else self.valid[there],
        )

    def to(self, device: object) -> Batch:
        """The same batch on another device; copies from pinned memory do not block the host."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))  # type: ignore[call-overload]

    def pin_memory(self) -> Batch:
        """The same batch in pinned host memory, called by the data loader where there is a GPU."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        targets = {name: change(target) for name, target in self.targets.items()}
        valid = None if self.valid is None else change(self.valid)
        return replace(self, image=change(self.image), targets=targets, valid=valid)

    def _having(self, targets: Sequence[str]) -> Bool[Tensor, " b"]:
        return torch.stack([self.present[name] for name in targets]).all(dim=0)


@dataclass(frozen=True, slots=True)
class Term:
    """One loss as a sum and the number of elements summed, so that it can be averaged over all ranks and micro-batches.

    The trainer minimises `weight * sum / count`, with `count` added up over everything that makes one optimiser step.
    """

    sum: Float[Tensor, ""]
    count: Float[Tensor, ""]
    weight: float = 1.0
    group: str = ""
    """What it is balanced together with (`Objective.groups`); in the result of a step with the objective's name."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step or an objective returns from one batch: named losses, and named scalars that are only logged."""

    terms: Mapping[str, Term]
    logs: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network predicts for one image, at the size of the image: the fields of the tasks that it has."""

    label: UInt8[np.ndarray, "h w"] | None = None
    """Class index 0..C-1 of every pixel."""
    confidence: Float32[np.ndarray, "h w"] | None = None
    """Softmax probability of that class, 0..1."""
    disparity: Float32[np.ndarray, "h w"] | None = None
    """0..1, 1 = nearest: linear in inverse depth over the range of depths the network was trained for."""
    depth: Float32[np.ndarray, "h w"] | None = None
    """z-depth in `depth_unit`."""
    normals: Float32[np.ndarray, "h w 3"] | None = None
    """Unit vectors in the camera's frame (x right, y down, z forward) that point towards the camera."""
    depth_unit: Literal["metres", "relative"] | None = None
    """What depth is measured in. relative: the network's own unit, in which training has left the scale open."""

    def __repr__(self) -> str:
        """The fields there are, with their sizes."""
        arrays = {name: getattr(self, name) for name in ("label", "confidence", "disparity", "depth", "normals")}
        sizes = [f"{name} {' x '.join(map(str, x.shape))}" for name, x in arrays.items() if x is not None]
        return f"Prediction({', '.join(sizes)})"

    def depth_at(self, x: float, y: float) -> float:
        """z-depth in `depth_unit` at the pixel nearest to column `x` and row `y` (centres at integers).

        Raises `FathomError` outside the image, for what is no number, or if depth was not predicted.
        """
        if self.depth is None:
            raise FathomError("This prediction has no depth; load a network with the task depth.")
        height, width = self.depth.shape
        try:
            row, column = round(y), round(x)
        except (TypeError, ValueError, OverflowError):
            raise FathomError(f"({x!r}, {y!r}) is no pixel: give column and row as numbers.") from None
        if not (0 <= row < height and 0 <= column < width):
            raise FathomError(
                f"({x}, {y}) lies outside the image, whose columns are 0 to {width - 1}, rows 0 to {height - 1}."
            )
        return float(self.depth[row, column])
