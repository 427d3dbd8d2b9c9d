"""The stream of batches is a pure function of (seed, step, rank), shared out exactly among ranks and micro-batches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.data.cache import Cache
from fathomseg.data.datasets import CamVid
from fathomseg.data.labelled import Labels
from fathomseg.data.loading import Share, Steps, Stream, collate, loader
from fathomseg.data.transforms import Geometry
from fathomseg.errors import FathomError
from fathomseg.types import Sample
from tests import fakes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return CamVid(root=fakes.make_camvid(tmp_path_factory.mktemp("camvid"), train=10))


def stream(dataset: CamVid, folder: Path, seed: int = 0, **geometry: object) -> Stream:
    cache = Cache(dataset, (16, 24), folder=folder)
    return Stream(cache, dataset.ids("train"), ("image", "label"), Geometry(**geometry), seed)  # type: ignore[arg-type]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 50))
def test_ranks_and_micro_batches_share_each_step_without_gap_or_overlap(m: int, world: int, k: int, step: int) -> None:
    batch = m * world * k
    seen = [
        position
        for rank in range(world)
        for micro in Share(batch, rank, world, k).positions(step)
        for position in micro
    ]
    assert sorted(seen) == list(range(step * batch, (step + 1) * batch))
    assert all(len(list(Share(batch, rank, world, k).positions(step))) == k for rank in range(world))


def test_a_batch_that_cannot_be_shared_out_is_an_error() -> None:
    with pytest.raises(FathomError, match="make it a multiple of 6"):
        Share(batch=8, world=2, accumulate=3)


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_loader_goes_on_where_it_stopped(dataset: CamVid, tmp_path: Path, workers: int) -> None:
    """And however many processes read, since what they read depends on the position only."""

    def batches(start: int, workers: int) -> list[tuple[tuple[str, ...], torch.Tensor]]:
        made = loader(stream(dataset, tmp_path), Steps(Share(4), start, 5), workers, pin=False)
        return [(batch.ids, batch.image) for batch in made]

    whole, rest = batches(0, 0), batches(3, workers)
    assert len(whole) == 5
    for (ids, image), (ids2, image2) in zip(whole[3:], rest, strict=True):
        assert ids == ids2
        assert torch.equal(image, image2)


def test_batches_are_channels_last_bytes_with_labels_only_where_all_have_one() -> None:
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    labelled, bare = Sample("a", image, image[..., 0]), Sample("b", image)
    batch = collate([(1, labelled), (2, labelled)])
    assert batch.image.shape == (2, 3, 4, 5)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.image[1].permute(1, 2, 0), torch.from_numpy(image))
    assert batch.label is not None
    assert batch.label.dtype == torch.uint8
    assert batch.labelled is not None
    assert batch.labelled.all()
    partly = collate([(1, labelled), (2, bare)])
    assert partly.label is not None
    assert partly.labelled is not None
    assert partly.labelled.tolist() == [True, False]
    assert torch.equal(partly.label[0], batch.label[0])
    assert (partly.label[1] == 255).all(), "without a label every pixel is ignored"
    assert collate([(1, bare), (2, bare)]).label is None
    assert collate([(1, bare), (2, bare)]).labelled is None


def test_an_empty_list_of_images_is_an_error(dataset: CamVid, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="no image to train on"):
        Stream(Cache(dataset, (16, 24), folder=tmp_path), [], ("image",), Geometry(), 0)


# ---------------------------------------------------------------------------------------------- the label budget


def test_budgets_nest_and_depend_on_the_seed(dataset: CamVid) -> None:
    chosen = {n: set(Labels(count=n).choose(dataset, seed=3)) for n in (2, 5, 9)}
    assert chosen[2] < chosen[5] < chosen[9]
    assert [len(c) for c in chosen.values()] == [2, 5, 9]
    assert any(set(Labels(count=2).choose(dataset, seed=s)) != chosen[2] for s in range(5))
    assert set(Labels(count=2, seed=3).choose(dataset, seed=99)) == chosen[2], "labels.seed wins over the run's"
    assert set(Labels().choose(dataset, 0)) == set(dataset.ids("train"))


def test_only_images_that_have_a_label_are_chosen(tmp_path: Path) -> None:
    dataset = CamVid(root=fakes.make_camvid(tmp_path, train=6))
    kept = dataset.ids("train")[:3]
    for id in dataset.ids("train")[3:]:
        (tmp_path / "trainannot" / f"{id.split('/')[1]}.png").unlink()
    dataset = CamVid(root=tmp_path)  # a dataset lists its folder once
    assert set(Labels().choose(dataset, 0)) == set(kept)
    with pytest.raises(FathomError, match="only 3 images"):
        Labels(count=4).choose(dataset, 0)


def test_a_list_of_ids_is_taken_as_it_is_and_checked(dataset: CamVid, tmp_path: Path) -> None:
    ids = dataset.ids("train")
    (tmp_path / "chosen.txt").write_text(f"{ids[4]}\n\n{ids[1]}\n{ids[4]}\n{ids[7]}\n")
    assert Labels(file=tmp_path / "chosen.txt").choose(dataset, 0) == tuple(sorted((ids[4], ids[1], ids[7])))
    assert Labels(file=tmp_path / "chosen.txt", count=2).choose(dataset, 0) == tuple(sorted((ids[4], ids[1])))
    (tmp_path / "chosen.txt").write_text("train/elsewhere\n")
    with pytest.raises(
        FathomError, match=r"does not have, for example 'train/elsewhere'; its own ids look like 'train/"
    ):
        Labels(file=tmp_path / "chosen.txt").choose(dataset, 0)
    with pytest.raises(FathomError, match="There is no file"):
        Labels(file=tmp_path / "none.txt").choose(dataset, 0)
