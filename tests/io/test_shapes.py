from __future__ import annotations

import pytest

from fathomseg.errors import DataError
from fathomseg.io.shapes import fitted, refuse_other_shape, same_shape
from fathomseg.types import Camera


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((192, 640), (375, 1242), True),  # a network's size for KITTI
        ((320, 1024), (375, 1242), True),
        ((8, 12), (24, 32), True),  # rounded to whole pixels
        ((1024, 2048), (512, 1024), True),
        ((480, 640), (640, 480), False),
        ((480, 640), (1080, 1920), False),
        ((48, 64), (32, 64), False),
    ],
)
def test_proportions(one: tuple[int, int], other: tuple[int, int], same: bool) -> None:
    assert same_shape(one, other) == same == same_shape(other, one)


def test_the_message_tells_a_turn_from_a_cut() -> None:
    with pytest.raises(DataError, match=r"a\.png: the map is 48 x 64 .*image of 64 x 48: it lies on its side.*EXIF"):
        refuse_other_shape("the map", (48, 64), (64, 48), "a.png")
    with pytest.raises(DataError, match="of 64 x 200: make it of the whole image; nothing is stretched"):
        refuse_other_shape("the map", (48, 64), (64, 200), "a.png")


def test_a_camera_of_another_shape_is_refused() -> None:
    camera = Camera(100.0, 100.0, 31.5, 23.5, 48, 64)
    assert fitted(camera, (96, 128), "camera.yaml").fx == 200
    with pytest.raises(DataError, match=r"camera\.yaml: the camera is 48 x 64"):
        fitted(camera, (64, 48), "camera.yaml")


def test_a_camera_has_less_to_spare_than_a_map() -> None:
    camera = Camera(700.0, 700.0, 639.5, 359.5, 720, 1280)
    assert fitted(camera, (375, 667), "camera.yaml").width == 667
    refuse_other_shape("the map", (720, 1280), (720, 1200), "a.png")
    with pytest.raises(DataError, match=r"camera\.yaml: the camera is 720 x 1280"):
        fitted(camera, (720, 1200), "camera.yaml")
