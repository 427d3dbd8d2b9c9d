"""Progressive resizing: the first steps see the whole image smaller, with its camera, by position alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fathomseg.data.cache import Cache, Prepared
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.loading import Stream, collate
from fathomseg.data.progressive import Progressive, SmallFirst
from fathomseg.data.transforms import Geometry, View

STREETS = Streets(size=(24, 48), train_clips=1, val_clips=1, frames=4)


def test_a_share_of_the_steps_in_whole_batches() -> None:
    assert Progressive().at(10, 4) == SmallFirst(24, 0.5)
    assert Progressive(share=0.55, scale=0.25).at(2, 3) == SmallFirst(3, 0.25)
    assert Progressive(share=0.1).at(2, 4).samples == 0


def test_views_keep_their_window_and_lose_their_size() -> None:
    view = View(1, 2, (10, 20), (24, 48), True)
    small = SmallFirst(5, 0.5)
    assert small(view, 4) == View(1, 2, (10, 20), (12, 24), True)
    assert small(view, 5) is view


def test_images_maps_and_cameras_shrink_together(tmp_path: Path) -> None:
    """The same view at both sizes: a camera's rays through the corners of the image stay."""
    geometry, ids = Geometry(scale=(1, 2)), STREETS.ids("train")
    kinds: tuple[Prepared, ...] = ("image", "label", "depth")
    made = [
        Stream(
            Cache(STREETS, (24, 48), folder=tmp_path),
            ids,
            kinds,
            geometry,
            3,
            {id: {} for id in ids},
            small_first=first,
        )
        for first in (None, SmallFirst(2, 0.5))
    ]
    for position in range(4):
        (key, large), (same, found) = (stream[position] for stream in made)
        assert key == same
        size = (12, 24) if position < 2 else (24, 48)
        assert found.image.shape[:2] == found.label.shape == found.depth.shape == size
        corners = [
            ((-0.5 - s.camera.cx) / s.camera.fx, (s.size[1] - 0.5 - s.camera.cx) / s.camera.fx) for s in (large, found)
        ]
        np.testing.assert_allclose(*corners, rtol=1e-5)
    batch = collate([made[1][position] for position in (0, 1)])
    assert batch.image.shape == (2, 3, 12, 24)
    assert torch.isfinite(batch.targets["depth"]).all()
