"""Farthest-point picking against loops in float64, and the properties that make a selection trustworthy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fathomseg.errors import FathomError
from fathomseg.parallel.inline import Inline
from fathomseg.selection import shard
from fathomseg.selection.farthest_first import FarthestFirst
from fathomseg.selection.picker import Pick


def by_loops(
    features: np.ndarray, first: int, count: int, bonus: np.ndarray | None = None
) -> list[tuple[int, float, int]]:
    """The definition: for every pick, the distance of every row to every row chosen, in float64."""
    points, chosen, picks = features.astype(np.float64), [first], []
    for _ in range(count):
        best = (-math.inf, -1, 0.0, -1)
        for i in range(len(points)):
            if i not in chosen:
                nearest = min(chosen, key=lambda k: (math.dist(points[i], points[k]), k))
                distance = math.dist(points[i], points[nearest])
                score = distance + (0.0 if bonus is None else float(bonus[i]))
                if score > best[0]:
                    best = (score, i, distance, nearest)
        picks.append((best[1], best[2], best[3]))
        chosen.append(best[1])
    return picks


def clouds(seed: int, count: int, width: int, clusters: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 3, (clusters, width))
    return (centres[rng.integers(clusters, size=count)] + rng.normal(0, 1, (count, width))).astype(np.float32)


def rows(picks: list[Pick]) -> list[int]:
    return [pick.row for pick in picks]


@pytest.mark.parametrize("candidates", [1, 3, 512])
@pytest.mark.parametrize("with_bonus", [False, True])
def test_equals_the_definition(candidates: int, with_bonus: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "CANDIDATES", candidates)
    monkeypatch.setattr("fathomseg.selection.picker._CHUNK", 7 * 40)  # several blocks, the last one short
    for seed in range(4):
        features = clouds(seed, 61, 5, clusters=1 + 3 * seed)
        bonus = 2 * np.random.default_rng(seed).random(61) if with_bonus else None
        picker = FarthestFirst(features)
        picker.take([11])
        picks = picker.pick(30, bonus)
        expected = by_loops(features, 11, 30, bonus)
        assert [(p.row, p.nearest) for p in picks] == [(row, nearest) for row, _, nearest in expected]
        np.testing.assert_allclose([p.distance for p in picks], [d for _, d, _ in expected], rtol=1e-12)


def test_points_on_a_line_by_hand() -> None:
    """0, 1, 3, 7, 15 from 1: first 15 (14 away), then 7 (6 from 1), then 3 (2 from 1), then 0."""
    picker = FarthestFirst(np.array([[0.0], [1.0], [3.0], [7.0], [15.0]], np.float32))
    assert picker.take([1]) == [Pick(1, None, None)]
    assert picker.pick(4) == [Pick(4, 14.0, 1), Pick(3, 6.0, 1), Pick(2, 2.0, 1), Pick(0, 1.0, 1)]
    assert picker.left.size == 0
    assert (picker.distances == 0).all()


def test_a_bonus_of_one_row_takes_it_first() -> None:
    points = np.array([[0.0], [1.0], [3.0], [7.0], [15.0]], np.float32)
    picker = FarthestFirst(points)
    picker.take([1])
    assert rows(picker.pick(2, np.array([13.5, 0, 0, 0, 0]))) == [0, 4]  # 1 + 13.5 > 14


grids = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(grids, st.integers(1, 39), st.integers(0, 39), st.integers(1, 5))
@example([(0, 0)] * 8, 7, 3, 2)
def test_ties_go_to_the_first_row(points: list[tuple[int, int]], count: int, first: int, candidates: int) -> None:
    """Whole numbers, of which distances are exact in float32: most are equal to others, many rows are duplicates."""
    features = np.array(points, np.float32)
    count, first = min(count, len(points) - 1), first % len(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "CANDIDATES", candidates)
        picker = FarthestFirst(features)
        picker.take([first])
        assert rows(picker.pick(count)) == [row for row, _, _ in by_loops(features, first, count)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 59))
def test_budgets_nest(seed: int, whole: int, part: int) -> None:
    features = clouds(seed, 70, 6, clusters=8)
    part = min(part, whole)
    at_once, in_two = FarthestFirst(features, taken=[3, 5]), FarthestFirst(features, taken=[5, 3])
    picks = at_once.pick(whole)
    assert len(set(rows(picks)) | {3, 5}) == whole + 2
    assert in_two.pick(part) + in_two.pick(whole - part) == picks


def test_stored_halves_and_memory_maps_do_as_well(tmp_path: Path) -> None:
    features = clouds(0, 200, 16, clusters=9).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    for mode in ("c", "r"):
        mapped = np.load(tmp_path / "features.npy", mmap_mode=mode)
        picker = FarthestFirst(mapped)
        picker.take([0])
        assert rows(picker.pick(40)) == [row for row, _, _ in by_loops(features, 0, 40)]


def test_many_rows_taken_before_count_all() -> None:
    features = clouds(1, 700, 4, clusters=5)
    taken = list(range(600))
    picker = FarthestFirst(features, taken=taken)
    distances = np.linalg.norm(features[600:, None].astype(np.float64) - features[None, :600], axis=2).min(1)
    np.testing.assert_allclose(picker.distances[600:], distances, rtol=1e-4)
    assert rows(picker.pick(1)) == [600 + int(distances.argmax())]


def test_the_central_row_is_nearest_to_the_mean() -> None:
    features = clouds(2, 90, 7, clusters=3)
    expected = int(np.linalg.norm(features - features.mean(0, dtype=np.float64), axis=1).argmin())
    assert FarthestFirst(features).central() == expected
    assert FarthestFirst(features[::-1].copy()).central() == 89 - expected


def test_what_cannot_be_done_says_why() -> None:
    with pytest.raises(FathomError, match="pool is empty"):
        FarthestFirst(np.zeros((0, 3), np.float32))
    features = clouds(0, 6, 3, clusters=1)
    with pytest.raises(FathomError, match=r"5 images.*only 4 are left"):
        FarthestFirst(features, taken=[0, 1]).pick(5)
    for value in (np.nan, np.inf):
        features[4, 1] = value
        with pytest.raises(FathomError, match="row 4 are NaN or infinite"):
            FarthestFirst(features)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(9, 30), st.booleans(), st.integers(2, 30))
def test_shards_give_what_one_process_gives(
    seed: int, shards: int, step: int, with_bonus: bool, candidates: int
) -> None:
    """Id for id, distance for distance: the numbers are the same to the last bit, since shards end where blocks do."""
    rng = np.random.default_rng(seed)
    features = clouds(seed, 97, 6, clusters=7) if seed % 2 else rng.integers(-2, 3, (97, 3)).astype(np.float32)
    bonus = rng.random(97) if with_bonus else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "CANDIDATES", candidates)
        parts = [Inline(shard.Shard(features[a:b], a, step=step)) for a, b in shard.cut(97, step, shards)]
        many = FarthestFirst(features, taken=[3, 90, 41], shards=parts)
        one = FarthestFirst(features, taken=[3, 90, 41], shards=[Inline(shard.Shard(features, step=step))])
        assert many.central() == one.central()
        assert many.pick(20) == one.pick(20)
        assert many.pick(20, bonus) == one.pick(20, bonus)
        assert (many.distances == one.distances).all()


def test_shards_are_whole_blocks_and_all_rows() -> None:
    assert shard.cut(10, 3, 2) == [(0, 6), (6, 10)]
    assert shard.cut(10, 3, 9) == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert shard.cut(2, 100, 4) == [(0, 2)]
    with pytest.raises(FathomError, match="row 104 are NaN"):
        shard.Shard(np.array([[0.0], [np.nan]], np.float32), first=103)
