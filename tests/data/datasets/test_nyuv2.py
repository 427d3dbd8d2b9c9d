"""NYU Depth v2: layouts, units of depth, hold-out, cameras, the official file, and what is told about bad copies."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.nyuv2 import CLASSES, NyuV2
from fathomseg.errors import DataError, FathomError
from fathomseg.io.label_images import read_values
from fathomseg.stages.check import check
from tests.fakes import make_nyuv2, make_nyuv2_mat, save


def depth(data: NyuV2, id: str) -> np.ndarray:
    found = data.depth(id)
    assert found is not None
    return found


def test_lists_and_folders_give_the_same_samples(tmp_path: Path) -> None:
    lists = NyuV2(root=make_nyuv2(tmp_path / "a"))
    folders = NyuV2(root=make_nyuv2(tmp_path / "b", "folders"))
    assert lists.splits == folders.splits == ("train", "val")
    assert lists.ids("val") == ("0003", "0006", "0012", "0021", "0030", "0033", "0051")
    assert [id.rpartition("/")[2] for id in folders.ids("val")] == list(lists.ids("val"))
    assert {id.partition("/")[0] for id in folders.ids("val")} == {"test"}
    for ours, theirs in zip(lists.ids("train"), folders.ids("train"), strict=True):
        np.testing.assert_array_equal(lists.image(ours), folders.image(theirs))
        np.testing.assert_array_equal(lists.label(ours), folders.label(theirs))
        np.testing.assert_array_equal(depth(lists, ours), depth(folders, theirs))


def test_labels_begin_at_one_or_at_zero_and_the_other_way_round_is_refused(tmp_path: Path) -> None:
    one = NyuV2(root=make_nyuv2(tmp_path / "a"))
    zero = NyuV2(root=make_nyuv2(tmp_path / "b", first_id=0), first_id=0)
    label = one.label("0004")
    np.testing.assert_array_equal(label, zero.label("0004"))
    stored = read_values(tmp_path / "a/seg40/0004.png").astype(int)
    np.testing.assert_array_equal(label, np.where(stored == 0, 255, stored - 1))
    with pytest.raises(DataError, match=r"255 .*if 0 is wall, set first_id=0"):
        [NyuV2(root=tmp_path / "b").label(id) for id in one.ids("train")]
    assert len(CLASSES) == 40
    assert (CLASSES.names[0], CLASSES.names[21], CLASSES.names[39]) == ("wall", "ceiling", "other prop")


@pytest.mark.parametrize("steps", [1000, 5000])
def test_the_unit_of_depth_is_told_from_the_maps(tmp_path: Path, steps: int) -> None:
    data = NyuV2(root=make_nyuv2(tmp_path, steps=steps))
    expected = np.tile(np.linspace(3, 1, 24)[:, None], (1, 32))
    expected[:, 0] = 0
    np.testing.assert_allclose(depth(data, "0004"), expected, atol=1 / steps)
    assert f"1/{steps} m" in data.notes()[1]
    other = NyuV2(root=tmp_path, per_metre=2 * steps)
    np.testing.assert_allclose(depth(other, "0004"), expected / 2, atol=1 / steps)
    assert other.fingerprint("0004", "depth") != data.fingerprint("0004", "depth")


def test_without_test_images_whole_runs_of_numbers_are_held_out(tmp_path: Path) -> None:
    data = NyuV2(root=make_nyuv2(tmp_path, test=False), val_percent=40)
    runs = [range(3, 7), range(10, 13), range(19, 22), range(30, 34), range(50, 53)]
    val = {int(id) for id in data.ids("val")}
    assert 0 < len(val) < 17
    for run in runs:
        assert val.issuperset(run) or val.isdisjoint(run)
    assert "there are no test images" in data.notes()[0]
    one = NyuV2(root=make_nyuv2(tmp_path / "long", test=False, numbers=range(1, 60)))  # numbered anew: no gaps
    assert set(map(len, map(one.ids, ("train", "val")))) == {40, 19}


def test_blocks_keep_the_test_images_apart(tmp_path: Path) -> None:
    make_nyuv2(tmp_path)
    usual, blocks = NyuV2(root=tmp_path), NyuV2(root=tmp_path, blocks=True)
    assert blocks.splits == ("train", "val", "test")
    assert blocks.ids("test") == usual.ids("val")
    assert sorted((*blocks.ids("train"), *blocks.ids("val"))) == list(usual.ids("train"))


@pytest.mark.parametrize(
    ("size", "centre"),  # the toolbox has 325.582449, 253.736166, counted from 1
    [
        ((480, 640), (324.582449, 252.736166)),
        ((427, 561), (284.582449, 208.736166)),
        ((425, 560), (284.582449, 207.736166)),
    ],
)
def test_the_camera_follows_crop_and_scale(tmp_path: Path, size: tuple[int, int], centre: tuple[float, float]) -> None:
    make_nyuv2(tmp_path, numbers=(1, 2, 4))
    save(tmp_path / "image/0001.png", np.zeros((*size, 3), np.uint8))
    camera = NyuV2(root=tmp_path).camera("0001")
    assert camera is not None
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((518.857901, 519.469611, *centre))
    half = NyuV2(root=tmp_path).camera("0002")  # of 24 x 32
    assert half is not None
    assert half.fx == pytest.approx(518.857901 / 20)
    save(tmp_path / "image/0001.png", np.zeros((24, 24, 3), np.uint8))
    assert NyuV2(root=tmp_path).camera("0001") is None


def test_images_may_have_a_label_or_depth_alone(tmp_path: Path) -> None:
    make_nyuv2(tmp_path)
    for name in ("depth/0010.png", "seg40/0011.png", "seg40/0020.png"):
        (tmp_path / name).unlink()
    report = check(NyuV2(root=tmp_path))
    assert report.problems == ()
    assert {"2 of 17 images have no label.", "1 of 17 images have no depth map."} <= set(report.notes)


def test_check_names_bad_files_and_the_range_of_depth(tmp_path: Path) -> None:
    make_nyuv2(tmp_path)
    (tmp_path / "depth/0004.png").write_bytes((tmp_path / "depth/0004.png").read_bytes()[:60])
    save(tmp_path / "depth/0005.png", np.zeros((24, 32), np.uint8))
    (tmp_path / "depth/0010.png").unlink()
    (tmp_path / "seg40/0010.png").unlink()
    save(tmp_path / "seg40/0020.png", np.full((24, 32), 77, np.uint8))
    report = check(NyuV2(root=tmp_path))
    found = {str(Path(p.where).relative_to(tmp_path)): p.reason for p in report.problems}
    assert "cannot be decoded" in found.pop("depth/0004.png")
    assert "pixels of type uint8; expected 16-bit depth" in found.pop("depth/0005.png")
    assert "has no label or depth map of the same name" in found.pop("image/0010.png")
    assert "id 77 (768 pixels) not in the class list" in found.pop("seg40/0020.png")
    assert not found
    train, val = report.splits["train"], report.splits["val"]
    assert (train.depths, val.depths) == (train.images - 3, val.images)
    assert val.depth is not None
    assert (val.depth.least, val.depth.largest) == (1, 3)
    assert val.depth.median == pytest.approx(2, abs=0.05)
    assert val.depth.valid == pytest.approx(31 / 32)


def test_bad_lists_and_a_missing_list_are_refused(tmp_path: Path) -> None:
    make_nyuv2(tmp_path)
    with (tmp_path / "train.txt").open("a") as file:
        file.write("image/0003.jpg\n\n0999\n")
    with pytest.raises(DataError) as caught:
        NyuV2(root=tmp_path).splits  # noqa: B018
    assert [p.reason for p in caught.value.problems] == [
        "names 0999, but there is no such image",
        "names 0003, as train.txt does",
    ]
    (tmp_path / "train.txt").unlink()
    with pytest.raises(FathomError, match=r"17 images, .*expected train.txt"):
        NyuV2(root=tmp_path).splits  # noqa: B018


class TestOfficialFile:
    """The file is made with h5py, as MATLAB lays it out."""

    @pytest.fixture(autouse=True)
    def packages(self) -> None:
        pytest.importorskip("h5py", reason="needs the extra nyuv2")
        pytest.importorskip("scipy", reason="needs the extra nyuv2")

    def test_images_depth_and_labels_are_turned_upright_and_mapped_by_name(self, tmp_path: Path) -> None:
        made = make_nyuv2_mat(tmp_path)
        data = NyuV2(root=tmp_path)
        assert data.splits == ("train", "val")
        assert data.ids("val") == ("0003", "0006")
        for place, id in enumerate(sorted((*data.ids("train"), *data.ids("val")))):
            np.testing.assert_array_equal(data.image(id), made.images[place])
            np.testing.assert_array_equal(depth(data, id), made.depths[place])
            classes = np.array([255, 4, 0, 39])  # of no label, chair, wall, whatnot
            np.testing.assert_array_equal(data.label(id), classes[made.labels[place]])
        camera = data.camera("0001")
        assert camera is not None
        assert (camera.height, camera.width) == (24, 32)
        keys = [data.fingerprint(id, kind) for id in ("0001", "0002") for kind in ("image", "label", "depth")]  # type: ignore[arg-type]
        assert len(set(keys)) == 6
        report = check(data)
        assert report.problems == ()
        assert report.splits["train"].depths == 4

    def test_scenes_stay_together_if_blocks_are_held_out(self, tmp_path: Path) -> None:
        make_nyuv2_mat(tmp_path)
        data = NyuV2(root=tmp_path, blocks=True, val_percent=1)
        assert data.ids("test") == ("0003", "0006")
        assert sorted([data.ids("train"), data.ids("val")]) == [("0001", "0002"), ("0004", "0005")]

    def test_what_is_missing_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make_nyuv2_mat(tmp_path)
        (tmp_path / "classMapping40.mat").unlink()
        data = NyuV2(root=tmp_path)
        assert data.image("0001").shape == (24, 32, 3)
        with pytest.raises(DataError, match=r"classMapping40.mat: is missing.*Gupta"):
            data.label("0001")
        assert [Path(p.where).name for p in check(data).problems] == ["classMapping40.mat"]
        (tmp_path / "splits.mat").unlink()
        with pytest.raises(FathomError, match=r"splits.mat is missing.*train.txt"):
            NyuV2(root=tmp_path).splits  # noqa: B018
        (tmp_path / "train.txt").write_text("0001\n0002\n")
        alone = NyuV2(root=tmp_path, val_percent=99)
        assert alone.ids("train") == ("0001", "0002"), "one scene, which is never held out as a whole"
        assert "val" not in alone.splits
        real = importlib.import_module

        def without(name: str, *rest: str) -> object:
            if name == "h5py":
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(importlib, "import_module", without)
        with pytest.raises(FathomError, match=r"needs the package h5py. Run `pip install \"fathomseg\[nyuv2\]\"`"):
            NyuV2(root=tmp_path).splits  # noqa: B018


@pytest.mark.realdata
def test_the_real_copy_is_plausible(real_data: Path) -> None:
    data = NyuV2(root=real_data / "nyuv2")
    assert [len(data.ids(split)) for split in data.splits] == [672, 123]
    report = check(data, ["val"])
    split = report.splits["val"]
    assert report.problems == ()
    assert 0.25 < split.pixels["wall"] / split.labelled_pixels < 0.35
    assert split.depth is not None
    assert 0.5 < split.depth.least < 1.5
    assert 2 < split.depth.median < 3.5
    assert 8 < split.depth.largest <= 10.1
