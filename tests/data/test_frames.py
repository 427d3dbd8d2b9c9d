"""Frames at a fixed step: exactly those whose neighbours are there, without looking at any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.config import Part, load, validate
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.motion import AnyFrames, FixedStep, MotionFilter, Triplet
from fathomseg.errors import ConfigError
from fathomseg.types import ClassList


class Still(Dataset):
    """Clips of a camera that stands still; frame "c/007" is there if `numbers[c]` has 7."""

    name: Literal["still"] = "still"
    numbers: dict[str, frozenset[int]]

    @property
    def classes(self) -> ClassList:
        return ClassList(("a", "b"), ((0, 0, 0), (1, 1, 1)))

    @property
    def splits(self) -> tuple[str, ...]:
        return ("all",)

    def ids(self, split: str) -> Sequence[str]:
        return sorted(f"{clip}/{i:03d}" for clip, numbers in self.numbers.items() for i in numbers)

    def image(self, id: str) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)

    def neighbour(self, id: str, offset: int) -> str | None:
        clip, number = id.split("/")
        other = int(number) + offset
        return f"{clip}/{other:03d}" if other in self.numbers[clip] else None


def unread(id: str) -> np.ndarray:
    raise AssertionError(f"{id} was read")


@given(
    st.dictionaries(st.sampled_from("ab"), st.frozensets(st.integers(0, 12)), min_size=1),
    st.integers(1, 4),
    st.sets(st.integers(0, 25)),
)
def test_exactly_the_frames_with_both_neighbours(
    numbers: dict[str, frozenset[int]], step: int, held_out: set[int]
) -> None:
    dataset = Still(numbers=numbers)
    ids = [id for place, id in enumerate(dataset.ids("all")) if place not in held_out]
    ticks: list[None] = []
    found = FixedStep(step=step).triplets(dataset, ids, lambda: ticks.append(None), unread)
    expected = [
        Triplet(f"{clip}/{i:03d}", f"{clip}/{i - step:03d}", f"{clip}/{i + step:03d}")
        for clip in sorted(numbers)
        for i in sorted(numbers[clip])
        if {f"{clip}/{i + way * step:03d}" for way in (-1, 0, 1)} <= set(ids)
    ]
    assert found == expected
    assert len(ticks) == len(ids)


def test_a_standing_camera_is_left_out_unless_the_step_is_fixed() -> None:
    dataset = Still(numbers={"a": frozenset(range(5))})
    ids = dataset.ids("all")
    assert MotionFilter().triplets(dataset, ids) == []
    assert [x.target for x in FixedStep().triplets(dataset, ids)] == ["a/001", "a/002", "a/003"]


class Holder(Part):
    frames: AnyFrames = MotionFilter()


def test_by_name() -> None:
    assert validate(Holder, {"frames": {"name": "fixed", "step": 3}}).frames == FixedStep(step=3)
    assert load(Holder, {}, ["frames.max_step=2"]).frames == MotionFilter(max_step=2)
    with pytest.raises(ConfigError, match=r"frames\.step: unknown key"):
        load(Holder, {}, ["frames.step=2"])
    with pytest.raises(ConfigError, match="no such name 'fixd'; did you mean 'fixed'"):
        validate(Holder, {"frames": {"name": "fixd"}})
    with pytest.raises(ConfigError, match=r"frames\.step"):
        validate(Holder, {"frames": {"name": "fixed", "step": 0}})
