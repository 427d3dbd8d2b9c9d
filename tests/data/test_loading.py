"""The stream of batches is a pure function of (seed, step, rank), shared out exactly among ranks and micro-batches."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from dataclasses import make_dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.data import distilled
from fathomseg.data.cache import Cache
from fathomseg.data.datasets import CamVid
from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.distilled import in_batch, is_target
from fathomseg.data.labelled import Labels
from fathomseg.data.loading import BatchSlice, Steps, Stream, collate, loader
from fathomseg.data.transforms import Geometry
from fathomseg.errors import FathomError
from fathomseg.types import Camera, ClassList, Sample
from tests import fakes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return CamVid(root=fakes.make_camvid(tmp_path_factory.mktemp("camvid"), train=10))


class Slope(Dataset):
    """One plane, 3 m away along its normal."""

    name: Literal["slope"] = "slope"
    NORMAL: ClassVar[np.ndarray] = np.array([0.2, -0.6, -0.7]) / np.linalg.norm([0.2, -0.6, -0.7])

    @property
    def classes(self) -> ClassList:
        return ClassList(("a", "b"), ((0, 0, 0), (1, 1, 1)))

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def ids(self, split: str) -> list[str]:
        return ["a", "no camera"]

    def image(self, id: str) -> np.ndarray:
        return np.zeros((240, 320, 3), np.uint8)

    def camera(self, id: str) -> Camera | None:
        return Camera(260.0, 260.0, 159.5, 119.5, 240, 320) if id == "a" else None

    def depth(self, id: str) -> np.ndarray:
        camera = Camera(260.0, 260.0, 159.5, 119.5, 240, 320)
        v, u = np.indices((240, 320))
        rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones((240, 320))], axis=-1)
        return (-3 / (rays @ self.NORMAL)).astype(np.float32)

    def fingerprint(self, id: str, kind: Kind) -> str:
        return f"slope {id} {kind}"


def stream(dataset: CamVid, folder: Path, seed: int = 0, **geometry: object) -> Stream:
    cache = Cache(dataset, (16, 24), folder=folder)
    return Stream(cache, dataset.ids("train"), ("image", "label"), Geometry(**geometry), seed)  # type: ignore[arg-type]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 50))
def test_ranks_and_micro_batches_share_each_step_without_gap_or_overlap(m: int, world: int, k: int, step: int) -> None:
    batch = m * world * k
    seen = [
        position
        for rank in range(world)
        for micro in BatchSlice(batch, rank, world, k).positions(step)
        for position in micro
    ]
    assert sorted(seen) == list(range(step * batch, (step + 1) * batch))
    assert all(len(list(BatchSlice(batch, rank, world, k).positions(step))) == k for rank in range(world))


def test_a_batch_that_cannot_be_shared_out_is_an_error() -> None:
    with pytest.raises(FathomError, match="make it a multiple of 6"):
        BatchSlice(batch=8, world=2, accumulate=3)


class TestLabelCounts:
    def test_of_every_image_by_hand(self, dataset: CamVid, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        source = stream(dataset, tmp_path)
        source.labels_of = dataset.ids("train")[:9]
        source.classes = np.arange(256, dtype=np.uint8)[::-1].copy()
        source.count_labels(lambda done, total: told.append((done, total)))
        assert told[-1] == (10, 10)
        for id in source.ids[:9]:
            label = source.cache.read(id, "label")
            assert label is not None
            expected = np.bincount(255 - label.ravel(), minlength=256)
            np.testing.assert_array_equal(source.label_counts_by_id[id], expected)
        assert source.label_counts_by_id[source.ids[9]].sum() == 0
        assert source.label_counts.sum() == 9 * 16 * 24

    def test_are_kept_until_something_changes(
        self, dataset: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[str] = []
        read = Cache.read
        monkeypatch.setattr(Cache, "read", lambda self, id, kind: [opened.append(id), read(self, id, kind)][1])
        first = stream(dataset, tmp_path).label_counts_by_id
        assert sorted(opened) == sorted(dataset.ids("train"))
        again = stream(dataset, tmp_path)
        assert len(opened) == 10
        assert all((again.label_counts_by_id[id] == first[id]).all() for id in first)
        assert len(opened) == 10, "read from a file"
        other = stream(dataset, tmp_path)
        other.classes = np.zeros(256, np.uint8)
        assert other.label_counts[0] == 10 * 16 * 24
        path = dataset.files(dataset.ids("train")[0]).label
        assert path is not None
        before = path.stat()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        opened.clear()
        assert stream(dataset, tmp_path).label_counts.sum() == 10 * 16 * 24
        assert len(opened) == 10

    def test_stay_where_they_are_if_nothing_is_cached_and_do_not_travel(self, dataset: CamVid, tmp_path: Path) -> None:
        source = Stream(Cache(dataset, (16, 24), tmp_path, 0), dataset.ids("train"), ("image", "label"), Geometry(), 0)
        small = len(pickle.dumps(source))
        assert source.label_counts.sum() == 10 * 16 * 24
        assert not list(tmp_path.iterdir())
        assert len(pickle.dumps(source)) == small
        assert "label_counts_by_id" not in pickle.loads(pickle.dumps(source)).__dict__


def test_every_epoch_shows_every_image_once_in_another_order(dataset: CamVid, tmp_path: Path) -> None:
    source = stream(dataset, tmp_path)
    epochs = [[source.id_at(p) for p in range(e * 10, e * 10 + 10)] for e in range(3)]
    for epoch in epochs:
        assert Counter(epoch) == Counter(dataset.ids("train"))
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_sample_depends_on_seed_and_position_only(dataset: CamVid, tmp_path: Path) -> None:
    first, again, other = stream(dataset, tmp_path), stream(dataset, tmp_path), stream(dataset, tmp_path, seed=1)
    again.id_at(35)  # in another order than `first` will be read
    for position in (13, 2):
        (key, a), (key2, b) = first[position], again[position]
        assert key == key2
        assert a.id == b.id
        np.testing.assert_array_equal(a.image, b.image)
        assert key != other[position][0]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_loader_goes_on_where_it_stopped(dataset: CamVid, tmp_path: Path, workers: int) -> None:
    """And however many processes read, since what they read depends on the position only."""

    def batches(start: int, workers: int) -> list[tuple[tuple[str, ...], torch.Tensor]]:
        made = loader(stream(dataset, tmp_path), Steps(BatchSlice(4), start, 5), workers, pin=False)
        return [(batch.ids, batch.image) for batch in made]

    whole, rest = batches(0, 0), batches(3, workers)
    assert len(whole) == 5
    for (ids, image), (ids2, image2) in zip(whole[3:], rest, strict=True):
        assert ids == ids2
        assert torch.equal(image, image2)


def sample(id: str, seed: int, **known: object) -> Sample:
    image = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Sample(id, image, **known)  # type: ignore[arg-type]


FULL: dict[str, object] = {
    "label": np.arange(20, dtype=np.uint8).reshape(4, 5),
    "depth": np.linspace(1, 9, 20, dtype=np.float32).reshape(4, 5),
    "disparity": np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5),
    "camera": Camera(4.0, 5.0, 2.0, 1.5, 4, 5),
    "frames": {1: np.full((4, 5, 3), 9, np.uint8), -1: np.full((4, 5, 3), 7, np.uint8)},
}
NOTHING = {"label": 255, "depth": 0.0, "disparity": np.nan}


class TestCollate:
    def test_images_are_channels_last_bytes(self) -> None:
        first, second = sample("a", 0), sample("b", 1)
        batch = collate([(1, first), (2, second)])
        assert (batch.ids, batch.keys) == (("a", "b"), (1, 2))
        assert batch.image.shape == (2, 3, 4, 5)
        assert batch.image.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch.image[1].permute(1, 2, 0), torch.from_numpy(second.image))
        assert batch.targets == batch.present == {}
        assert batch.valid is None

    def test_everything_that_is_known_has_a_target(self) -> None:
        batch = collate([(1, sample("a", 0, **FULL)), (2, sample("b", 1, **FULL))])
        shapes = {name: (tuple(target.shape), target.dtype) for name, target in batch.targets.items()}
        assert shapes == {
            "label": ((2, 4, 5), torch.uint8),
            "depth": ((2, 1, 4, 5), torch.float32),
            "disparity": ((2, 1, 4, 5), torch.float32),
            "frames": ((2, 2, 3, 4, 5), torch.uint8),
            "camera": ((2, 3, 3), torch.float32),
        }
        assert all(which.tolist() == [True, True] for which in batch.present.values())
        for name in ("label", "depth", "disparity"):
            assert torch.equal(batch.targets[name][1].squeeze(), torch.from_numpy(FULL[name]))
        assert batch.targets["frames"][0, :, 0, 0, 0].tolist() == [7, 9], "in the order of time"
        assert batch.targets["camera"][0].tolist() == [[4, 0, 2], [0, 5, 1.5], [0, 0, 1]]

    def test_a_new_field_of_a_sample_is_a_target_that_objectives_may_ask_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What an objective may ask for is listed once, in `Sample`; all of it is stacked."""
        more = {"normals": np.zeros((4, 5, 3), np.float32), "view": np.eye(2, 3, dtype=np.float32)}
        every = sample("a", 0, **FULL, **more, whole=np.zeros((8, 9, 3), np.uint8))
        assert collate([(1, every)]).targets.keys() == in_batch()
        flow = make_dataclass("More", [("flow", object, None)], bases=(Sample,), frozen=True)
        monkeypatch.setattr(distilled, "Sample", flow)
        assert is_target("flow")

    @pytest.mark.parametrize("name", FULL)
    def test_a_target_is_there_if_any_sample_has_it_and_says_nothing_of_the_others(self, name: str) -> None:
        known, bare = sample("a", 0, **{name: FULL[name]}), sample("b", 1)
        batch = collate([(1, bare), (2, known), (3, bare)])
        assert set(batch.targets) == set(batch.present) == {name}
        assert batch.present[name].tolist() == [False, True, False]
        assert torch.equal(batch.targets[name][1], collate([(2, known)]).targets[name][0])
        for row in (0, 2):
            found = batch.targets[name][row]
            if name == "frames":
                assert torch.equal(found, batch.image[row].expand(2, -1, -1, -1)), "the image itself"
            elif name == "camera":
                assert torch.equal(found, torch.eye(3))
            else:
                torch.testing.assert_close(found, torch.full_like(found, NOTHING[name]), equal_nan=True)

    def test_padding_is_known_of_every_sample_if_of_any(self) -> None:
        mask = np.arange(20).reshape(4, 5) > 6
        batch = collate([(1, sample("a", 0)), (2, sample("b", 1, valid=mask))])
        assert batch.valid is not None
        assert batch.valid[0].all()
        assert torch.equal(batch.valid[1], torch.from_numpy(mask))


