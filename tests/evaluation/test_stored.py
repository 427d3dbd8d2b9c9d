"""Predictions stored by others: found by name, of a kind that tells their task, everything wrong named at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.errors import DataError, FathomError
from fathomseg.evaluation.scoring import score
from fathomseg.evaluation.stored import FromFolder, stored_task
from fathomseg.io import draw
from fathomseg.io.depth_maps import write_disparity, write_scale
from fathomseg.tasks import Depth, Segmentation
from tests.toy_drive import ToyDrive

DATA = ToyDrive(lengths=(4,))
IDS = tuple(DATA.ids("val"))


def source(folder: Path) -> FromFolder:
    return FromFolder(folder, Depth(min_depth=1.0, max_depth=20.0), DATA, IDS)


def scores(folder: Path) -> dict[str, float]:
    found = source(folder)
    return score(found, DATA, IDS, {"depth": found.task})["depth"].result["none"]


def truth(factor: float) -> np.ndarray:
    depth = DATA.depth(IDS[0])
    assert depth is not None
    return factor * depth


@pytest.mark.parametrize("name", ["{id}.npy", "{stem}.npy", "deep/er/{id}.npy"])
def test_metres(tmp_path: Path, name: str) -> None:
    for id in IDS:
        path = tmp_path / name.format(id=id, stem=id.rsplit("/", 1)[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, truth(1.1))  # 0 where the truth is unknown, which counts nowhere
    assert scores(tmp_path)["abs_rel"] == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("stated", [True, False])
def test_disparity_by_the_scale_beside_it_or_that_of_the_run(tmp_path: Path, stated: bool) -> None:
    near, far = (0.5, 40.0) if stated else (1.0, 20.0)
    if stated:
        write_scale(tmp_path, (near, far))
    depth = np.where(truth(1) > 0, truth(1.2), far)
    disparity = (1 / depth - 1 / far) / (1 / near - 1 / far)
    for id in IDS:
        write_disparity(tmp_path / "disparity" / f"{id}.png", disparity.astype(np.float32))
    assert scores(tmp_path / "disparity")["abs_rel"] == pytest.approx(0.2, rel=1e-3)


def test_another_size_is_resampled_in_inverse_depth(tmp_path: Path) -> None:
    np.save(tmp_path / "00.npy", np.array([[2.0, 8.0]]))
    maker = source(tmp_path)
    wanted = {"depth": np.ones((1, 4), np.float32)}
    found = maker.predict("c0/00", maker.read("c0/00"), wanted)["depth"]["depth"].numpy()
    between = 1 / np.array([0.75 / 2 + 0.25 / 8, 0.25 / 2 + 0.75 / 8])
    np.testing.assert_allclose(found, [[2, *between, 8]], rtol=1e-6)


def test_holes_do_not_stain_their_neighbours(tmp_path: Path) -> None:
    """Where nothing was predicted is not infinitely far: at another size too, depth is what it was, or is refused."""
    half = np.full((3, 4), 10.0)
    half[:, 1] = np.nan
    np.save(tmp_path / "00.npy", half)
    maker = source(tmp_path)
    counted = np.ones((6, 8), np.float32)
    counted[:, 2:4] = 0
    found = maker.predict("c0/00", maker.read("c0/00"), {"depth": counted})["depth"]["depth"].numpy()
    np.testing.assert_allclose(found[counted > 0], 10.0, rtol=1e-6)
    with pytest.raises(DataError, match="no positive depth at 12 pixels"):
        maker.predict("c0/00", maker.read("c0/00"), {"depth": np.ones((6, 8), np.float32)})


def test_everything_wrong_is_listed_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "00.npy", np.zeros((3, 4), int))
    np.save(tmp_path / "01.npy", np.where(truth(1) == 8, np.nan, 1.0))
    draw.write(tmp_path / "02.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError) as caught:
        scores(tmp_path)
    reasons = [problem.reason for problem in caught.value.problems]
    assert len(reasons) == 4
    for expected, reason in zip(
        ("int64 of shape (3, 4)", "no positive depth at 20 pixels", "16 bits", "has no file"),
        reasons,
        strict=True,
    ):
        assert expected in reason


def test_two_kinds_of_one_map_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "00.npy", truth(1))
    write_disparity(tmp_path / "00.png", np.ones((6, 8), np.float32))
    with pytest.raises(DataError, match="has 2 files"):
        source(tmp_path).read("c0/00")


def test_a_damaged_file_and_an_archive_are_named(tmp_path: Path) -> None:
    (tmp_path / "00.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "01.npy").write_bytes(b"")
    for id, reason in (("c0/00", "cannot be read as a file of NumPy"), ("c0/01", "cannot be read as a file of NumPy")):
        with pytest.raises(DataError, match=reason):
            source(tmp_path).read(id)


def test_a_flat_file_never_serves_two_samples(tmp_path: Path) -> None:
    draw.write(tmp_path / "000.png", np.zeros((2, 2), np.uint8))
    draw.write(tmp_path / "b" / "001.png", np.zeros((2, 2), np.uint8))
    draw.write(tmp_path / "c" / "b" / "002.png", np.zeros((2, 2), np.uint8))
    draw.write(tmp_path / "d" / "b" / "002.png", np.zeros((2, 2), np.uint8))
    ids = ("val/a/000", "val/b/000", "val/a/001", "val/b/001", "b/002")
    found = FromFolder(tmp_path, Segmentation(), DATA, ids)
    assert found.path("val/b/001") == tmp_path / "b" / "001.png"
    for id, reason in (
        ("val/a/000", "might be the file of val/b/000 too"),
        ("val/a/001", "has no file"),  # b/001.png is not its own
        ("b/002", "has 2 files"),
    ):
        with pytest.raises(DataError, match=reason):
            found.path(id)


def test_the_kind_of_its_files_tells_the_task_of_a_folder(tmp_path: Path) -> None:
    tasks = {"segmentation": Segmentation(), "depth": Depth()}
    labels, disparity, metres = (tmp_path / name for name in ("labels", "disparity", "metres"))
    draw.write(labels / "a" / "00.png", np.zeros((6, 8), np.uint8))
    (labels / "notes.txt").write_text("of no kind")
    write_disparity(disparity / "00.png", np.ones((6, 8), np.float32))
    metres.mkdir()
    np.save(metres / "00.npy", truth(1))
    found = [stored_task(folder, tasks).name for folder in (labels, disparity, metres)]
    assert found == ["segmentation", "depth", "depth"]
    assert stored_task(disparity, {"segmentation": tasks["segmentation"]}).name == "segmentation"
    with pytest.raises(FathomError, match=r"predictions of segmentation and of depth. Say with --tasks which"):
        stored_task(tmp_path, tasks)
    with pytest.raises(FathomError, match="of no task there is"):
        stored_task(tmp_path / "nowhere", tasks)
