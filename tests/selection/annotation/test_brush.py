"""Label Studio's brush code against a decoder written from the format's description, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fathomseg.selection.annotation.brush import decode, encode
from tests.fakes import scene


def slow_decode(code: list[int]) -> list[int]:
    """All values of a code, by the description of the format: a string of "0" and "1" read from the front."""
    bits = "".join(f"{byte:08b}" for byte in code)

    def take(count: int) -> int:
        nonlocal bits
        number, bits = int(bits[:count], 2), bits[count:]
        return number

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        equal = take(1)
        count = take(sizes[take(2)]) + 1
        values += [take(word)] * count if equal else [take(word) for _ in range(count)]
    assert len(values) == total
    assert set(bits) <= {"0"}, "only filling up to a byte may be left"
    assert len(bits) < 8
    return values


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_both_decoders_give_the_mask_back(mask: np.ndarray) -> None:
    code = encode(mask)
    assert slow_decode(code) == np.repeat(mask.reshape(-1) * 255, 4).tolist()
    np.testing.assert_array_equal(decode(code, mask.shape), mask)


def test_a_code_by_hand() -> None:
    # 4 values (1 pixel), words of 8 bits, lengths of 16 bits; one block of 4 equal values 255
    bits = f"{4:032b}" + "00111" + "1111" * 4 + "1" + "00" + f"{3:016b}" + "11111111"
    bits += "0" * (-len(bits) % 8)
    assert encode(np.array([[True]])) == [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def test_runs_longer_than_a_block() -> None:
    mask = np.zeros((300, 400), bool)  # 480 000 values: 8 blocks
    mask[100:250] = True
    mask[137, 11] = False
    np.testing.assert_array_equal(decode(encode(mask), mask.shape), mask)
    assert slow_decode(encode(mask[:1, :20])) == [0] * 80


@pytest.mark.parametrize("count", [1 << 16, (1 << 16) + 4, (1 << 17)])
def test_runs_as_long_as_blocks(count: int) -> None:
    mask = np.ones((1, count // 4 + 1), bool)
    mask[0, -1] = False
    np.testing.assert_array_equal(decode(encode(mask), mask.shape), mask)


def tool_code(values: list[int], sizes: tuple[int, int, int, int] = (3, 4, 8, 16)) -> list[int]:
    """A code as the tool writes it: short lengths in few bits, runs, and blocks of single values where they differ."""
    bits = f"{len(values):032b}" + "00111" + "".join(f"{size - 1:04b}" for size in sizes)

    def block(equal: int, count: int) -> str:
        which = next(i for i, size in enumerate(sizes) if count <= 1 << size)
        return f"{equal}{which:02b}{count - 1:0{sizes[which]}b}"

    place = 0
    while place < len(values):
        run = next((i for i in range(place, len(values)) if values[i] != values[place]), len(values)) - place
        if run > 1:
            bits += block(1, run) + f"{values[place]:08b}"
            place += run
            continue
        end = place + 1
        while end < len(values) and (end + 1 == len(values) or values[end] != values[end + 1]):
            end += 1
        bits += block(0, end - place) + "".join(f"{value:08b}" for value in values[place:end])
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_soft_edges_and_colours_as_the_tool_draws_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.repeat(rng.integers(0, 256, (12, 4)), rng.integers(1, 9, 12), axis=0)  # soft, coloured runs
    pixels = pixels[: len(pixels) // 3 * 3]
    code = tool_code(pixels.reshape(-1).tolist())
    assert slow_decode(code) == pixels.reshape(-1).tolist()
    np.testing.assert_array_equal(decode(code, (3, len(pixels) // 3)).reshape(-1), pixels[:, 3] >= 128)


def test_a_real_label_takes_few_bytes() -> None:
    label = scene(3, (240, 320), 4)[1]
    codes = [encode(label == index) for index in range(4)]
    assert sum(len(code) for code in codes) < label.size / 4
    np.testing.assert_array_equal(np.argmax([decode(code, label.shape) for code in codes], axis=0), label)


@pytest.mark.parametrize(
    ("code", "size", "reason"),
    [
        (encode(np.ones((2, 3), bool)), (3, 3), "holds 24 values, but 3 x 3 pixels have 36"),
        (encode(np.ones((2, 3), bool))[:-2], (2, 3), "is cut short"),
        ([], (2, 3), "is cut short"),
        ([0, 0, 300], (2, 3), "is not a list of bytes"),
        ([0, 0, 0, 24, 0xFF, *[0xFF] * 20], (2, 3), "values of 32 bits"),
        ([0, 0, 0, 24, 0b00111111, *[0xFF] * 20], (2, 3), "longer than the mask"),
    ],
)
def test_codes_that_are_none(code: list[int], size: tuple[int, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(code, size)