class TestWhatAStreamReads:
    def test_labels_are_opened_only_of_its_budget(self, dataset: CamVid, tmp_path: Path) -> None:
        ids = dataset.ids("train")
        cache = Cache(dataset, (16, 24), folder=tmp_path)
        source = Stream(cache, ids, ("image", "label"), Geometry(), 0, labels_of=frozenset(ids[:3]))
        (batch,) = loader(source, Steps(BatchSlice(10), 0, 1), workers=0, pin=False)
        assert {id for id, there in zip(batch.ids, batch.present["label"], strict=True) if there} == set(ids[:3])
        assert (batch.targets["label"][~batch.present["label"]] == 255).all()

    def test_neighbours_and_cameras_only_of_those_that_have_them(self, dataset: CamVid, tmp_path: Path) -> None:
        """A labelled image in the middle of a clip, among others that stand alone."""
        ids = dataset.ids("val")
        middle = ids[1]
        cache, camera = Cache(dataset, (16, 24), folder=tmp_path), Camera(30.0, 30.0, 16.0, 12.0, 24, 32)
        neighbours = {middle: {-1: ids[0], 1: ids[2]}}
        source = Stream(cache, ids, ("image",), Geometry(scale=(1, 1), flip=0), 0, neighbours, {middle: camera})
        (batch,) = loader(source, Steps(BatchSlice(5), 0, 1), workers=0, pin=False)
        row = batch.ids.index(middle)
        assert batch.rows("frames", "camera") == [row]
        before = torch.tensor(cache.read(ids[0], "image")).permute(2, 0, 1)
        assert torch.equal(batch.targets["frames"][row, 0], before)
        expected = torch.from_numpy(camera.resized((16, 24)).matrix()).float()
        assert torch.equal(batch.targets["camera"][row], expected)

    def test_disparity_of_another_source_follows_the_image(self, dataset: CamVid, tmp_path: Path) -> None:
        ramp = np.tile(np.linspace(0, 1, 24, dtype=np.float32), (16, 1))
        cache = Cache(dataset, (16, 24), folder=tmp_path)
        still = Geometry(scale=(1, 1), flip=1.0)
        source = Stream(cache, dataset.ids("train"), ("image",), still, 0, disparity=lambda id: ramp)
        (batch,) = loader(source, Steps(BatchSlice(2), 0, 1), workers=0, pin=False)
        torch.testing.assert_close(batch.targets["disparity"][0, 0], torch.from_numpy(ramp[:, ::-1].copy()))
        assert batch.present["disparity"].all()

    @pytest.mark.parametrize("limit_gb", [16.0, 0.0], ids=["cached", "read every time"])
    def test_normals_are_those_of_the_stored_depth(self, tmp_path: Path, limit_gb: float) -> None:
        """A slope stays one at a size that is no whole part of its own, and exactly as steep."""
        cache = Cache(Slope(), (144, 192), folder=tmp_path, limit_gb=limit_gb)
        source = Stream(cache, ["a", "no camera"], ("image", "normals"), Geometry(scale=(1, 1), flip=0), 0)
        (batch,) = loader(source, Steps(BatchSlice(2), 0, 1), workers=0, pin=False)
        row = batch.ids.index("a")
        assert batch.rows("normals") == [row]
        cosine = torch.einsum("chw,c->hw", batch.targets["normals"][row], torch.from_numpy(Slope.NORMAL).float())
        assert torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).mean() < 0.1
        assert batch.targets.keys() == {"normals"}, "depth that nothing learns from is not read"

    def test_pixels_of_every_class(self, dataset: CamVid, tmp_path: Path) -> None:
        source = stream(dataset, tmp_path)
        counts = source.label_pixels(11)
        labels = [source.cache.read(id, "label") for id in source.ids]
        assert counts.tolist() == [sum(int((label == c).sum()) for label in labels) for c in range(11)]


