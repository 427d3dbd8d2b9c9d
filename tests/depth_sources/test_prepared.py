"""Maps made once: what they hold, what they depend on, and what survives interrupts, rivals and damage."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.streets import Streets
from fathomseg.depth_sources import AnyDepthSource, DisparityMaps, OwnDepth, RunDepth, StoredMaps, prepare
from fathomseg.depth_sources.base import DepthSource
from fathomseg.depth_sources.maps import MapsReader
from fathomseg.depth_sources.normalise import DisparityMap, Normalisation, normalise
from fathomseg.depth_sources.prepared import decode, encode
from fathomseg.errors import DataError, FathomError
from fathomseg.io.depth_maps import write_scale
from tests.fakes import make_camvid
from tests.stages.saved_run import save_depth_run

SIZE = (6, 8)
STEP = 1 / 65534


@pytest.fixture
def data(tmp_path: Path) -> CamVid:
    return CamVid(root=make_camvid(tmp_path / "data", train=40))


@pytest.fixture
def maps(tmp_path: Path, data: CamVid) -> StoredMaps:
    """A map for every image, each of its own scale and offset."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "maps"
    (folder / "train").mkdir(parents=True)
    for id in data.ids("train"):
        np.save(folder / f"{id}.npy", (rng.random(SIZE) * rng.integers(1, 9) + rng.integers(9)).astype(np.float32))
    return StoredMaps(folder=folder)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids whose files are read from here on."""
    read: list[str] = []
    real = MapsReader.load

    def load(self: MapsReader, id: str) -> np.ndarray:
        read.append(id)
        return real(self, id)

    monkeypatch.setattr(MapsReader, "load", load)
    return read


def stored(source: StoredMaps, id: str) -> np.ndarray:
    return np.asarray(np.load(source.folder / f"{id}.npy"))


def test_what_is_read_is_the_normalised_map(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    ids = data.ids("train")
    prepared = prepare(maps, data, ids, SIZE, tmp_path / "cache")
    for id in ids:
        result, expected = prepared.read(id), normalise(stored(maps, id))
        np.testing.assert_allclose(result.values, expected.values, atol=STEP)
        assert result.values.dtype == np.float32
        assert result.valid.all()
    same = pickle.loads(pickle.dumps(prepared))
    np.testing.assert_array_equal(same.read(ids[0]).values, prepared.read(ids[0]).values)


def test_disparity_that_is_0_to_1_may_stay_as_it_is(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    first, second = data.ids("train")[:2]
    own = maps.model_copy(update={"normalise": Normalisation(over="none"), "scale": 1 / 20})
    prepared = prepare(own, data, [first, second], SIZE, tmp_path / "cache")
    for id in (first, second):
        np.testing.assert_allclose(prepared.read(id).values, stored(maps, id) / 20, atol=STEP)
    np.save(maps.folder / f"{first}.npy", np.full(SIZE, 21, np.float32))
    with pytest.raises(DataError, match=r"holds disparity from 1\.05 to 1\.05, but normalise\.over=none"):
        prepare(own, data, [first, second], SIZE, tmp_path / "cache")
    assert own.depth_range() is None
    write_scale(maps.folder, (0.5, 50.0))
    assert own.depth_range() == (0.5, 50.0)


@pytest.mark.parametrize("source", [{"name": "dataset"}, {"name": "maps", "folder": "x", "holds": "depth"}])
def test_disparity_of_another_kind_is_normalised(source: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"normalise\.over=none takes disparity that is 0"):
        TypeAdapter(AnyDepthSource).validate_python({**source, "normalise": {"over": "none"}})


def test_maps_are_normalised_whole_then_resized(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    """Twice the size and half of it, by the slow definition: a pixel of half the size is the mean of four."""
    id = data.ids("train")[0]
    whole = normalise(stored(maps, id)).values
    half = prepare(maps, data, [id], (3, 4), tmp_path / "cache").read(id).values
    for row in range(3):
        for column in range(4):
            four = whole[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(np.float64)
            assert half[row, column] == pytest.approx(four.mean(), abs=2 * STEP)
    twice = prepare(maps, data, [id], (12, 16), tmp_path / "cache").read(id).values
    np.testing.assert_allclose(twice[0, 0], whole[0, 0], atol=STEP)  # beyond the outer centres the edge goes on
    np.testing.assert_allclose(twice[1, 0], 0.75 * whole[0, 0] + 0.25 * whole[1, 0], atol=2 * STEP)


def test_what_is_not_known_is_neither_averaged_nor_near(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    id = data.ids("train")[0]
    values = np.arange(36, dtype=np.float32).reshape(6, 6)
    values[0:3, 0:3] = np.nan
    np.save(maps.folder / f"{id}.npy", values)
    square = maps.model_copy(update={"stretched": True})
    result = prepare(square, data, [id], (2, 2), tmp_path / "cache").read(id)
    assert result.valid.tolist() == [[False, True], [True, True]]
    expected = normalise(values).values[1::3, 1::3]  # nearest: the centre of each 3 x 3
    np.testing.assert_allclose(result.values, expected, atol=STEP)
    assert result.values[0, 0] == 0


def test_the_second_time_nothing_is_read(
    data: CamVid, maps: StoredMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, told = data.ids("train"), []
    read = counted(monkeypatch)
    prepare(maps, data, [*ids, *ids], SIZE, tmp_path / "cache", progress=lambda *done: told.append(done))
    assert sorted(read) == sorted(ids)
    assert told == [(16, 40), (32, 40), (40, 40)] or told == sorted(told)
    assert told[-1] == (40, 40)
    read.clear()
    prepare(maps, data, ids, SIZE, tmp_path / "cache")
    assert read == []
    prepare(maps, data, ids, (3, 4), tmp_path / "cache")
    assert len(read) == 40  # another size is another map
    wider = maps.model_copy(update={"normalise": Normalisation(percentiles=(0, 100))})
    prepare(wider, data, ids, SIZE, tmp_path / "cache")
    assert len(read) == 80  # and so is another normalisation
    np.save(maps.folder / f"{ids[3]}.npy", np.eye(6, 8, dtype=np.float32) * 7)
    again = prepare(maps, data, ids, SIZE, tmp_path / "cache")
    assert read[80:] == [ids[3]]
    np.testing.assert_allclose(again.read(ids[3]).values, np.eye(6, 8), atol=STEP)


def test_an_interrupt_loses_only_what_was_in_work(
    data: CamVid, maps: StoredMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = data.ids("train")

    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(maps, data, ids, SIZE, tmp_path / "cache", progress=stop)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".npy"}
    assert 8 <= len(files) < 40
    read = counted(monkeypatch)
    prepared = prepare(maps, data, ids, SIZE, tmp_path / "cache")
    assert len(read) == 40 - len(files)
    assert all(prepared.read(id).valid.all() for id in ids)


def _prepare(maps: StoredMaps, data: CamVid, folder: Path) -> list[float]:
    prepared = prepare(maps, data, data.ids("train"), SIZE, folder)
    return [float(prepared.read(id).values.sum()) for id in data.ids("train")]


def test_many_processes_at_once(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        results = pool.starmap(_prepare, [(maps, data, tmp_path / "cache")] * 3)
    assert results[0] == results[1] == results[2]
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 40


def test_damage_is_made_good_or_told(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    ids = data.ids("train")[:2]
    prepared = prepare(maps, data, ids, SIZE, tmp_path / "cache")
    path = prepared.entries[ids[0]]
    whole = path.read_bytes()
    for content in (b"", b"\x93NUMPY", b"rubbish" * 30, whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(FathomError, match="gone or damaged"):
            prepared.read(ids[0])
        prepare(maps, data, ids, SIZE, tmp_path / "cache")
        assert path.read_bytes() == whole
    path.unlink()
    with pytest.raises(FathomError, match="gone or damaged"):
        prepared.read(ids[0])
    with pytest.raises(FathomError, match="No disparity was prepared"):
        prepared.read("train/nobody")


def test_all_that_is_wrong_is_told_at_once(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    ids = data.ids("train")
    (maps.folder / f"{ids[1]}.npy").unlink()
    (maps.folder / f"{ids[5]}.npy").write_bytes(b"rubbish")
    np.save(maps.folder / f"{ids[7]}.npy", np.zeros((2, 3, 4)))
    with pytest.raises(DataError) as caught:
        prepare(maps, data, ids, SIZE, tmp_path / "cache")
    assert len(caught.value.problems) == 3
    for place in (1, 5, 7):
        assert ids[place].split("/")[1] in str(caught.value)
    others = [id for place, id in enumerate(ids) if place not in (1, 5, 7)]
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == len(others)


def test_images_without_depth_are_named(data: CamVid, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"40 files.*\n.*006690: has no depth"):
        prepare(OwnDepth(), data, data.ids("train"), SIZE, tmp_path / "cache")


def test_a_cache_that_cannot_be_written(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FathomError, match="FATHOM_CACHE"):
        prepare(maps, data, data.ids("train"), SIZE, tmp_path / "file")


def test_one_scale_for_the_dataset(
    data: CamVid, maps: StoredMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minimum and maximum over all images, found once; then a value means the same in each of them."""
    source = maps.model_copy(update={"normalise": Normalisation(over="dataset", percentiles=(0, 100))})
    ids, told = data.ids("train"), []
    np.save(maps.folder / f"{ids[-1]}.npy", np.linspace(-9, 99, 48, dtype=np.float32).reshape(SIZE))
    every = np.stack([stored(maps, id) for id in ids])
    read = counted(monkeypatch)
    prepared = prepare(source, data, ids, SIZE, tmp_path / "cache", progress=lambda *done: told.append(done))
    assert told[-1] == (80, 80)
    for place, id in enumerate(ids):
        expected = (every[place] - every.min()) / (every.max() - every.min())
        np.testing.assert_allclose(prepared.read(id).values, expected, atol=STEP)
    assert prepared.read(ids[0]).values.max() < 0.3
    assert len(read) == 80
    prepare(source, data, ids[::-1], SIZE, tmp_path / "cache")
    assert len(read) == 80  # the bounds are kept too, and the order of ids does not matter
    prepare(source, data, ids[:9], SIZE, tmp_path / "cache")
    assert len(read) == 98  # other images, another scale


