"""Which image comes when: rare classes more often, endless streams without repeats, each a pure function."""

from __future__ import annotations

import pickle
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fathomseg.config import validate
from fathomseg.data import loading
from fathomseg.data.cache import Cache
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.labelled import Labels
from fathomseg.data.loading import BatchSlice, Steps, Stream, loader
from fathomseg.data.sampling import ByClass, Endless, RareClasses, Shuffled
from fathomseg.data.transforms import Geometry, cut, draws
from fathomseg.errors import FathomError
from fathomseg.types import Sample
from tests import fakes


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.make_camvid(tmp_path_factory.mktemp("camvid"), train=40, val=1, size=(4, 4))


COUNTS = {"a": np.array([900, 0, 0]), "b": np.array([880, 20, 0]), "c": np.array([600, 2, 298])}
"""Pixels of three classes in three images of 900 pixels."""


class TestShuffled:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_labelled_images_are_not_the_first(self, camvid: Path, seed: int) -> None:
        """Both are drawn by the seed of the run, but by different numbers."""
        dataset = CamVid(root=camvid)
        chosen = set(Labels(count=20).choose(dataset, "train", seed))
        order = Shuffled(dataset.ids("train"), seed)
        assert len(chosen & {order.id_at(position) for position in range(20)}) < 18


