"""The dataset's own depth, inverted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.streets import Streets
from fathomseg.depth_sources.base import inverse
from fathomseg.depth_sources.own import OwnDepth
from tests.fakes import make_camvid


def test_inverse_by_hand() -> None:
    depth = np.array([[0.5, 4.0, 0.0, -1.0, np.nan, np.inf, 1e-45]], np.float32)
    np.testing.assert_array_equal(inverse(depth), np.array([[2.0, 0.25, *[np.nan] * 3, 0.0, np.nan]], np.float32))


def test_the_streets_know_all_but_the_sky() -> None:
    data = Streets(size=(32, 64))
    id = data.ids("train")[0]
    disparity, depth = OwnDepth().disparity(data, id), data.depth(id)
    assert disparity is not None
    assert 0 < (depth == 0).mean() < 1
    np.testing.assert_array_equal(np.isnan(disparity), depth == 0)
    np.testing.assert_allclose(disparity[depth > 0] * depth[depth > 0], 1, rtol=1e-6)
    far = OwnDepth(unknown_is_far=True)
    np.testing.assert_array_equal(far.disparity(data, id), np.where(depth == 0, 0, disparity))
    assert far.open(data).fingerprint(id) != OwnDepth().open(data).fingerprint(id)
    reader = OwnDepth().open(data)
    assert len({reader.fingerprint(other) for other in data.ids("train")[:3]}) == 3


def test_no_depth_is_none(tmp_path: Path) -> None:
    data = CamVid(root=make_camvid(tmp_path))
    reader = OwnDepth().open(data)
    ids = data.ids("train")[:2]
    assert reader.disparity(ids) == [None, None]
    assert reader.fingerprint(ids[0]) is None


def test_no_depth_is_none_beside_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Streets(size=(32, 64))
    first, second, third = data.ids("train")[:3]
    real = Streets.depth
    monkeypatch.setattr(Streets, "depth", lambda self, id: None if id == second else real(self, id))
    maps = OwnDepth().open(data).disparity([first, second, third])
    assert [one is None for one in maps] == [False, True, False]
    np.testing.assert_array_equal(maps[2], inverse(real(data, third)))
