"""Random numbers that depend on nothing but the keys of the samples.

They are drawn on the host, one small generator a sample and use, so that the same sample is treated the same whatever
batch, process or resumed run it is in; and they travel to the device without waiting for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor


class Use(IntEnum):
    """What random numbers are for: two uses of one key share none. `data.colour` holds number 1."""

    PARTNER = 2
    BOX = 3
    CLASSES = 4
    FOREGROUND = 5
    RULE = 6
    SUBKEY = 7
    GREY = 8
    BLUR = 9
    POLICY = 10
    MARGIN = 11
    BLOCKS = 12


def generator(key: int, use: Use) -> np.random.Generator:
    """The random numbers of one sample for one use."""
    return np.random.default_rng((key, use))


def subkeys(keys: Sequence[int], number: int) -> tuple[int, ...]:
    """Keys independent of the given ones and of those with another number, as a second strong view needs them."""
    return tuple(int(np.random.default_rng((key, Use.SUBKEY, number)).integers(2**63)) for key in keys)


def partner_shift(keys: Sequence[int]) -> int:
    """The cyclic shift, 1..b-1 with equal chance, that gives every image of the batch another one; 0 for one image.

    A derangement, and every ordered pair is equally likely. It depends on the whole batch, as any pairing must.
    """
    if len(keys) < 2:
        return 0
    return int(np.random.default_rng((*keys, Use.PARTNER)).integers(1, len(keys)))


def on_device(values: ArrayLike, like: Tensor) -> Float[Tensor, "..."]:
    """Numbers drawn on the host, as float32 on the device of `like`."""
    return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(like.device, non_blocking=True)