class TestRareClasses:
    def test_probabilities_are_those_of_the_paper(self) -> None:
        pixels = np.array([2380, 22, 298])
        shares = [(1 - n / 2700) / 0.2 for n in (2380, 22, 298)]
        expected = np.exp(shares) / np.exp(shares).sum()
        np.testing.assert_allclose(RareClasses(temperature=0.2).probabilities(pixels), expected, rtol=1e-12)
        alone = RareClasses().probabilities(np.array([5, 0, 0]))
        assert alone.tolist() == [1, 0, 0]
        assert np.isfinite(RareClasses(temperature=1e-4).probabilities(pixels)).all()

    def test_images_are_drawn_by_the_class_they_show(self) -> None:
        order = RareClasses(temperature=0.2, share=0.01).order(COUNTS, 3, (30, 30), seed=3)
        assert order.images == {0: ["a", "b", "c"], 1: ["b"], 2: ["c"]}, "c shows too little of class 1"
        drawn = Counter(order.id_at(position) for position in range(4000))
        p = order.classes
        expected = np.array([p[0] / 3, p[0] / 3 + p[1], p[0] / 3 + p[2]])
        np.testing.assert_allclose([drawn[id] / 4000 for id in "abc"], expected, atol=0.03)
        again = RareClasses(temperature=0.2, share=0.01).order(COUNTS, 3, (30, 30), seed=3)
        assert [again.id_at(p) for p in (7, 2, 99)] == [order.id_at(p) for p in (7, 2, 99)]

    def test_without_an_image_that_shows_enough_those_that_show_any_will_do(self) -> None:
        order = RareClasses(share=0.5).order(COUNTS, 3, (30, 30), seed=0)
        assert order.images == {0: ["a", "b", "c"], 1: ["b", "c"], 2: ["c"]}
        small = {f"im{i}": np.array([10000 - n, n]) for i, n in enumerate((10, 20, 29, 0))}
        assert RareClasses().order(small, 2, (100, 100), seed=0).images[1] == ["im0", "im1", "im2"]
        small["im2"] = np.array([9970, 30])
        assert RareClasses().order(small, 2, (100, 100), seed=0).images[1] == ["im2"]

    def test_no_label_is_an_error(self) -> None:
        with pytest.raises(FathomError, match=r"no labelled pixel.*sampling\.name=uniform"):
            RareClasses().order({"a": np.zeros(256, np.int64)}, 3, (30, 30), seed=0)

    def test_views_are_cut_until_one_shows_the_class(self) -> None:
        order = RareClasses(share=0.01, tries=3).order({"a": np.array([90, 10])}, 2, (10, 10), seed=0)
        blank = np.zeros((10, 10), np.uint8)
        shown = blank.copy()
        shown[0, 0] = 1
        assert order.accepts(0, lambda: shown, 1)
        assert not order.accepts(0, lambda: blank, 2)
        assert order.accepts(0, lambda: blank, 3)
        assert order.accepts(0, lambda: None, 1), "nothing to go by"

    def test_a_view_is_as_good_at_half_its_size(self) -> None:
        """Of 100 pixels of images of 80 x 50, which are 2.5 %, half must be in a view of 40 x 50 (`progressive`)."""
        order = RareClasses(share=0.025, tries=9).order({"a": np.array([90, 10])}, 2, (80, 50), 0, view=(40, 50))
        for rows, enough in ((2, True), (1, False)):
            shown = np.zeros((40, 50), np.uint8)
            shown[: 2 * rows, :20] = 1
            for label in (shown, shown[::2, ::2]):
                assert order.accepts(0, partial(np.copy, label), 1) == enough

    def test_pixels_are_counted_as_often_as_their_image_is_drawn(self) -> None:
        """The rare class is in one of two images: drawn with 0.2 / 2 + 0.8, the other with 0.2 / 2."""
        order = ByClass(np.array([0.2, 0.8]), {0: ["a", "b"], 1: ["b"]}, seed=0, share=0.01, most=1)
        assert order.frequencies == pytest.approx({"a": 0.1, "b": 0.9})
        ids = [order.id_at(position) for position in range(2000)]
        assert ids.count("b") / len(ids) == pytest.approx(0.9, abs=0.02)
        stream = Stream(Cache(Streets(size=(16, 32)), (16, 32)), ("a", "b"), ("image",), Geometry(), 0)
        stream.label_counts_by_id = {"a": np.bincount([0] * 100, minlength=256)}
        stream.label_counts_by_id |= {"b": np.bincount([0] * 60 + [1] * 40, minlength=256)}
        assert stream.drawn_pixels(2).tolist() == stream.label_pixels(2).tolist() == [160, 40]
        stream.order = order
        assert stream.drawn_pixels(2).tolist() == [round(0.2 * 100 + 1.8 * 60), round(1.8 * 40)]
        assert stream.label_pixels(2).tolist() == [160, 40], "what the images hold"

    def test_of_all_views_drawn_the_label_is_cut_and_the_last_one_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The samples are those of cutting everything at every try."""
        data = Streets(size=(32, 64), train_clips=2)
        order = RareClasses(share=0.003, tries=10).order(
            dict.fromkeys(data.ids("train"), np.ones(256, int)), 12, (32, 64), 0
        )
        crops = Geometry(crop=(16, 16), scale=(1, 1.5))
        cache = Cache(data, (32, 64), folder=tmp_path, limit_gb=0)
        stream = Stream(cache, data.ids("train"), ("image", "label", "depth"), crops, 0, order=order, with_whole=True)
        cuts: list[Sample] = []
        monkeypatch.setattr(loading, "cut", lambda sample, view: cuts.append(sample) or cut(sample, view))
        tried = []
        for position in range(12):
            key, found = stream[position]
            assert len(cuts) == position + 1
            sample, (again, rng), tries = cuts[-1], draws(0, position), 1
            view = crops.draw(sample.size, rng)
            wanted = cut(sample, view)
            while not order.accepts(position, partial(getattr, wanted, "label"), tries):
                view, tries = crops.draw(sample.size, rng), tries + 1
                wanted = cut(sample, view)
            assert (key, found.id) == (again, wanted.id)
            for name in ("image", "label", "depth"):
                np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
            np.testing.assert_array_equal(found.view, view.theta(sample.size))
            tried.append(tries)
        assert 1 in tried
        assert max(tried) > 2

    def test_in_a_stream(self, tmp_path: Path) -> None:
        """More crops show the rarest class than without."""
        data = CamVid(root=fakes.make_camvid(tmp_path / "data", train=12, size=(32, 64)))
        cache = Cache(data, (32, 64), folder=tmp_path / "cache")
        crops = Geometry(crop=(16, 16), scale=(1, 1))
        stream = Stream(cache, data.ids("train"), ("image", "label"), crops, 0)
        counts = stream.label_counts_by_id
        table = np.stack(list(counts.values()))[:, :11]
        np.testing.assert_array_equal(table.sum(0), stream.label_pixels(11).numpy())
        rare = int(table.sum(0).argmin())
        assert table.sum(0)[rare] > 0

        def showing() -> int:
            return sum(bool((stream[position][1].label == rare).any()) for position in range(36))

        uniform = showing()
        stream.order = RareClasses(share=0.003, tries=30).order(counts, 11, (32, 64), seed=0)
        assert showing() >= uniform + 8


class TestEndless:
    DATA = Streets(size=(16, 32), endless=True, frames=32)

    def test_ids_are_a_pure_function_and_hardly_repeat(self) -> None:
        order = Endless(self.DATA, "train", 5)
        ids = [order.id_at(position) for position in range(3000)]
        assert len(set(ids)) > 2995
        assert [Endless(self.DATA, "train", 5).id_at(p) for p in (2000, 3)] == [ids[2000], ids[3]]
        assert Endless(self.DATA, "train", 6).id_at(3) != ids[3]
        assert len({id.split("/")[1] for id in ids}) > 2900, "of a million drives, not of train_clips"

    def test_every_id_can_be_read_and_only_an_endless_city_has_it(self) -> None:
        id = Endless(self.DATA, "train", 0).id_at(0)
        assert self.DATA.image(id).shape == (16, 32, 3)
        assert self.DATA.label(id).shape == (16, 32)
        finite = Streets(size=(16, 32))
        assert finite.fresh("train", 0, 0) is None
        with pytest.raises(FathomError, match="no sample"):
            finite.image(id)
        with pytest.raises(FathomError, match="Only the split 'train'"):
            self.DATA.fresh("val", 0, 0)
        listed = self.DATA.ids("train")[0]
        np.testing.assert_array_equal(self.DATA.image(listed), finite.image(listed))

    @pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
    def test_it_needs_no_disk_and_is_the_same_from_any_number_of_processes(self, tmp_path: Path, workers: int) -> None:
        def batches(start: int, workers: int) -> list[tuple[tuple[str, ...], bytes, bytes]]:
            order = Endless(self.DATA, "train", 1)
            cache = Cache(self.DATA, (16, 32), folder=tmp_path / "cache", limit_gb=0)
            stream = Stream(cache, [order.id_at(0)], ("image", "label"), Geometry(), 1, order=order)
            made = loader(stream, Steps(BatchSlice(2), start, 3), workers, pin=False)
            return [(b.ids, b.image.numpy().tobytes(), b.targets["label"].numpy().tobytes()) for b in made]

        whole = batches(0, 0)
        assert batches(1, workers) == whole[1:]
        assert not (tmp_path / "cache").exists()
        assert len({id for ids, _, _ in whole for id in ids}) == 6

    def test_it_can_be_sent(self) -> None:
        order = pickle.loads(pickle.dumps(Endless(self.DATA, "train", 1)))
        assert order.id_at(4) == Endless(self.DATA, "train", 1).id_at(4)


def test_the_setting_says_which() -> None:
    from fathomseg.training.stream_config import StreamConfig

    config = validate(StreamConfig, {"sampling": {"name": "rare_classes", "temperature": 0.05}})
    assert config.sampling == RareClasses(temperature=0.05)
