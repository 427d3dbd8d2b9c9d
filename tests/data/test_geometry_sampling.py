"""Matching geometry sampling: the known best is drawn, seen through both views, the same from anywhere."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fathomseg.data.geometry_sampling import SMALL, ByGeometry, Geometries, MatchingGeometry, smaller
from fathomseg.data.transforms import Geometry, draws

SIZE = (64, 128)
STILL = Geometry(scale=(1, 1), flip=0)
SLOPES = np.linspace(0.05, 0.95, 12)


def ramp(slope: float, rising: bool = False) -> np.ndarray:
    """Disparity that grows downwards, and to the right if `rising`."""
    down, right = np.linspace(0, 1, SIZE[0])[:, None], np.linspace(0, 1, SIZE[1])[None]
    return (slope * down * (right if rising else np.ones_like(right))).astype(np.float32)


def geometries(maps: dict[str, np.ndarray], geometry: Geometry = STILL, seed: int = 0) -> Geometries:
    ids = sorted(maps)
    small = np.stack([smaller(maps[id]) for id in ids])
    places = {id: place for place, id in enumerate(ids)}
    return Geometries(small, places, Turns(ids), geometry, seed, SIZE)


class Turns:
    """One image after the other."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids

    def __call__(self, position: int) -> str:
        return self.ids[position % len(self.ids)]


SOURCE = {f"s{i:02d}": ramp(slope) for i, slope in enumerate(SLOPES)}
TARGET = {"t0": ramp(SLOPES[3] + 0.01), "t1": ramp(SLOPES[9] - 0.01)}


def order(**settings: object) -> ByGeometry:
    return MatchingGeometry(**settings).order(geometries(TARGET), geometries(SOURCE), seed=4)  # type: ignore[arg-type]


def test_of_all_images_the_known_best_is_drawn() -> None:
    every = order(candidates=12)
    assert [every.id_at(position) for position in range(4)] == ["s03", "s09", "s03", "s09"]


def test_of_some_the_best_of_them_is_drawn_and_one_is_a_random_pair() -> None:
    some = order(candidates=5)
    for position in range(20):
        ids = some.candidates(position)
        assert len(set(ids)) == 5
        wanted = SLOPES[3] + 0.01 if position % 2 == 0 else SLOPES[9] - 0.01
        assert some.id_at(position) == min(ids, key=lambda id: abs(SLOPES[int(id[1:])] - wanted))
    single = order(candidates=1)
    drawn = [single.id_at(position) for position in range(2000)]
    assert all(120 < drawn.count(id) < 220 for id in SOURCE)


def test_the_distance_by_hand() -> None:
    """|ln 2 - ln 1.5| in the rows that count; what either does not know is left out."""
    a, b = np.full((8, 4), 1.0, np.float32), np.full((8, 4), 0.5, np.float32)
    a[:2], b[6:] = 0.0, 0.9  # rows that do not count
    b[4, 0] = np.nan
    rule = order(top=0.25, bottom=0.25)
    assert rule.distance(a, b) == pytest.approx(np.log(2) - np.log(1.5), rel=1e-6)
    assert rule.distance(a, np.full_like(b, np.nan)) == float("inf")


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_geometry_is_compared_as_the_views_show_it(flip: float) -> None:
    """What the small map shows is the small map of what the view shows."""
    geometry = Geometry(scale=(1.5, 1.5), flip=flip)
    maps = {"a": ramp(0.9, rising=True)}
    found = geometries(maps, geometry, seed=7).seen("a", 3)
    _, rng = draws(7, 3)
    view = geometry.draw(SIZE, rng)
    part = maps["a"][view.top : view.top + view.window[0], view.left : view.left + view.window[1]]
    expected = smaller(np.ascontiguousarray(part[:, ::-1] if view.flip else part))
    np.testing.assert_allclose(found, expected.astype(np.float32), atol=0.06)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


def test_a_mirrored_source_fits_a_target_that_falls_the_other_way() -> None:
    maps = {"left": ramp(0.9, rising=True)[:, ::-1].copy(), "right": ramp(0.9, rising=True)}
    target = geometries({"t": ramp(0.9, rising=True)})
    for flip, best in ((0, "right"), (1, "left")):
        source = geometries(maps, Geometry(scale=(1, 1), flip=flip))
        assert MatchingGeometry().order(target, source, seed=0).id_at(0) == best


def test_beyond_the_image_nothing_is_known() -> None:
    found = geometries(SOURCE, Geometry(scale=(0.5, 0.5), flip=0)).seen("s05", 0)
    assert np.isfinite(found).mean() == pytest.approx(0.25, abs=0.02)


def test_small_maps_are_means_of_what_is_known() -> None:
    disparity = np.zeros((32, 64), np.float32)
    disparity[0, 0], disparity[0, 1], disparity[1, :2] = 0.5, np.nan, 0.2
    disparity[2:4, 2:4] = np.nan
    found = smaller(disparity)
    assert found.shape == SMALL
    assert found[0, 0] == pytest.approx(0.3, abs=1e-3)
    assert np.isnan(found[1, 1])
    assert np.nansum(found) == pytest.approx(0.3, abs=1e-3)


def test_it_is_a_pure_function_and_can_be_sent() -> None:
    some = order()
    expected = [some.id_at(position) for position in (9, 2, 30)]
    again = pickle.loads(pickle.dumps(some))
    assert [again.id_at(position) for position in (9, 2, 30)] == expected
