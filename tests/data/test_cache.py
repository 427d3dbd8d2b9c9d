from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data import cache as cache_module
from fathomseg.data.cache import Cache, cache_folder
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.files import FileDataset
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import DataError, FathomError
from fathomseg.io.images import resize_image, resize_nearest
from tests.fakes import make_camvid, make_folder, save

SIZE = (12, 16)
FIRST = "train/0001TP_006690"


@pytest.fixture
def data(tmp_path: Path) -> CamVid:
    return CamVid(root=make_camvid(tmp_path / "data"))


def wanted(data: FileDataset, split: str = "train") -> list[tuple[str, str]]:
    return [(id, kind) for id in data.ids(split) for kind in ("image", "label")]


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every decoding is an error."""

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(Cache, "_decode", fail)


def test_arrays_are_those_of_the_dataset_at_the_size(data: CamVid, tmp_path: Path) -> None:
    cache = Cache(data, SIZE, tmp_path / "cache")
    for _ in range(2):  # decoded, then from the cache
        for id in data.ids("train"):
            image, label = cache.read(id, "image"), cache.read(id, "label")
            assert image is not None
            assert label is not None
            assert image.dtype == label.dtype == np.uint8
            assert image.flags.writeable  # torch.from_numpy wants that
            np.testing.assert_array_equal(image, resize_image(data.image(id), SIZE))
            np.testing.assert_array_equal(label, resize_nearest(data.label(id), SIZE))
            assert cache.read(id, "depth") is None


def test_after_prepare_nothing_is_decoded_not_even_by_another_process(
    data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    Cache(data, SIZE, tmp_path / "cache").prepare(wanted(data) * 3, lambda *progress: told.append(progress))
    assert told[-1] == (36, 36)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(entries(tmp_path / "cache")) == 12
    no_decoding(monkeypatch)
    fresh = Cache(data.model_copy(), SIZE, tmp_path / "cache")
    fresh.prepare(wanted(data))
    assert all(fresh.read(id, kind) is not None for id, kind in wanted(data))


def test_no_size_keeps_the_stored_one(data: CamVid, tmp_path: Path) -> None:
    cache = Cache(data, None, tmp_path / "cache")
    cache.prepare(wanted(data))
    np.testing.assert_array_equal(cache.read(FIRST, "label"), data.label(FIRST))


def test_each_size_and_each_changed_file_has_its_own_entry(data: CamVid, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    small, large = Cache(data, SIZE, folder), Cache(data, (24, 32), folder)
    assert small.read(FIRST, "image").shape == (12, 16, 3)  # type: ignore[union-attr]
    assert large.read(FIRST, "image").shape == (24, 32, 3)  # type: ignore[union-attr]
    before = small.read(FIRST, "image")
    time.sleep(0.01)
    save(data.files(FIRST).image, np.full((24, 32, 3), 77, np.uint8))
    assert (small.read(FIRST, "image") == 77).all()
    assert not (before == 77).all()


def test_labels_follow_the_class_list(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data")
    first = Cache(Folder(root=root), SIZE, tmp_path / "cache").read("images/000", "label")
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(
        text.replace("id: 7", "id: 2222").replace("id: 2\n", "id: 7\n").replace("2222", "2")
    )
    second = Cache(Folder(root=root), SIZE, tmp_path / "cache").read("images/000", "label")
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(second, np.array([2, 1, 0, *range(3, 256)], np.uint8)[first])
    assert not np.array_equal(first, second)


def test_a_new_format_finds_no_old_entries(data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache(data, SIZE, tmp_path / "cache").read(FIRST, "image")
    monkeypatch.setitem(cache_module.FORMAT, "image", cache_module.FORMAT["image"] + 1)
    no_decoding(monkeypatch)
    with pytest.raises(AssertionError, match="decoded again"):
        Cache(data, SIZE, tmp_path / "cache").read(FIRST, "image")


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"rubbish" * 20, None])
def test_a_damaged_entry_is_made_anew(
    data: CamVid, tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(data, SIZE, tmp_path / "cache")
    expected = cache.read(FIRST, "image")
    (entry,) = entries(tmp_path / "cache")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-100] if damage is None else damage)
    np.testing.assert_array_equal(cache.read(FIRST, "image"), expected)
    assert "is damaged and is made anew" in caplog.text
    assert entry.read_bytes() == whole


def test_an_entry_of_another_shape_or_type_is_made_anew(data: CamVid, tmp_path: Path) -> None:
    cache = Cache(data, SIZE, tmp_path / "cache")
    expected = cache.read(FIRST, "image")
    (entry,) = entries(tmp_path / "cache")
    for wrong in (np.zeros((3, 3, 3), np.uint8), np.zeros(SIZE, np.uint8), np.zeros((*SIZE, 3), np.float32)):
        np.save(entry, wrong)
        np.testing.assert_array_equal(cache.read(FIRST, "image"), expected)


def test_labels_that_were_not_wanted_are_never_opened(data: CamVid, tmp_path: Path) -> None:
    unwanted = data.ids("train")[2:]
    for id in unwanted:
        data.files(id).label.write_bytes(b"not a label")  # type: ignore[union-attr]
    cache = Cache(data, SIZE, tmp_path / "cache")
    cache.prepare([(id, "image") for id in data.ids("train")] + [(id, "label") for id in data.ids("train")[:2]])
    for id in unwanted:
        data.files(id).label.unlink()  # type: ignore[union-attr]
    assert all(cache.read(id, "image") is not None for id in data.ids("train"))
    assert all(cache.read(id, "label") is not None for id in data.ids("train")[:2])


def test_a_sample_without_a_label_has_none(tmp_path: Path) -> None:
    data = Folder(root=make_folder(tmp_path / "data", labels=None))
    cache = Cache(data, SIZE, tmp_path / "cache")
    cache.prepare(wanted(data))
    assert cache.read("images/000", "label") is None
    assert len(entries(tmp_path / "cache")) == len(data.ids("train"))


def test_all_problems_come_in_one_error_and_the_good_files_are_kept(data: CamVid, tmp_path: Path) -> None:
    first, second, *good = data.ids("train")
    data.files(first).image.write_bytes(b"")
    data.files(second).label.unlink()  # type: ignore[union-attr]
    cache = Cache(data, SIZE, tmp_path / "cache")
    with pytest.raises(DataError) as caught:
        cache.prepare(wanted(data))
    assert [problem.reason for problem in caught.value.problems] == [
        "is empty (0 bytes); replace or remove it",
        "there is no such file",
    ]
    assert len(entries(tmp_path / "cache")) == 2 * len(good) + 1  # and the image of the second
    assert set(caught.value.problems) == set(data.problems(data.ids("train")))
    with pytest.raises(DataError, match="is empty"):
        cache.read(first, "image")


@pytest.mark.parametrize("limit_gb", [0, 1e-9])
def test_without_a_cache_every_file_is_decoded_once_all_the_same(
    data: CamVid, tmp_path: Path, limit_gb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data.files(data.ids("train")[3]).image
    path.write_bytes(path.read_bytes()[:-60])
    cache = Cache(data, SIZE, tmp_path / "cache", limit_gb=limit_gb)
    with pytest.raises(DataError) as caught:
        cache.prepare(wanted(data))
    assert [problem.where for problem in caught.value.problems] == [str(path)]
    assert set(caught.value.problems) == set(data.problems(data.ids("train")))
    assert entries(tmp_path / "cache") == []
    no_decoding(monkeypatch)
    cache.prepare(wanted(data), check=False)  # of a process that leaves it to another


def test_too_large_a_set_switches_the_cache_off_with_one_message(
    data: CamVid, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = 6 * (3 + 1) * SIZE[0] * SIZE[1]
    cache = Cache(data, SIZE, tmp_path / "cache", limit_gb=(arrays - 1) / 1e9)
    cache.prepare(wanted(data))
    assert cache.read(FIRST, "image") is not None
    assert entries(tmp_path / "cache") == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "set the variable FATHOM_CACHE_GB=1," in caplog.text
    fits = Cache(data, SIZE, tmp_path / "cache", limit_gb=arrays / 1e9)
    fits.prepare(wanted(data))
    assert len(entries(tmp_path / "cache")) == 12


def test_a_folder_that_cannot_be_written_costs_time_only(
    data: CamVid, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = Cache(data, SIZE, tmp_path / "cache")
    cache.prepare(wanted(data))
    assert cache.read(FIRST, "image") is not None
    assert len(caplog.records) == 1
    assert "cannot be written" in caplog.text


def test_a_full_disk_leaves_nothing_half_written(
    data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: object, array: np.ndarray, **_: object) -> None:
        file.write(b"\x93NUMPY half of it")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    cache = Cache(data, SIZE, tmp_path / "cache")
    assert cache.read(FIRST, "image") is not None
    assert entries(tmp_path / "cache") == []
    assert "No space left" in caplog.text


def test_an_interrupt_stops_preparing_and_leaves_whole_entries(
    data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    many = wanted(data) * 40
    cache = Cache(data, SIZE, tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        cache.prepare(many, interrupt)
    assert all(path.suffix == ".npy" for path in entries(tmp_path / "cache"))
    assert threading.active_count() < 30
    cache.prepare(many)
    assert len(entries(tmp_path / "cache")) == 12


def prepare(root: Path, folder: Path) -> None:
    data = CamVid(root=root)
    Cache(data, SIZE, folder).prepare(wanted(data))  # type: ignore[arg-type]


@pytest.mark.slow
def test_processes_may_prepare_the_same_at_once(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "data", train=20)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=prepare, args=(root, tmp_path / "cache")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(entries(tmp_path / "cache")) == 40
    data = CamVid(root=root)
    read = Cache(data, SIZE, tmp_path / "cache").read(FIRST, "image")
    np.testing.assert_array_equal(read, resize_image(data.image(FIRST), SIZE))


@pytest.mark.slow
def test_a_killed_process_leaves_a_cache_that_works(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "data", train=40, size=(240, 320))
    process = multiprocessing.get_context("spawn").Process(target=prepare, args=(root, tmp_path / "cache"))
    process.start()
    while process.is_alive() and len(list(tmp_path.glob("cache/*/*.npy"))) < 10:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
    process.join()
    data = CamVid(root=root)
    cache = Cache(data, SIZE, tmp_path / "cache")
    cache.prepare(wanted(data))  # type: ignore[arg-type]
    for id in data.ids("train"):
        np.testing.assert_array_equal(cache.read(id, "image"), resize_image(data.image(id), SIZE))


def test_the_folder_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FATHOM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "fathomseg"


def test_so_is_the_limit(data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Cache(data, SIZE).limit_gb == 16
    for said, kept in (("0.000001", 0), ("0", 0), ("1e-4", 12)):
        monkeypatch.setenv("FATHOM_CACHE_GB", said)
        Cache(data, SIZE, tmp_path / said).prepare(wanted(data))
        assert len(entries(tmp_path / said)) == kept
    for said in ("much", "-1", "nan"):
        monkeypatch.setenv("FATHOM_CACHE_GB", said)
        with pytest.raises(FathomError, match=f"FATHOM_CACHE_GB is '{said}'; expected a number of gigabytes"):
            Cache(data, SIZE)


def test_generated_arrays_are_kept_and_may_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Streets(size=(16, 32), train_clips=1, frames=2)
    id = data.ids("train")[0]
    for size in (None, (16, 32), (8, 16)):
        cache = Cache(data, size, tmp_path / "cache")
        for kind in ("image", "label", "depth"):
            fresh, kept = cache.read(id, kind), cache.read(id, kind)
            assert fresh is not None
            assert fresh.flags.writeable
            np.testing.assert_array_equal(kept, fresh)
    no_decoding(monkeypatch)
    depth = Cache(data, (8, 16), tmp_path / "cache").read(id, "depth")
    np.testing.assert_array_equal(depth, data.depth(id)[1::2, 1::2])  # the centre of a 2 x 2 block, rounded up


class Unstored(CamVid):
    """A dataset that computes its images, and asks for no cache."""

    def fingerprint(self, id: str, kind: str) -> str | None:
        return None


def test_without_a_fingerprint_nothing_is_stored(data: CamVid, tmp_path: Path) -> None:
    computed = Unstored(root=data.root)
    cache = Cache(computed, SIZE, tmp_path / "cache")
    cache.prepare(wanted(computed))
    np.testing.assert_array_equal(cache.read(FIRST, "image"), resize_image(data.image(FIRST), SIZE))
    assert entries(tmp_path / "cache") == []
