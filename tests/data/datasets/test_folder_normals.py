"""Surface normals of the user's own data: stored ones come before those of depth and camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.several import Several
from fathomseg.data.normals import true_normals
from fathomseg.io.normal_maps import write_normals
from fathomseg.stages.check import check
from fathomseg.tasks import Normals
from tests.fakes import make_folder, save, write_yaml

SIZE = (16, 24)
STORED, COMPUTED = "images/000", "images/001"
UP = np.broadcast_to(np.array([0, -0.6, -0.8], np.float32), (*SIZE, 3)).copy()


def folder(root: Path) -> Folder:
    """Three images: one with depth and stored normals, one with depth alone, one without either."""
    make_folder(root, images=3, clips=0, size=SIZE)
    camera = {"width": SIZE[1], "height": SIZE[0], "fx": 20.0, "fy": 20.0, "cx": 11.5, "cy": 7.5}
    classes = ["road", "car", "sky"]
    write_yaml(root / "dataset.yaml", {"classes": classes, "ignore": [9], "depth_scale": 0.001, "camera": camera})
    for id in (STORED, COMPUTED):
        save(root / "depth" / f"{id[-3:]}.png", np.full(SIZE, 2500, np.uint16))
    write_normals(root / "normals" / "000.png", UP)
    return Folder(root=root)


def test_stored_normals_come_before_computed_ones(tmp_path: Path) -> None:
    data = folder(tmp_path)
    np.testing.assert_allclose(data.normals(STORED), UP, atol=2e-5)
    np.testing.assert_array_equal(data.normals(COMPUTED), true_normals(data.depth(COMPUTED), data.camera(COMPUTED)))
    assert data.normals("images/002") is None
    assert [data.has_normals(id) for id in data.ids("all")[:3]] == [True, True, False]
    np.testing.assert_array_equal(Normals().truth(data, STORED), data.normals(STORED))


def test_the_cache_and_a_union_of_datasets_have_them(tmp_path: Path) -> None:
    data = folder(tmp_path / "data")
    both = Several(datasets={"mine": data})
    for _ in range(2):  # made, then read from disk
        for dataset, id in ((data, STORED), (both, f"mine/{STORED}")):
            found = Cache(dataset, (8, 12), folder=tmp_path / "cache").read(id, "normals")
            np.testing.assert_allclose(found, UP[:8, :12], atol=2e-5)
    write_normals(tmp_path / "data" / "normals" / "000.png", UP[:, :, [0, 2, 1]])
    found = Cache(Folder(root=data.root), (8, 12), folder=tmp_path / "cache").read(STORED, "normals")
    np.testing.assert_allclose(found, UP[:8, :12, [0, 2, 1]], atol=2e-5)


def test_a_map_of_another_size_is_brought_to_its_image(tmp_path: Path) -> None:
    data = folder(tmp_path)
    write_normals(tmp_path / "normals" / "000.png", np.repeat(np.repeat(UP, 2, axis=0), 2, axis=1))
    np.testing.assert_allclose(data.normals(STORED), UP, atol=2e-5)


def test_what_are_no_normals_is_reported(tmp_path: Path) -> None:
    folder(tmp_path)
    save(tmp_path / "normals" / "001.png", np.zeros((*SIZE, 3), np.uint8))
    write_normals(tmp_path / "normals" / "002.png", UP.transpose(1, 0, 2))
    write_normals(tmp_path / "normals" / "009.png", UP)
    (tmp_path / "normals" / "notes.txt").write_text("by hand")
    report = check(Folder(root=tmp_path))
    text = "\n".join(map(str, report.problems))
    assert "expected RGB of 16 bits" in text
    assert "lies on its side" in text
    assert "are the normals of no image" in text
    assert any("normals/ holds files that are not read: 1 .txt" in note for note in report.notes)
