from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.data.datasets.clip_order import order_in_time


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/0", "a/1", "a/2"], [0, 1, 2]),
        (["1", "2", "10", "11", "9"], [0, 1, 9, 10, 8]),  # by number, not by spelling; seven frames are missing
        (["f_10", "f_12", "f_14", "f_20"], [0, 1, 2, 5]),  # numbered in steps of two
        (["x7", "x8", "x10"], [0, 1, 2]),  # no step is usual: the order alone counts
        (["x7", "x8", "x9", "x11"], [0, 1, 2, 4]),
        (["f_10", "f_12", "f_14", "f_15"], [0, 1, 2, 4]),  # an odd one out is no neighbour
        (["1403636579763", "1403636579813", "1403636579866", "1403636579913"], [0, 1, 2, 3]),  # timestamps
        (["left", "right", "middle"], [0, 2, 1]),  # no numbers: by name
        (["a1", "b1", "b2"], [0, 1, 2]),  # the same number twice: by name
        (["only5"], [0]),
        (["305102.175304", "305102.911214", "305103.011215", "305103.043227"], [0, 1, 2, 3]),  # TUM RGB-D: seconds
        (["10-00-58", "10-00-59", "10-01-00"], [0, 1, 2]),
        (["f (1)", "f (2)", "f (9)", "f (10)"], [0, 1, 2, 3]),  # as Windows numbers them
        (["clear_1", "rain_2", "clear_3"], [0, 1, 2]),  # numbered through
    ],
)
def test_known_clips(names: list[str], expected: list[int]) -> None:
    found = order_in_time(names)
    assert [found[name] for name in names] == expected


@given(st.sets(st.integers(0, 500), min_size=1), st.integers(1, 9))
def test_frames_keep_their_order_and_none_share_a_place(numbers: set[int], step: int) -> None:
    names = [f"{step * number:06d}" for number in numbers]
    found = order_in_time(names)
    assert sorted(names) == sorted(names, key=found.__getitem__)
    assert len(set(found.values())) == len(names)
    assert min(found.values()) == 0
