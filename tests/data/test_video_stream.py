"""From a dataset to clips: which frames are learned from, that the choice is kept, and how they are stacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.data.cache import Cache
from fathomseg.data.datasets import CamVid, Cityscapes, Folder
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.intrinsics import FieldOfView
from fathomseg.data.loading import Stream, collate
from fathomseg.data.motion import FixedStep, MotionFilter, Triplet
from fathomseg.data.transforms import Geometry
from fathomseg.data.video_stream import (
    choose_frames,
    read_triplets,
    training_ids,
    write_triplets,
)
from fathomseg.errors import FathomError
from tests import fakes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Two clips of four frames; frame 2 of the first is labelled and held out."""
    root = fakes.make_folder(tmp_path_factory.mktemp("own"), images=3, clips=2, frames=4)
    fakes.save(
        root / "labels" / "clips" / "drive0" / "000002.png",
        fakes.stored_label(fakes.scene(0, (24, 32), 4)[1], "ids"),
    )
    (root / "splits").mkdir()
    (root / "splits" / "val.txt").write_text("clips/drive0/000002\nimages/001\n")
    return Folder(root=root)


def nothing(done: int, total: int) -> None:
    pass


class TestTrainingIds:
    def test_clips_if_there_are_any_without_what_is_held_out(self, folder: Folder) -> None:
        expected = tuple(id for id in folder.ids("clips") if id != "clips/drive0/000002")
        assert len(expected) == 7
        assert training_ids(folder, None, "val") == expected

    def test_everything_if_nothing_is_held_out(self, folder: Folder) -> None:
        assert training_ids(folder, None, "no such split") == tuple(folder.ids("clips"))

    def test_train_if_there_are_no_clips(self, tmp_path: Path) -> None:
        camvid = CamVid(root=fakes.make_camvid(tmp_path))
        assert training_ids(camvid, None, "val") == tuple(camvid.ids("train"))

    def test_a_split_of_ones_own_choice(self, folder: Folder) -> None:
        assert training_ids(folder, "all", "val") == tuple(
            id for id in folder.ids("all") if id not in ("clips/drive0/000002", "images/001")
        )
        with pytest.raises(FathomError, match="clips"):
            training_ids(folder, "clip", "val")

    def test_never_what_the_run_is_scored_on(self, folder: Folder) -> None:
        with pytest.raises(FathomError, match="both 'val': no training may see what it is scored on"):
            training_ids(folder, "val", "val")

    def test_whole_snippets_of_cityscapes(self, tmp_path: Path) -> None:
        cityscapes = Cityscapes(root=fakes.make_cityscapes(tmp_path))
        ids = training_ids(cityscapes, None, "val")
        assert not set(ids) & set(cityscapes.ids("val"))
        found = FixedStep().triplets(cityscapes, ids)
        assert found
        assert not {id for x in found for id in (x.target, x.before, x.after)} & set(cityscapes.ids("val"))


IDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1)


@given(st.lists(st.builds(Triplet, IDS, IDS, IDS), max_size=5))
def test_triplets_come_back_from_their_file(tmp_path_factory: pytest.TempPathFactory, triplets: list[Triplet]) -> None:
    file = tmp_path_factory.mktemp("t") / "frames.csv"
    write_triplets(file, triplets)
    assert read_triplets(file) == triplets
    assert [path.name for path in file.parent.iterdir()] == ["frames.csv"]


class TestChooseFrames:
    def test_the_choice_is_made_once(self, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ids, told = training_ids(folder, None, "val"), []
        cache = Cache(folder, (24, 32), folder=tmp_path / "cache")
        file = tmp_path / "frames.csv"
        chosen = choose_frames(FixedStep(), cache, ids, file, lambda done, total: told.append((done, total)))
        assert chosen == FixedStep().triplets(folder, ids)
        assert told == [(i, 7) for i in range(1, 8)]
        monkeypatch.setattr(Dataset, "neighbour", None)  # nobody asks again
        assert choose_frames(MotionFilter(), cache, ids, file, nothing) == chosen

    def test_frames_are_looked_at_through_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        streets = Streets(size=(64, 128), train_clips=1, frames=5)
        cache = Cache(streets, (64, 128), folder=tmp_path / "cache")
        ids = streets.ids("train")
        cache.prepare([(id, "image") for id in ids])
        monkeypatch.setattr(Streets, "image", None)
        chosen = choose_frames(MotionFilter(), cache, ids, tmp_path / "frames.csv", nothing)
        monkeypatch.undo()
        assert chosen == MotionFilter().triplets(streets, ids)
        assert chosen

    def test_nothing_to_learn_from_is_an_error(self, folder: Folder, tmp_path: Path) -> None:
        cache = Cache(folder, (24, 32), folder=tmp_path / "cache")
        with pytest.raises(FathomError) as error:
            choose_frames(FixedStep(), cache, folder.ids("labelled"), tmp_path / "frames.csv", nothing)
        for words in ("None of the 2 frames of folder", "Is this video", "frames.name=fixed", "frames.min_parallax"):
            assert words in str(error.value)
        assert not (tmp_path / "frames.csv").exists()


def test_clips_are_stacked_in_the_order_of_time(folder: Folder, tmp_path: Path) -> None:
    ids = training_ids(folder, None, "val")
    triplets = FixedStep().triplets(folder, ids)
    intrinsics = FieldOfView().intrinsics(folder, [x.target for x in triplets])
    cache = Cache(folder, (24, 32), folder=tmp_path)
    neighbours = {x.target: {-1: x.before, 1: x.after} for x in triplets}
    still = Geometry(scale=(1, 1), flip=0)
    stream = Stream(cache, list(neighbours), ("image",), still, 3, neighbours, intrinsics.cameras)
    assert sorted(stream.id_at(i) for i in range(len(triplets))) == sorted(x.target for x in triplets)
    batch = collate([stream[i] for i in range(len(triplets))])
    by_target = {x.target: x for x in triplets}
    for place, id in enumerate(batch.ids):
        for found, wanted in (
            (batch.targets["frames"][place, 0], by_target[id].before),
            (batch.image[place], id),
            (batch.targets["frames"][place, 1], by_target[id].after),
        ):
            assert np.array_equal(found.permute(1, 2, 0).numpy(), folder.image(wanted))
        assert np.allclose(batch.targets["camera"][place].numpy(), intrinsics.cameras[id].matrix())