def test_a_dataset_in_which_nothing_is_known(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    for id in data.ids("train"):
        np.save(maps.folder / f"{id}.npy", np.full(SIZE, np.nan, np.float32))
    source = maps.model_copy(update={"normalise": Normalisation(over="dataset")})
    result = prepare(source, data, data.ids("train"), SIZE, tmp_path / "cache").read(data.ids("train")[0])
    assert not result.valid.any()
    assert (result.values == 0).all()


def test_the_sky_of_the_streets_is_farthest(tmp_path: Path) -> None:
    data = Streets(size=(32, 64))
    id = data.ids("train")[0]
    result, depth = prepare(OwnDepth(), data, [id], (32, 64), tmp_path / "cache").read(id), data.depth(id)
    np.testing.assert_array_equal(result.valid, depth > 0)
    assert (result.values[depth == 0] == 0).all()
    assert result.values[depth == depth[depth > 0].min()].min() == 1
    assert result.values[-1].mean() > 4 * result.values[depth > 40].mean()  # the road before the car is near


def test_a_depth_run_end_to_end(data: CamVid, tmp_path: Path) -> None:
    run = RunDepth(run=save_depth_run(tmp_path / "run", {}, pose=False), batch=3)
    ids = data.ids("train")[:7]
    prepared = prepare(run, data, ids, (32, 64), tmp_path / "cache", device="cpu")
    for id in ids:
        raw = run.disparity(data, id)
        assert raw is not None
        expected = F.interpolate(torch.from_numpy(normalise(raw).values)[None, None], (32, 64), mode="bilinear")[0, 0]
        np.testing.assert_allclose(prepared.read(id).values, expected, atol=1e-3)  # other batches round otherwise
    moved = RunDepth(run=shutil.copytree(run.run, tmp_path / "elsewhere"), batch=7)
    assert prepare(moved, data, ids, (32, 64), tmp_path / "cache", device="cpu") == prepared


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)), hnp.arrays(np.bool_, (3, 4)))
def test_storage_is_exact_to_half_a_step_and_keeps_the_order(values: np.ndarray, valid: np.ndarray) -> None:
    values = np.where(valid, values, np.float32(0))
    result = decode(encode(DisparityMap(values, valid)))
    np.testing.assert_array_equal(result.valid, valid)
    np.testing.assert_allclose(result.values, values, atol=0.5 * STEP + 1e-7)
    assert (np.diff(result.values.ravel()[np.argsort(values, axis=None)]) >= 0).all()
    np.testing.assert_array_equal(encode(result), encode(DisparityMap(values, valid)))


@pytest.mark.parametrize(
    ("tree", "kind"),
    [
        ({"name": "run", "run": "runs/depth"}, "RunDepth"),
        ({"name": "maps", "folder": "depth", "normalise": {"percentiles": [0, 100]}}, "StoredMaps"),
        ({"name": "dataset"}, "OwnDepth"),
        ({"name": "huggingface", "model": "owner/name", "gives": "depth"}, "HuggingFaceDepth"),
    ],
)
def test_every_source_is_told_apart_by_its_name(tree: dict[str, object], kind: str) -> None:
    adapter: TypeAdapter[DepthSource] = TypeAdapter(AnyDepthSource)
    source = adapter.validate_python(tree)
    assert type(source).__name__ == kind
    assert adapter.validate_python(source.model_dump(mode="json")) == source


def test_the_type_of_the_maps(data: CamVid, maps: StoredMaps, tmp_path: Path) -> None:
    nothing = prepare(maps, data, [], SIZE, tmp_path / "cache")
    assert nothing == DisparityMaps({}, SIZE)
