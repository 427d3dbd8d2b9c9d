"""RandAugment and AutoAugment for dense prediction: labels follow the image, padded pixels are ignored.

All colour operations of an image come first, in their order, and then all its motions as one matrix. The published
policies take turns; but colours and motions commute save for operations that look at other pixels (equalize, auto
contrast, contrast, sharpness), which thus see the whole image without grey corners, and one resampling blurs less.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from fathomseg.augment.affine import Matrix, Motion, about_centre, motion
from fathomseg.augment.base import Augmentation
from fathomseg.augment.operations import COLOURS, CUTOUT, GEOMETRY, amount
from fathomseg.mixing.cutmix import inside
from fathomseg.mixing.draws import Use, generator, on_device
from fathomseg.types import Size

Level = Annotated[float, Field(ge=0, le=10)]


class Operation(NamedTuple):
    """One operation drawn for one image."""

    name: str
    amount: float
    centre: tuple[float, float] = (0.5, 0.5)
    """Of the square that is cut out: y and x, 0..1."""


class Policy(Augmentation):
    """A strong augmentation that draws a short list of operations for each image."""

    @abstractmethod
    def operations(self, key: int) -> list[Operation]:
        """The operations of the image with this key, in order."""

    def recolour(self, image: Float[Tensor, "b 3 h w"], keys: Sequence[int]) -> Float[Tensor, "b 3 h w"]:
        """The colour operations of each image in its own order; images at the same operation go through it together."""
        drawn = [[op for op in self.operations(key) if op.name in COLOURS] for key in keys]
        for turn in range(max((len(operations) for operations in drawn), default=0)):
            groups: dict[str, list[tuple[int, float]]] = defaultdict(list)
            for i, operations in enumerate(drawn):
                if turn < len(operations):
                    groups[operations[turn].name].append((i, operations[turn].amount))
            for name, members in groups.items():
                index, amounts = on_device(members, image).unbind(1)
                index = index.long()
                image = image.index_copy(0, index, COLOURS[name](image[index], amounts.view(-1, 1, 1, 1)))
        return image

    def motion(self, keys: Sequence[int], size: Size, like: Tensor) -> Motion | None:
        """One matrix for each image, and what is cut out of it."""
        drawn = [self.operations(key) for key in keys]
        moved = motion([_matrix(operations, size) for operations in drawn], size, like)
        shown = moved.shown
        for turn in range(max((len(operations) for operations in drawn), default=0)):
            squares = np.array([_square(operations[turn : turn + 1], size) for operations in drawn])
            if squares.any():
                shown = shown & ~inside(squares, shown)
        return Motion(moved.position, shown)


class RandAugment(Policy):
    """Some operations with random levels (Cubuk et al. 2020), as UDA (Xie et al. 2020, NeurIPS) uses it for images."""

    name: Literal["randaugment"] = "randaugment"
    number: Annotated[int, Field(ge=0)] = 2
    """Operations drawn for each image, with replacement, from the 15 there are: colours, motions, cutout."""
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the drawn operations that are applied."""
    levels: tuple[Level, Level] = (1, 9)
    """Range of the level of each operation, 0..10, drawn evenly. The same number twice = the m of RandAugment."""
    cutout: Annotated[float, Field(ge=0, le=1)] = 0.5
    """At the end a square of this share of the shorter side is cut out of every image and ignored; 0 = none."""

    @model_validator(mode="after")
    def _ordered(self) -> RandAugment:
        if self.levels[0] > self.levels[1]:
            raise ValueError(f"levels must be [smallest, largest], but is {list(self.levels)}")
        return self

    def operations(self, key: int) -> list[Operation]:
        """The operations of the image with this key."""
        rng = generator(key, Use.POLICY)
        names = (*COLOURS, *GEOMETRY, CUTOUT)
        drawn = [_draw(rng, names[rng.integers(len(names))], rng.uniform(*self.levels)) for _ in range(self.number)]
        applied = [operation for operation in drawn if rng.random() < self.probability]
        if self.cutout > 0:
            applied.append(Operation(CUTOUT, self.cutout, (rng.random(), rng.random())))
        return applied


class AutoAugment(Policy):
    """One of 25 pairs of operations found by search (Cubuk et al. 2019, tables 7 to 9)."""

    name: Literal["autoaugment"] = "autoaugment"
    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    """The data set the pairs were found for."""

    def operations(self, key: int) -> list[Operation]:
        """The operations of the image with this key."""
        rng = generator(key, Use.POLICY)
        pairs = self._pairs()
        pair = pairs[rng.integers(len(pairs))]
        return [_draw(rng, name, level or 0) for name, probability, level in pair if rng.random() < probability]

    def _pairs(self) -> list[list[tuple[str, float, int | None]]]:
        """The published table, as kornia carries it: name, probability, level."""
        # Here, as it takes long and no recipe is read by it.
        from kornia.augmentation.auto.autoaugment import autoaugment as published

        pairs: list[list[tuple[str, float, int | None]]] = getattr(published, f"{self.policy}_policy")
        return pairs


def _draw(rng: np.random.Generator, name: str, level: float) -> Operation:
    """An operation with its random sign and place, of which it uses what it needs."""
    return Operation(name, amount(name, level, rng.choice([-1.0, 1.0])), (rng.random(), rng.random()))


def _matrix(operations: Sequence[Operation], size: Size) -> Matrix:
    """source_T_target of all motions together, in pixels; the first one is the nearest to the source."""
    matrix: Matrix = np.eye(3)
    for operation in operations:
        if operation.name in GEOMETRY:
            matrix = matrix @ GEOMETRY[operation.name](operation.amount, *size)
    return about_centre(matrix, size)


def _square(operations: Sequence[Operation], size: Size) -> Float[np.ndarray, "4"]:
    """Top, left, bottom, right of what a list of at most one operation cuts out; empty for nothing."""
    for name, share, centre in operations:
        if name == CUTOUT:
            half = share * min(size) / 2
            y, x = centre[0] * size[0], centre[1] * size[1]
            return np.array([round(y - half), round(x - half), round(y + half), round(x + half)], dtype=np.float64)
    return np.zeros(4)
