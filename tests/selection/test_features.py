"""Features against a slow computation, the cache that keeps them, and images and networks that are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fathomseg.config import validate
from fathomseg.data.cache import Cache
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.errors import FathomError
from fathomseg.inference.card import load_model
from fathomseg.inference.shape import kept_aspect
from fathomseg.io.images import resize_image
from fathomseg.models.network import Network
from fathomseg.selection import extraction
from fathomseg.selection.extraction import extract
from fathomseg.selection.features import DepthFeatures, EncoderFeatures, Extractor, Features
from tests.selection.pools import ENCODER, SIZE, camvid
from tests.stages.saved_run import save_depth_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_depth_run(tmp_path_factory.mktemp("run"), {"name": "streets"}, size=(64, 96), pose=False)


@pytest.fixture
def data(tmp_path: Path) -> CamVid:
    return camvid(tmp_path / "camvid", images=7)


def encoder(**changes: Any) -> EncoderFeatures:
    return validate(EncoderFeatures, {**ENCODER, **changes})


def slowly(data: CamVid, network: Network, ids: list[str], size: tuple[int, int], grid: tuple[int, int]) -> Any:
    """Level 3 one image at a time, cells averaged in loops, channels standardised in float64."""
    rows = []
    for id in ids:
        image = torch.from_numpy(resize_image(data.image(id), size)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            level = network.decoders["depth"].levels(network.encoders["shared"](image))[3][0].double().numpy()
        height, width = level.shape[1] // grid[0], level.shape[2] // grid[1]
        cells = [
            level[:, y * height : (y + 1) * height, x * width : (x + 1) * width].mean((1, 2))
            for y in range(grid[0])
            for x in range(grid[1])
        ]
        rows.append(np.stack(cells, axis=1))
    raw = np.stack(rows)  # image, channel, cell
    mean, deviation = raw.mean((0, 2), keepdims=True), raw.std((0, 2), keepdims=True)
    return ((raw - mean) / deviation).reshape(len(ids), -1)


def test_depth_features_equal_the_slow_ones(run: Path, data: CamVid, tmp_path: Path) -> None:
    """The network sees images at as many pixels as it was trained at, in the proportions of the working size."""
    _, network = load_model(run)
    ids = list(data.ids("train"))
    found = extract(DepthFeatures(run=run, grid=(4, 8)), Cache(data, SIZE), ids[::-1], "cpu", tmp_path)
    expected = slowly(data, network, ids, kept_aspect((64, 96), SIZE), (4, 8))
    assert found.ids == tuple(ids)
    assert found.matrix.dtype == np.float16
    np.testing.assert_allclose(found.matrix.astype(np.float64), expected, rtol=2e-3, atol=2e-3)
    assert np.abs(expected).max() > 1.5, "the images must differ"


def test_levels_weights_and_grids_give_other_features(run: Path, data: CamVid, tmp_path: Path) -> None:
    def features(**settings: Any) -> Features:
        return extract(DepthFeatures(run=run, **settings), Cache(data, SIZE), data.ids("train"), "cpu", tmp_path)

    base, last = features(), features(weights="last")
    assert base.matrix.shape == (7, 128 * 32)
    assert np.abs(base.matrix - last.matrix).max() > 0.1
    assert features(level=4).matrix.shape == (7, 256 * 32)
    assert features(grid=(1, 1)).matrix.shape == (7, 128)


def test_encoder_features_have_mean_0_and_deviation_1(data: CamVid, tmp_path: Path) -> None:
    found = extract(encoder(), Cache(data, SIZE), data.ids("train"), "cpu", tmp_path)
    channels = found.matrix.astype(np.float64).reshape(7, -1, 2)
    np.testing.assert_allclose(channels.mean((0, 2)), 0, atol=2e-3)
    spread = channels.std((0, 2))
    assert ((np.abs(spread - 1) < 5e-3) | (spread == 0)).all()
    assert (spread > 0).mean() > 0.5


def test_a_second_call_reads_the_file(data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, ids = Cache(data, SIZE), data.ids("train")
    first = extract(encoder(), cache, ids, "cpu", tmp_path)
    monkeypatch.setattr(Extractor, "pooled", None)
    again = extract(encoder(), cache, list(reversed(ids)), "cpu", tmp_path)
    assert again.ids == first.ids
    assert isinstance(again.matrix, np.memmap)
    np.testing.assert_array_equal(again.matrix, first.matrix)
    assert sorted(p.suffix for p in (tmp_path / "features").iterdir()) == [".json", ".npy"]


def test_an_interrupt_loses_one_batch(data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_BATCH", 2)
    whole = extract(encoder(), Cache(data, SIZE), data.ids("train"), "cpu", tmp_path / "whole")
    pooled, seen = Extractor.pooled, []

    def interrupted(self: Extractor, images: torch.Tensor, grid: tuple[int, int]) -> np.ndarray:
        if len(seen) == 2:
            seen.append(0)
            raise KeyboardInterrupt
        seen.append(len(images))
        return pooled(self, images, grid)

    monkeypatch.setattr(Extractor, "pooled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(encoder(), Cache(data, SIZE), data.ids("train"), "cpu", tmp_path / "part")
    assert not list((tmp_path / "part" / "features").glob("*.npy"))
    done: list[tuple[int, int]] = []
    again = extract(
        encoder(), Cache(data, SIZE), data.ids("train"), "cpu", tmp_path / "part", lambda *now: done.append(now)
    )
    assert seen == [2, 2, 0, 2, 1], "the first four images are not computed again"
    assert done == [(6, 7), (7, 7)]
    np.testing.assert_array_equal(again.matrix, whole.matrix)


def test_two_processes_that_begin_together_do_not_disturb_each_other(
    data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one puts its empty matrix in the place of ours, and removes it when it is done."""
    monkeypatch.setattr(extraction, "_BATCH", 2)
    whole = extract(encoder(), Cache(data, SIZE), data.ids("train"), "cpu", tmp_path / "whole")
    pooled, calls = Extractor.pooled, []

    def beside(self: Extractor, images: torch.Tensor, grid: tuple[int, int]) -> np.ndarray:
        found = pooled(self, images, grid)
        calls.append(0)
        for raw in (tmp_path / "both" / "features").glob("*.part"):
            if len(calls) == 3:
                extraction._empty(raw, 7, found.shape[1])
        return found

    monkeypatch.setattr(Extractor, "pooled", beside)
    found = extract(encoder(), Cache(data, SIZE), data.ids("train"), "cpu", tmp_path / "both")
    assert len(calls) == 4
    np.testing.assert_array_equal(found.matrix, whole.matrix)


