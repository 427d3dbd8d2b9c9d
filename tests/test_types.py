"""The camera follows resize, crop and flip, proven by where known points land; batches are parted and moved whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.errors import FathomError
from fathomseg.types import Batch, Camera, ClassList

KITTI = Camera(fx=721.5377, fy=721.5377, cx=609.5593, cy=172.854, height=375, width=1242)


def project(camera: Camera, point: np.ndarray) -> np.ndarray:
    u, v, w = camera.matrix() @ point
    return np.array([u / w, v / w])


points = st.tuples(st.floats(-20, 20), st.floats(-5, 5), st.floats(1, 500)).map(np.array)


@given(points, st.integers(10, 2000), st.integers(10, 2000))
def test_resizing_keeps_pixel_edges_in_place(point: np.ndarray, height: int, width: int) -> None:
    # A pixel's position measured from the image's outer edge, in image widths, does not depend on the resolution.
    before = (project(KITTI, point) + 0.5) / [KITTI.width, KITTI.height]
    after = (project(KITTI.resized((height, width)), point) + 0.5) / [width, height]
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)


@given(points, st.integers(-50, 300), st.integers(-50, 900))
def test_cropping_moves_the_point_by_the_corner(point: np.ndarray, top: int, left: int) -> None:
    after = project(KITTI.cropped(top, left, (100, 200)), point)
    np.testing.assert_allclose(after, project(KITTI, point) - [left, top], atol=1e-9)


@given(points)
def test_flipping_mirrors_the_mirrored_point(point: np.ndarray) -> None:
    mirrored = point * [-1, 1, 1]
    before, after = project(KITTI, point), project(KITTI.flipped(), mirrored)
    np.testing.assert_allclose(after, [KITTI.width - 1 - before[0], before[1]], atol=1e-9)


def test_halving_an_image_by_hand() -> None:
    # Pixels 0 and 1 become pixel 0: what was at 0.5 is now at 0.
    half = Camera(fx=100, fy=80, cx=0.5, cy=10.5, height=40, width=60).resized((20, 30))
    assert (half.fx, half.fy, half.cx, half.cy, half.height, half.width) == (50, 40, 0, 5, 20, 30)


def batch() -> Batch:
    """Four samples: labels of 0 and 2, frames of 1 and 2, a camera of 2 and 3."""
    targets = {
        "label": torch.arange(4 * 6, dtype=torch.uint8).view(4, 2, 3),
        "frames": torch.arange(4 * 36, dtype=torch.uint8).view(4, 2, 3, 2, 3),
        "camera": torch.eye(3) * torch.arange(4).view(4, 1, 1),
    }
    having = {"label": [0, 2], "frames": [1, 2], "camera": [2, 3]}
    present = {name: torch.tensor([row in rows for row in range(4)]) for name, rows in having.items()}
    image = torch.arange(4 * 18, dtype=torch.uint8).view(4, 3, 2, 3)
    return Batch(tuple("abcd"), (1, 2, 3, 4), image, targets, present, torch.rand(4, 2, 3) < 0.5)


class TestBatch:
    def test_rows_are_the_samples_that_have_all_of_it(self) -> None:
        made = batch()
        assert len(made) == 4
        assert made.rows("label") == [0, 2]
        assert made.rows("frames", "camera") == [2]
        assert made.rows("label", "frames", "camera") == [2]
        assert made.rows("depth") == made.rows("label", "depth") == []
        assert made.has("frames", "camera")
        assert not made.has("depth")
        nobody = Batch(made.ids, made.keys, made.image, made.targets, {"label": torch.zeros(4, dtype=torch.bool)})
        assert not nobody.has("label")
        assert nobody.rows("label") == []

    def test_taking_rows_takes_everything_of_them(self) -> None:
        made = batch()
        part = made.take([3, 1])
        assert (part.ids, part.keys) == (("d", "b"), (4, 2))
        assert torch.equal(part.image, made.image[[3, 1]])
        assert made.valid is not None
        assert part.valid is not None
        assert torch.equal(part.valid, made.valid[[3, 1]])
        for name, target in made.targets.items():
            assert torch.equal(part.targets[name], target[[3, 1]])
            assert torch.equal(part.present[name], made.present[name][[3, 1]])
        assert part.rows("frames") == [1]

    def test_all_of_it_in_another_order_is_not_it(self) -> None:
        made = batch()
        assert made.take([0, 1, 2, 3]) is made
        assert made.take([3, 2, 1, 0]).ids == ("d", "c", "b", "a")

    def test_it_moves_whole_but_for_what_stays_on_the_host(self) -> None:
        moved = batch().to("meta")
        assert moved.valid is not None
        tensors = (moved.image, moved.valid, *moved.targets.values())
        assert all(tensor.device.type == "meta" for tensor in tensors)
        assert all(which.device.type == "cpu" for which in moved.present.values())
        assert moved.rows("frames", "camera") == [2]
        assert Batch(("a",), (1,), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).to("meta").valid is None

    @pytest.mark.gpu
    def test_pinned_memory(self) -> None:
        if not torch.cuda.is_available():
            pytest.skip("memory is pinned only where there is a GPU")
        pinned = batch().pin_memory()
        assert pinned.image.is_pinned()
        assert all(target.is_pinned() for target in pinned.targets.values())
        assert torch.equal(pinned.to("cuda").image.cpu(), batch().image)


def test_class_lists_are_checked() -> None:
    with pytest.raises(FathomError, match="2 class names but 1 colours"):
        ClassList(("a", "b"), ((0, 0, 0),))
    with pytest.raises(FathomError, match="2 to 254 classes, but this one has 1"):
        ClassList(("a",), ((0, 0, 0),))
    assert ClassList(("a", "b"), ((1, 2, 3), (4, 5, 6))).palette[:3].tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0]]
