"""Cameras known, assumed and to be learned: by hand, and by projecting points at the working size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.config import validate
from fathomseg.data.cache import Cache
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.several import Several
from fathomseg.data.intrinsics import FieldOfView, Known, Learned, field_of_view, pinhole
from fathomseg.data.loading import Stream
from fathomseg.data.motion import Triplet
from fathomseg.data.transforms import Geometry
from fathomseg.errors import FathomError
from fathomseg.types import Camera
from tests import fakes

SIZE = (24, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """`clips/drive0` has a camera, `clips/free` and the video `clips/film0` have none."""
    root = fakes.make_folder(tmp_path_factory.mktemp("own"), images=2, clips=1, videos=1, frames=3, size=SIZE)
    for i in range(3):
        fakes.save(root / "clips" / "free" / f"{i:06d}.png", fakes.scene(i, (30, 20), 4)[0])
    return Folder(root=root)


KNOWN, VIDEO, FREE = "clips/drive0/000001", "clips/film0/000001", "clips/free/000001"


def test_a_pinhole_by_hand() -> None:
    camera = pinhole((48, 64), 90)
    assert (camera.fx, camera.fy) == pytest.approx((32, 32)), "half the width, since tan 45 degrees is 1"
    assert (camera.cx, camera.cy, camera.height, camera.width) == (31.5, 23.5, 48, 64)
    assert pinhole((48, 64), 60).fx == pytest.approx(32 * math.sqrt(3))


@given(st.floats(2, 170), st.integers(1, 4000), st.integers(1, 4000))
def test_the_field_of_view_spans_the_image_from_edge_to_edge(degrees: float, height: int, width: int) -> None:
    camera = pinhole((height, width), degrees)
    left, right = (math.degrees(math.atan((u - camera.cx) / camera.fx)) for u in (-0.5, width - 0.5))
    assert -left == pytest.approx(degrees / 2, rel=1e-9)
    assert right == pytest.approx(degrees / 2, rel=1e-9)
    assert field_of_view(camera) == pytest.approx(degrees, rel=1e-9)


def test_known_cameras_are_the_datasets(folder: Folder) -> None:
    intrinsics = Known().intrinsics(folder, [KNOWN])
    assert intrinsics.cameras == {KNOWN: Camera(30, 30, 15.5, 11.5, 24, 32)}, "camera.yaml is for twice the size"
    assert (intrinsics.assumed, intrinsics.names, intrinsics.learned) == ({}, (), False)


def test_an_unknown_camera_is_an_error_that_names_the_remedies(folder: Folder) -> None:
    with pytest.raises(FathomError) as error:
        Known().intrinsics(folder, [KNOWN, VIDEO, FREE])
    for words in (
        "2 of 3 images of folder have no camera",
        repr(VIDEO),
        "camera.yaml",
        "camera.name=learned",
        "camera.name=field_of_view camera.degrees=65",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize("part", [FieldOfView(degrees=90), Learned(degrees=90)])
def test_only_the_unknown_are_guessed(folder: Folder, part: FieldOfView | Learned) -> None:
    intrinsics = part.intrinsics(folder, [KNOWN, VIDEO, FREE])
    assert intrinsics.cameras[KNOWN] == folder.camera(KNOWN)
    assert intrinsics.cameras[VIDEO] == pinhole((24, 32), 90)
    assert intrinsics.cameras[FREE] == pinhole((30, 20), 90), "each clip has its own size"
    assert intrinsics.assumed == {VIDEO: 0, FREE: 1}, "another size is another camera"
    assert intrinsics.names == ("clips-32x24", "clips-20x30")
    assert intrinsics.learned == isinstance(part, Learned)


def test_a_clip_is_looked_at_once_and_not_decoded(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    original = Folder.size_of
    monkeypatch.setattr(Folder, "image", None)
    monkeypatch.setattr(Folder, "size_of", lambda self, id: looked.append(id) or original(self, id))
    ids = [id for id in folder.ids("clips") if "drive0" not in id]
    assert len(ids) == 6
    FieldOfView().intrinsics(folder, ids)
    assert len(looked) == 2


def test_clips_of_one_folder_and_size_share_a_camera(tmp_path: Path) -> None:
    fakes.make_folder(tmp_path, images=0, clips=0)
    sizes = {"a": (24, 32), "b": (24, 32), "tall": (32, 24), "gopro/a": (24, 32), "gopro/b": (48, 64)}
    for clip, size in sizes.items():
        fakes.save(tmp_path / "clips" / clip / "0.png", fakes.scene(0, size, 4)[0])
    folder = Folder(root=tmp_path)
    intrinsics = Learned().intrinsics(folder, folder.ids("clips"))
    named = {id: intrinsics.names[number] for id, number in intrinsics.learned_focal_ids.items()}
    assert named == {
        "clips/a/0": "clips-32x24",
        "clips/b/0": "clips-32x24",
        "clips/tall/0": "clips-24x32",
        "clips/gopro/a/0": "clips-gopro-32x24",
        "clips/gopro/b/0": "clips-gopro-64x48",
    }


def test_each_of_several_datasets_is_a_device_of_its_own(folder: Folder, tmp_path: Path) -> None:
    other = fakes.make_folder(tmp_path / "other", images=2, clips=0, videos=1, frames=3, size=(16, 48))
    both = validate(
        Several, {"datasets": {n: {"name": "folder", "root": str(r)} for n, r in (("a", folder.root), ("b", other))}}
    )
    ids = [f"a/{KNOWN}", f"b/{VIDEO}", f"a/{FREE}", f"a/{VIDEO}"]
    intrinsics = Learned(degrees=90).intrinsics(both, ids)
    assert intrinsics.names == ("b-clips-48x16", "a-clips-20x30", "a-clips-32x24"), "in the order they are met"
    assert intrinsics.assumed == {f"b/{VIDEO}": 0, f"a/{FREE}": 1, f"a/{VIDEO}": 2}
    assert intrinsics.cameras[f"b/{VIDEO}"] == pinhole((16, 48), 90)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(0.5, 50))
def test_a_stretched_working_size_moves_points_as_it_moves_pixels(x: float, y: float, z: float) -> None:
    camera = pinhole((375, 1242), 81)
    working = camera.resized((128, 256))
    u, v, _ = camera.matrix() @ (x / z, y / z, 1)
    expected = ((u + 0.5) * 256 / 1242 - 0.5, (v + 0.5) * 128 / 375 - 0.5)
    found = working.matrix() @ (x / z, y / z, 1)
    assert found[:2] == pytest.approx(expected, abs=1e-9)
    assert working.fy / working.fx == pytest.approx((128 / 375) / (256 / 1242)), "pixels are no longer square"


def test_the_stream_carries_the_cameras_at_working_size(folder: Folder, tmp_path: Path) -> None:
    triplets = [Triplet(id, id[:-1] + "0", id[:-1] + "2") for id in (KNOWN, FREE)]
    intrinsics = FieldOfView(degrees=90).intrinsics(folder, [KNOWN, FREE])
    cache = Cache(folder, (48, 40), folder=tmp_path)
    neighbours = {x.target: {-1: x.before, 1: x.after} for x in triplets}

    def stream_of(geometry: Geometry) -> Stream:
        return Stream(cache, list(neighbours), ("image",), geometry, 0, neighbours, intrinsics.cameras)

    stream = stream_of(Geometry(scale=(1, 1), flip=0))
    found = {stream.id_at(i): stream[i][1].camera for i in range(2)}
    assert found[KNOWN] == Camera(30 * 40 / 32, 60, 16 * 40 / 32 - 0.5, 23.5, 48, 40)
    assert found[FREE] == pinhole((30, 20), 90).resized((48, 40))
    assert (found[FREE].fx, found[FREE].fy) == pytest.approx((20, 16)), "10 px in an image of 30 x 20"
    mirrored = stream_of(Geometry(crop=(20, 30), scale=(1, 1), flip=1.0))
    _, sample = mirrored[0]
    camera, whole = sample.camera, found[sample.id]
    assert camera is not None
    assert whole is not None
    assert (camera.fx, camera.fy) == (whole.fx, whole.fy)
    top, left = _place(np.asarray(cache.read(sample.id, "image")), sample.image[:, ::-1])
    assert camera.cx == pytest.approx(29 - (whole.cx - left))
    assert camera.cy == pytest.approx(whole.cy - top)


def _place(image: np.ndarray, window: np.ndarray) -> tuple[int, int]:
    """Where a window was cut."""
    height, width = window.shape[:2]
    places = [
        (top, left)
        for top in range(image.shape[0] - height + 1)
        for left in range(image.shape[1] - width + 1)
        if np.array_equal(image[top : top + height, left : left + width], window)
    ]
    (place,) = places
    return place
