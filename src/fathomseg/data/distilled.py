"""What a teacher predicted of images that lack a label, depth or normals: its names and its form in a batch.

By name, at the size of the image: "label" (UInt8 h w, 255 = ignore), "depth" (Float32 h w, metres, 0 = not known) and
"normals" (Float32 h w 3, 0 0 0 = not known), each perhaps with "label_confidence" ... (Float32 h w, 0..1); for soft
targets also "label_classes" (UInt8 h w k) and "label_probabilities" (Float32 h w k). In a batch these names begin with
`distilled_`, so that they are never mistaken for what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from fathomseg.types import IGNORE, Sample

DistilledReader = Callable[[str], Mapping[str, NDArray[Any]] | None]
"""By sample id what a teacher predicted, at working size; None if it made no prediction."""

TARGETS: Final = {"segmentation": "label", "depth": "depth", "normals": "normals"}
"""By task what a teacher stands in for."""


def in_batch() -> frozenset[str]:
    """What may be known of an image (`Batch.targets`), without what a teacher predicted: the fields of `Sample` that
    `collate` makes targets."""
    return frozenset(field.name for field in fields(Sample)) - {"id", "image", "distilled", "valid"}


def target_name(name: str) -> str:
    """What it is called among the targets of a batch."""
    return f"distilled_{name}"


def is_target(name: str) -> bool:
    """Whether anything gives a target of this name."""
    base = name.removeprefix(target_name(""))
    parts = {own + end for own in TARGETS.values() for end in ("", "_confidence", "_classes", "_probabilities")}
    return name in in_batch() or (base != name and base in parts)


def as_target(name: str, array: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "..."]:
    """Channels first; depth is a plane, as true depth is."""
    if name == "depth":
        return array[None]
    return array if array.ndim == 2 else np.ascontiguousarray(np.moveaxis(array, -1, 0))


def placeholder(name: str, samples: Sequence[Sample]) -> Shaped[np.ndarray, "..."]:
    """What stands in the row of a sample that lacks it: 255 or 0, which say nothing."""
    like = as_target(name, next(sample.distilled[name] for sample in samples if name in sample.distilled))
    return np.full_like(like, IGNORE if name == "label" else 0)