def test_an_empty_list_of_images_is_an_error(dataset: CamVid, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="no image to train on"):
        Stream(Cache(dataset, (16, 24), folder=tmp_path), [], ("image",), Geometry(), 0)


# ---------------------------------------------------------------------------------------------- the label budget


def test_budgets_nest_and_depend_on_the_seed(dataset: CamVid) -> None:
    chosen = {n: set(Labels(count=n).choose(dataset, "train", seed=3)) for n in (2, 5, 9)}
    assert chosen[2] < chosen[5] < chosen[9]
    assert [len(c) for c in chosen.values()] == [2, 5, 9]
    assert any(set(Labels(count=2).choose(dataset, "train", seed=s)) != chosen[2] for s in range(5))
    assert set(Labels(count=2, seed=3).choose(dataset, "train", seed=99)) == chosen[2], (
        "labels.seed wins over the run's"
    )
    assert set(Labels().choose(dataset, "train", 0)) == set(dataset.ids("train"))


def test_only_images_that_have_a_label_are_chosen(tmp_path: Path) -> None:
    dataset = CamVid(root=fakes.make_camvid(tmp_path, train=6))
    kept = dataset.ids("train")[:3]
    for id in dataset.ids("train")[3:]:
        (tmp_path / "trainannot" / f"{id.split('/')[1]}.png").unlink()
    dataset = CamVid(root=tmp_path)  # a dataset lists its folder once
    assert set(Labels().choose(dataset, "train", 0)) == set(kept)
    with pytest.raises(FathomError, match="only 3 images"):
        Labels(count=4).choose(dataset, "train", 0)


def test_a_list_of_ids_is_taken_as_it_is_and_checked(dataset: CamVid, tmp_path: Path) -> None:
    ids = dataset.ids("train")
    (tmp_path / "chosen.txt").write_text(f"{ids[4]}\n\n{ids[1]}\n{ids[4]}\n{ids[7]}\n")
    assert Labels(file=tmp_path / "chosen.txt").choose(dataset, "train", 0) == tuple(sorted((ids[4], ids[1], ids[7])))
    assert Labels(file=tmp_path / "chosen.txt", count=2).choose(dataset, "train", 0) == tuple(sorted((ids[4], ids[1])))
    (tmp_path / "chosen.txt").write_text("train/elsewhere\n")
    with pytest.raises(
        FathomError, match=r"does not have, for example 'train/elsewhere'; its own ids look like 'train/"
    ):
        Labels(file=tmp_path / "chosen.txt").choose(dataset, "train", 0)
    with pytest.raises(FathomError, match="There is no file"):
        Labels(file=tmp_path / "none.txt").choose(dataset, "train", 0)
