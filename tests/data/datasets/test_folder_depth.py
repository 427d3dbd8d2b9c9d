"""Depth maps of the user's own data: numbers of a sensor in metres, and clear errors for what cannot be depth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from fathomseg.config import load
from fathomseg.data.datasets.description import Description, NoClasses
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.several import Several
from fathomseg.errors import ConfigError, DataError
from fathomseg.report.check_page import render_check
from fathomseg.stages.check import check
from tests.fakes import make_folder, save, write_yaml

SIZE = (16, 24)
STORED = np.full(SIZE, 2500, np.uint16)
STORED[0, 1] = 0
METRES = np.where(STORED, np.float32(2.5), np.float32(0))


def folder(root: Path, **given: object) -> Folder:
    """Three images and a clip; more lines of dataset.yaml may be `given`."""
    make_folder(root, images=3, clips=1, frames=2, size=SIZE)
    path = root / "dataset.yaml"
    write_yaml(path, yaml.safe_load(path.read_text()) | given)
    return Folder(root=root)


def reasons(data: Folder) -> list[str]:
    return [str(problem) for problem in check(data).problems]


def test_millimetres_become_metres_and_0_is_unknown(tmp_path: Path) -> None:
    data = folder(tmp_path, depth_scale=0.001)
    save(tmp_path / "depth" / "000.png", STORED)
    save(tmp_path / "depth" / "clips" / "drive0" / "000001.png", 2 * STORED)
    np.testing.assert_array_equal(data.depth("images/000"), METRES)
    np.testing.assert_array_equal(data.depth("clips/drive0/000001"), 2 * METRES)
    assert data.depth("images/001") is None
    assert [data.has_depth(id) for id in ("images/000", "images/001", "clips/drive0/000001")] == [True, False, True]
    assert reasons(data) == []


def test_arrays_of_metres(tmp_path: Path) -> None:
    """What is negative, infinite, too large for a float32 or NaN is unknown; an .npz may have others beside `depth`."""
    data = folder(tmp_path, depth_scale=1)
    (tmp_path / "depth").mkdir()
    stored = np.array([[0.5, np.nan, np.inf, -1, 0, 3] * 4] * 16)
    np.save(tmp_path / "depth" / "000.npy", np.where(stored == -1, 1e300, stored))
    np.savez(tmp_path / "depth" / "001.npz", depth=stored.astype(np.float16), confidence=stored)
    for id in ("images/000", "images/001"):
        np.testing.assert_array_equal(data.depth(id), np.array([[0.5, 0, 0, 0, 0, 3] * 4] * 16, np.float32))


def test_a_map_of_another_size_is_brought_to_its_image_and_of_another_shape_refused(tmp_path: Path) -> None:
    data = folder(tmp_path, depth_scale=0.001)
    save(tmp_path / "depth" / "000.png", np.repeat(np.repeat(STORED, 2, axis=0), 2, axis=1))
    save(tmp_path / "depth" / "001.png", STORED.T.copy())
    np.testing.assert_array_equal(data.depth("images/000"), METRES)
    with pytest.raises(DataError, match=r"001\.png.*the depth map is 24 x 16 .* lies on its side"):
        data.depth("images/001")


def test_the_cache_knows_the_scale(tmp_path: Path) -> None:
    data = folder(tmp_path, depth_scale=0.001)
    save(tmp_path / "depth" / "000.png", STORED)
    known = data.fingerprint("images/000", "depth")
    assert known != folder(tmp_path, depth_scale=0.0002).fingerprint("images/000", "depth")
    assert data.fingerprint("images/001", "depth") is None
    assert data.fingerprint("images/000", "label") is not None


def test_depth_without_a_scale_is_left_alone_and_says_what_to_write(tmp_path: Path) -> None:
    """Trainings that need no depth have no fault in it."""
    camera = {"width": SIZE[1], "height": SIZE[0], "fx": 20.0, "fy": 20.0, "cx": 11.5, "cy": 7.5}
    data = folder(tmp_path, camera=camera)
    for name in ("000.png", "001.png", "001.npy", "009.png"):
        save(tmp_path / "depth" / "000.png", STORED)
        (tmp_path / "depth" / name).write_bytes((tmp_path / "depth" / "000.png").read_bytes())
    assert data.depth("images/000") is None
    assert not data.has_depth("images/000")
    assert not data.has_normals("images/000")
    assert data.fingerprint("images/000", "depth") is None
    report = check(data)
    assert report.problems == ()
    said = "depth/ holds 4 maps that are not read: write `depth_scale: 0.001` in dataset.yaml if they are millimetres"
    assert [note for note in report.notes if note.startswith(said)]
    assert (Several(datasets={"mine": data}).unread_depth() or "").startswith(f"mine: {said}")
    assert folder(tmp_path, depth_scale=1).unread_depth() is None


def test_what_is_no_depth_is_refused(tmp_path: Path) -> None:
    data = folder(tmp_path, depth_scale=0.001)
    save(tmp_path / "depth" / "000.png", STORED.astype(np.uint8))
    save(tmp_path / "depth" / "001.png", np.dstack([STORED, 2 * STORED, STORED]).astype(np.uint8))
    save(tmp_path / "depth" / "009.png", STORED)
    (tmp_path / "depth" / "notes.txt").write_text("by hand")
    report = check(data)
    text = "\n".join(map(str, report.problems))
    assert "000.png has 8-bit pixels" in text.replace(":", "")
    assert "is a colour image" in text
    assert "is the depth of no image" in text
    assert any("depth/ holds files that are not read: 1 .txt" in note for note in report.notes)
    np.save(tmp_path / "depth" / "009.npy", STORED)
    assert any("has the same name as" in one for one in reasons(Folder(root=tmp_path)))


def test_a_scale_of_units_per_metre_says_its_inverse() -> None:
    classes = ["road", "sky"]
    with pytest.raises(ConfigError, match=r"for 1000 units a metre write depth_scale: 0\.001"):
        load(Description, {"classes": classes, "depth_scale": 1000})
    with pytest.raises(ConfigError, match="greater than 0"):
        load(Description, {"classes": classes, "depth_scale": 0})


def test_check_counts_and_shows_depth(tmp_path: Path) -> None:
    data = folder(tmp_path, depth_scale=0.001)
    for id in (0, 1):
        save(tmp_path / "depth" / f"00{id}.png", (id + 1) * STORED)
    report = check(data).splits["all"]
    assert report.depths == 2
    assert report.depth is not None
    assert (report.depth.least, report.depth.largest) == (2.5, 5.0)
    page = render_check(dataclasses.asdict(check(data)), data, [], {"command": "", "commit": "", "machine": {}})
    assert "with depth" in page


NAMES = [f"images/{i:03d}" for i in range(9)]


def unlabelled(root: Path, clips: int = 0) -> Path:
    """Nine images with depth, clips with depth, and no classes."""
    data = make_folder(root, images=9, labels=None, clips=clips, frames=2, size=SIZE)
    write_yaml(data / "dataset.yaml", {"depth_scale": 0.001})
    for name in [*(name.partition("/")[2] for name in NAMES), *(f"clips/drive{i}/000001" for i in range(clips))]:
        save(data / "depth" / f"{name}.png", STORED)
    return data


def label_all(root: Path) -> None:
    write_yaml(root / "dataset.yaml", {"depth_scale": 0.001, "classes": ["road", "sky"]})
    for name in NAMES:
        save(root / "labels" / f"{name.partition('/')[2]}.png", np.zeros(SIZE, np.uint8))


def test_what_is_held_out_by_depth_stays_so_when_labels_come(tmp_path: Path) -> None:
    data = unlabelled(tmp_path)
    before = Folder(root=data, val_by="depth")
    val = set(before.ids("val"))
    assert set() < val < set(NAMES)
    assert before.held_out() == val == set(NAMES) - set(before.ids("train"))
    assert any("of the images with depth are val" in note for note in before.notes())
    report = check(before)
    assert not report.problems
    assert any("dataset.yaml: `classes` is required for labels" in note for note in report.notes)
    save(data / "labels" / "000.png", np.zeros(SIZE, np.uint8))
    save(data / "labels" / "001.png", np.zeros(SIZE, np.uint8))
    report = check(Folder(root=data))
    assert [str(problem) for problem in report.problems] == [f"{data / 'dataset.yaml'}: {report.problems[0].reason}"]
    assert report.problems[0].reason.startswith("`classes` is required for labels")
    assert not any("required" in note for note in report.notes)
    with pytest.raises(NoClasses):
        Folder(root=data).label("images/000")
    (data / "depth" / "008.png").unlink()
    label_all(data)
    assert set(Folder(root=data, val_by="depth").ids("val")) == val
    assert val >= set(Folder(root=data).ids("val")) - {NAMES[8]}


def test_without_labels_nothing_is_held_out_unless_it_is_to_be_by_depth(tmp_path: Path) -> None:
    """Whoever uses no depth is not stopped by two maps of one name either."""
    data = unlabelled(tmp_path)
    np.save(data / "depth" / "008.npy", STORED)
    folder = Folder(root=data)
    assert folder.splits == ("train", "all")
    assert folder.ids("train") == tuple(NAMES)
    assert any("so that there is no val" in note for note in folder.notes())
    with pytest.raises(DataError, match="the same name"):
        Folder(root=data, val_by="depth").splits  # noqa: B018


def test_clips_with_depth_are_held_out_as_a_whole(tmp_path: Path) -> None:
    data = unlabelled(tmp_path, clips=14)
    folder = Folder(root=data, val_by="depth")
    drives = {id.rsplit("/", 1)[0] for id in folder.ids("val") if id.startswith("clips/")}
    assert 0 < len(drives) < 14
    assert {id for id in folder.held_out() if id.startswith("clips/")} == {
        f"{drive}/{i:06d}" for drive in drives for i in range(2)
    }
    (data / "splits").mkdir()
    (data / "splits" / "train.txt").write_text("".join(f"{name}\n" for name in NAMES[1:]))
    folder = Folder(root=data, val_by="depth")
    assert set(folder.ids("val")) == {NAMES[0], *(f"clips/drive{i}/000001" for i in range(14))}
    assert any("val is every image with depth that the list of train leaves out" in note for note in folder.notes())
