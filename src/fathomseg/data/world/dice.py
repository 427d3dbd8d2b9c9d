"""Random numbers that depend on a key and on nothing else: not on call order, the process or numpy's version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

T = TypeVar("T")

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix(value: int) -> int:
    """The finaliser of SplitMix64 (Steele et al., 2014): a bijection of 64-bit integers that scatters every bit."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Dice:
    """A stream of draws named by a tuple of integers; equal keys give equal streams."""

    def __init__(self, *key: int) -> None:
        state = _GOLDEN
        for part in key:
            state = mix((state ^ (part & _MASK)) + _GOLDEN & _MASK)
        self._state = state

    def _next(self) -> int:
        self._state = (self._state + _GOLDEN) & _MASK
        return mix(self._state)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * (self._next() >> 11) * 2.0**-53

    def below(self, count: int) -> int:
        """An integer in 0 .. count-1."""
        return self._next() % count

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[self.below(len(options))]


def white_noise(shape: tuple[int, ...], key: int) -> Float32[np.ndarray, " ..."]:
    """Uniform noise in [0, 1), from the raw bits of PCG64, whose stream numpy guarantees never to change (NEP 19)."""
    bits = np.random.PCG64(key).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def bell_noise(shape: tuple[int, ...], key: int) -> Float32[np.ndarray, " ..."]:
    """Noise with mean 0 and variance 1, close to normal: the sum of four uniform numbers of 16 bits."""
    bits = np.random.PCG64(key).random_raw(int(np.prod(shape))).view(np.uint16).reshape(*shape, 4)
    total = bits[..., 0].astype(np.float32)
    for part in range(1, 4):
        total += bits[..., part]
    return np.asarray((total - np.float32(2 * 65535)) * np.float32(np.sqrt(3.0) / 65536), np.float32)
