"""Picking by the strangest cell against loops in float64, and the properties every way of picking has."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.errors import FathomError
from fathomseg.selection.cells import StrangestCell
from fathomseg.selection.farthest_first import FarthestFirst
from fathomseg.selection.picker import Pick
from tests.selection.test_farthest_first import clouds, rows

CELLS = 3


def split(features: np.ndarray) -> np.ndarray:
    """Rows x cells x channels."""
    return features.astype(np.float64).reshape(len(features), -1, CELLS).transpose(0, 2, 1)


def by_loops(
    features: np.ndarray, first: int, count: int, bonus: np.ndarray | None = None
) -> list[tuple[int, float, int, int]]:
    """The definition: for every pick and row, the cell that is farthest from the nearest cell of a row chosen."""
    parts, chosen, picks = split(features), [first], []
    for _ in range(count):
        best = (-math.inf, -1, 0.0, -1, -1)
        for i in range(len(parts)):
            if i in chosen:
                continue
            found = [min((math.dist(cell, other), k) for k in chosen for other in parts[k]) for cell in parts[i]]
            cell = max(range(CELLS), key=lambda c: (found[c][0], -c))
            distance, nearest = found[cell]
            score = distance + (0.0 if bonus is None else float(bonus[i]))
            if score > best[0]:
                best = (score, i, distance, nearest, cell)
        picks.append(best[1:])
        chosen.append(best[1])
    return picks


@pytest.mark.parametrize("with_bonus", [False, True])
def test_equals_the_definition(with_bonus: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathomseg.selection.picker._CHUNK", 7 * 9 * CELLS)  # several blocks, the last one short
    for seed in range(3):
        features = clouds(seed, 40, 4 * CELLS, clusters=1 + 3 * seed)
        bonus = 2 * np.random.default_rng(seed).random(40) if with_bonus else None
        cells = StrangestCell(features, CELLS)
        assert cells.take([11]) == [Pick(11, None, None)]
        picks = cells.pick(20, bonus)
        expected = by_loops(features, 11, 20, bonus)
        assert [(p.row, p.nearest, p.cell) for p in picks] == [(row, near, cell) for row, _, near, cell in expected]
        np.testing.assert_allclose([p.distance for p in picks], [d for _, d, _, _ in expected], rtol=1e-12)


def test_something_small_is_found_wherever_it_is() -> None:
    """Row 2 differs from row 0 a little everywhere, row 3 by one cell only; row 4 shows the same thing elsewhere."""
    features = np.zeros((5, 8), np.float32)  # one channel, eight cells
    features[2] = 2.0
    features[3, 6] = features[4, 1] = 5.0
    whole, cells = FarthestFirst(features, taken=[0]), StrangestCell(features, 8, taken=[0])
    assert rows(whole.pick(1)) == [2]  # sqrt(8 * 4) > 5
    assert cells.pick(3) == [Pick(3, 5.0, 0, 6), Pick(2, 2.0, 0, 0), Pick(1, 0.0, 0, 0)]
    assert cells.distances[4] == 0  # known from row 3


def test_one_cell_is_whole_images() -> None:
    features = clouds(3, 60, 8, clusters=5)
    whole, cells = FarthestFirst(features, taken=[7, 30]), StrangestCell(features, 1, taken=[7, 30])
    np.testing.assert_allclose(cells.distances, whole.distances, rtol=1e-5, atol=1e-5)
    found, expected = cells.pick(20), whole.pick(20)
    assert [(pick.row, pick.nearest) for pick in found] == [(pick.row, pick.nearest) for pick in expected]
    assert [pick.distance for pick in found] == pytest.approx([pick.distance for pick in expected], rel=1e-12)
    assert cells.central() == whole.central()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 39))
def test_budgets_nest(seed: int, whole: int, part: int) -> None:
    features = clouds(seed, 45, 2 * CELLS, clusters=8)
    part = min(part, whole)
    at_once = StrangestCell(features, CELLS, taken=[3, 5])
    in_two = StrangestCell(features, CELLS, taken=[5, 3])
    picks = at_once.pick(whole)
    assert len(set(rows(picks)) | {3, 5}) == whole + 2
    assert in_two.pick(part) + in_two.pick(whole - part) == picks


def test_duplicates_come_last_and_ties_in_order() -> None:
    features = np.repeat(clouds(4, 6, 2 * CELLS, clusters=6), 3, axis=0)
    cells = StrangestCell(features, CELLS, taken=[4])
    chosen = rows(cells.pick(17))
    assert len({row // 3 for row in [4, *chosen[:5]]}) == 6
    assert all(row % 3 == 0 for row in chosen[:5])


def test_stored_halves_and_memory_maps_do_as_well(tmp_path: Path) -> None:
    features = clouds(0, 50, 4 * CELLS, clusters=9).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    cells = StrangestCell(np.load(tmp_path / "features.npy", mmap_mode="r"), CELLS, taken=[0])
    assert rows(cells.pick(12)) == [row for row, *_ in by_loops(features, 0, 12)]


def test_what_cannot_be_done_says_why() -> None:
    features = clouds(0, 6, CELLS, clusters=1)
    with pytest.raises(FathomError, match="pool is empty"):
        StrangestCell(features[:0], CELLS)
    with pytest.raises(FathomError, match=r"5 images.*only 4 are left"):
        StrangestCell(features, CELLS, taken=[0, 1]).pick(5)
    features[4, 1] = np.nan
    with pytest.raises(FathomError, match="row 4 are NaN or infinite"):
        StrangestCell(features, CELLS)
