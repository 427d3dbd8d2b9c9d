"""Masks as Label Studio's brush stores them: RGBA pixels in the run-length code of @thi.ng/rle-pack, a list of bytes.

The code is a string of bits, highest first: 32 bits with the number of values (4 x height x width); 5 bits, the bits of
a value - 1; four times 4 bits, the bits of a length - 1; then blocks until all values are there. A block is 1 bit
(whether its values are equal), 2 bits (which of the four sizes its length has), its length - 1, and one value if they
are equal, else all of them. What is on the mask has alpha 255, what is not has 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from fathomseg.types import Size

_CHANNELS = 4
_LONGEST = 1 << 16
"""Values in a block we write: all four sizes are 16 bits, so that every block has 27 bits."""


def encode(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """The mask as bytes 0..255; all four channels are 255 on it and 0 elsewhere."""
    flat = mask.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    blocks = -(-lengths // _LONGEST)  # of each run of equal pixels
    counts = np.full(blocks.sum(), _LONGEST)
    counts[blocks.cumsum() - 1] = lengths - (blocks - 1) * _LONGEST
    values = np.repeat(np.where(flat[starts], 255, 0), blocks)
    header = [*_bits(flat.size * _CHANNELS, 32), *_bits(8 - 1, 5), *_bits(16 - 1, 4) * _CHANNELS]
    records = 1 << 26 | (counts - 1) << 8 | values
    body = (records[:, None] >> np.arange(26, -1, -1)) & 1
    packed: list[int] = np.packbits(np.concatenate([header, body.reshape(-1)]).astype(np.uint8)).tolist()
    return packed


def decode(code: Sequence[int], size: Size) -> Bool[np.ndarray, "h w"]:
    """The mask of (height, width) `size`: where alpha is at least 128. Raises `ValueError` saying what is wrong."""
    height, width = size
    reader = _Reader(_as_bytes(code))
    total, word = reader.take(32), reader.take(5) + 1
    if total != _CHANNELS * height * width:
        raise ValueError(f"holds {total} values, but {height} x {width} pixels have {_CHANNELS * height * width}")
    if word != 8:
        raise ValueError(f"has values of {word} bits; expected 8")
    sizes = [reader.take(4) + 1 for _ in range(4)]
    values = np.empty(total, np.uint8)
    place = 0
    while place < total:
        equal, bits = reader.take(1), sizes[reader.take(2)]
        end = place + 1 + reader.take(bits)
        if end > total:
            raise ValueError("has a block that is longer than the mask")
        values[place:end] = reader.take(8) if equal else reader.take_bytes(end - place)
        place = end
    alpha: Bool[np.ndarray, "h w"] = values[_CHANNELS - 1 :: _CHANNELS].reshape(size) >= 128
    return alpha


class _Reader:
    """Takes bits from the front of a string of bytes. Raises `ValueError` beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def take(self, bits: int) -> int:
        """The next bits as a number."""
        end = self._place + bits
        if end > 8 * len(self._data):
            raise ValueError("is cut short")
        number = int.from_bytes(self._data[self._place // 8 : -(-end // 8)], "big") >> (-end % 8)
        self._place = end
        return number & ((1 << bits) - 1)

    def take_bytes(self, count: int) -> UInt8[np.ndarray, " count"]:
        """The next bytes, which may begin anywhere in a stored one."""
        return np.frombuffer(self.take(8 * count).to_bytes(count, "big"), np.uint8)


def _as_bytes(code: Sequence[int]) -> bytes:
    try:
        return bytes(list(code))  # a number alone would ask for as many zeros
    except (TypeError, ValueError):
        raise ValueError("is not a list of bytes (0 to 255)") from None


def _bits(number: int, count: int) -> list[int]:
    """The lowest bits of a number, highest first."""
    return [number >> place & 1 for place in range(count - 1, -1, -1)]