def test_an_unreadable_image_is_listed_and_left_out(data: CamVid, tmp_path: Path) -> None:
    ids = list(data.ids("train"))
    without = extract(encoder(), Cache(data, SIZE), [id for id in ids if id != ids[3]], "cpu", tmp_path)
    data.files(ids[3]).image.write_bytes(b"")
    for _ in range(2):  # the second time from the file
        found = extract(encoder(), Cache(data, SIZE), ids, "cpu", tmp_path)
        assert found.ids == without.ids
        assert [one.id for one in found.skipped] == [ids[3]]
        assert "0 bytes" in found.skipped[0].reason
        np.testing.assert_array_equal(found.matrix, without.matrix)


def test_changed_images_are_computed_anew(data: CamVid, tmp_path: Path) -> None:
    ids = list(data.ids("train"))
    first = extract(encoder(), Cache(data, SIZE), ids, "cpu", tmp_path)
    data.files(ids[0]).image.write_bytes(data.files(ids[1]).image.read_bytes())
    second = extract(encoder(), Cache(data, SIZE), ids, "cpu", tmp_path)
    np.testing.assert_array_equal(second.matrix[0], second.matrix[1])
    assert (first.matrix[0] != first.matrix[1]).any()


def test_what_cannot_be_used_says_why(data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = data.ids("train")
    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "pooled", lambda self, images, grid: np.full((len(images), 4), np.nan, np.float32))
        with pytest.raises(FathomError, match="NaN or infinite: the weights"):
            extract(encoder(), Cache(data, SIZE), ids, "cpu", tmp_path)
    with pytest.raises(FathomError, match="working size"):
        extract(encoder(), Cache(data, None), ids, "cpu", tmp_path)
    for id in ids:
        data.files(id).image.write_bytes(b"no image")
    with pytest.raises(FathomError, match="None of the 7 images"):
        extract(encoder(), Cache(data, SIZE), ids, "cpu", tmp_path)
