"""Picking what stands for the pool, against loops in float64, and what tells it from picking the farthest."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fathomseg.errors import FathomError
from fathomseg.selection import covering
from fathomseg.selection.covering import Cover, Covering
from fathomseg.selection.farthest_first import FarthestFirst
from tests.selection.test_farthest_first import clouds


def taken(picks: list[Cover]) -> list[int]:
    return [pick.row for pick in picks]


def distances(features: np.ndarray, cells: int) -> np.ndarray:
    """By the definition: of every row (first axis) the nearest cell to every cell of all rows, in float64."""
    points = features.astype(np.float64).reshape(len(features), -1, cells).transpose(0, 2, 1)
    everywhere = points.reshape(len(features) * cells, -1)
    return np.array([np.linalg.norm(everywhere[:, None] - row[None], axis=2).min(1) for row in points])


@pytest.mark.parametrize("asked", [1, 500, 2**22])
@pytest.mark.parametrize("cells", [1, 3])
def test_every_pick_is_the_best_by_the_definition(cells: int, asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean distance of all cells to the nearest one chosen is the least there is, but for rounding."""
    monkeypatch.setattr(covering, "_ASKED", asked)
    monkeypatch.setattr("fathomseg.selection.picker._CHUNK", 7 * 12)  # several blocks, the last one short
    for seed in range(4):
        features = clouds(seed, 41, 4 * cells, clusters=1 + 3 * seed)
        apart, chosen = distances(features, cells), [11]
        picker = Covering(features, cells, taken=[11])
        for pick in picker.pick(20):
            assert pick.row not in chosen
            means = np.minimum(apart, apart[chosen].min(0)).mean(1)
            assert pick.after == pytest.approx(means[pick.row], rel=1e-4)
            assert means[pick.row] <= means.min() + 1e-4 * apart[11].mean()
            chosen.append(pick.row)


def test_crowds_come_before_what_is_odd() -> None:
    """Five rows at 0, four around 10 and one at 100, from 0: the one at 100 lowers the sum by 100, 10 by 38. With a
    crowd of twenty, 10 lowers it by 190 and 100 by no more than before, but for what is nearer to it than to 0."""
    line = np.array([[0.0]] * 5 + [[9.0], [10.0], [10.0], [11.0]] + [[100.0]], np.float32)
    crowded = np.concatenate([line, np.repeat(line[5:9], 4, axis=0)])
    assert [pick.row for pick in Covering(line, taken=[0]).pick(2)] == [9, 6]
    assert [pick.row for pick in Covering(crowded, taken=[0]).pick(2)] == [6, 9]
    assert [pick.row for pick in FarthestFirst(crowded, taken=[0]).pick(1)] == [9]


def test_by_hand() -> None:
    """0, 3, 0, -3, 3 from 0: the mean falls from 9 / 5 to 3 / 5 by the first row at 3, to 0 by -3; then copies come."""
    picker = Covering(np.array([[0.0], [3.0], [0.0], [-3.0], [3.0]], np.float32))
    picks = [*picker.take([0]), *picker.pick(4)]
    assert taken(picks) == [0, 1, 3, 2, 4]
    np.testing.assert_allclose([pick.before for pick in picks], [math.inf, 1.8, 0.6, 0, 0], rtol=1e-6)
    np.testing.assert_allclose([pick.after for pick in picks], [1.8, 0.6, 0, 0, 0], rtol=1e-6)
    with pytest.raises(FathomError, match="1 images were to be picked, but only 0 are left"):
        picker.pick(1)


def test_budgets_nest_and_what_is_labelled_counts() -> None:
    features = clouds(3, 80, 6, clusters=9)
    whole, part = Covering(features, taken=[4]), Covering(features, taken=[4])
    expected = taken(whole.pick(20))
    assert [*taken(part.pick(7)), *taken(part.pick(13))] == expected
    assert taken(Covering(features, taken=[4, *expected[:7]]).pick(13)) == expected[7:]


def test_a_sample_of_the_rows_speaks_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four crowds of 50: four picks of one crowd each, also if but 40 rows are asked what serves them."""
    monkeypatch.setattr(covering, "_WITNESSES", 40)
    crowds = np.repeat(np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]]), 50, axis=0)
    features = (crowds + np.random.default_rng(0).normal(0, 1, crowds.shape)).astype(np.float32)
    picker = Covering(features, taken=[7])
    assert {row // 50 for row in [7, *taken(picker.pick(3))]} == {0, 1, 2, 3}


def test_it_covers_better_than_the_farthest() -> None:
    features = np.random.default_rng(5).normal(0, 1, (300, 4)).astype(np.float32)
    cover, far = Covering(features, taken=[0]), FarthestFirst(features, taken=[0])
    cover.pick(20)
    far.pick(20)
    assert cover.mean < 0.95 * far.distances.mean()


def test_features_that_are_no_numbers_are_refused() -> None:
    features = np.zeros((3, 2), np.float32)
    features[1, 1] = np.nan
    with pytest.raises(FathomError, match="row 1 are NaN or infinite"):
        Covering(features)
