"""Disparity from a depth run: that of its predictor, in batches, and a fingerprint by content."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.depth_sources.run import RunDepth
from fathomseg.errors import FathomError
from fathomseg.inference.predictor import load
from tests.depth_sources.networks import save_depth_run
from tests.fakes import make_camvid, save
from tests.stages.saved_run import save_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return CamVid(root=make_camvid(tmp_path_factory.mktemp("data"), size=(48, 80)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_depth_run(tmp_path_factory.mktemp("run"))


def test_disparity_is_that_of_the_predictor(data: CamVid, run: Path) -> None:
    ids = data.ids("train")[:3]
    maps = RunDepth(run=run).open(data, "cpu").disparity(ids)
    predictor = load(run, device="cpu")
    for id, disparity in zip(ids, maps, strict=True):
        assert disparity is not None
        expected = predictor.predict_batch([data.image(id)], [disparity.shape])[0].disparity  # type: ignore[list-item]
        assert expected is not None
        assert np.ptp(expected) > 0.05  # it says something
        np.testing.assert_allclose(disparity, expected, atol=1e-5)
    assert not np.allclose(maps[0], maps[1])  # type: ignore[arg-type]
    last = RunDepth(run=run, weights="last").disparity(data, ids[0])
    assert not np.allclose(last, maps[0])  # type: ignore[arg-type]


def test_images_of_different_sizes_go_together(data: CamVid, run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data.root, tmp_path / "data")
    first, second = data.ids("train")[:2]
    save(root / f"{second}.png", np.zeros((30, 31, 3), np.uint8))
    mixed = RunDepth(run=run).open(CamVid(root=root), "cpu").disparity([first, second])
    np.testing.assert_allclose(mixed[0], RunDepth(run=run).disparity(data, first), atol=1e-6)  # type: ignore[arg-type]


def test_the_fingerprint_is_that_of_the_weights_wherever_they_lie(data: CamVid, run: Path, tmp_path: Path) -> None:
    id = data.ids("train")[0]

    def text(folder: Path, **settings: object) -> str | None:
        return RunDepth(run=folder, **settings).open(data, "cpu").fingerprint(id)  # type: ignore[arg-type]

    copy = shutil.copytree(run, tmp_path / "copy")
    assert text(copy) == text(run)
    assert text(copy, weights="last") != text(run)
    weights = load_file(copy / "model.safetensors")
    weights[next(name for name in weights if name.startswith("decoders."))] += 1e-3
    save_file(weights, copy / "model.safetensors")
    assert text(copy) != text(run)
    other = RunDepth(run=run).open(data, "cpu").fingerprint(data.ids("train")[1])
    assert other != text(run)


def test_it_is_shown_whole_images_as_they_are_whatever_the_run_is_scored_with(
    data: CamVid, run: Path, tmp_path: Path
) -> None:
    """So the fingerprint, which knows nothing of it, stays true."""
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "config.yaml").write_text("evaluation: {inference: {flip: true, size: [64, 128]}}")
    id = data.ids("train")[0]
    np.testing.assert_array_equal(RunDepth(run=copy).disparity(data, id), RunDepth(run=run).disparity(data, id))


def test_runs_that_give_no_depth(data: CamVid, run: Path, tmp_path: Path) -> None:
    segmenting = save_run(tmp_path / "segmenting", data.classes, {"name": "camvid"})
    with pytest.raises(FathomError, match="no task 'depth'; it predicts segmentation"):
        RunDepth(run=segmenting).open(data)
    with pytest.raises(FathomError, match="holds no model"):
        RunDepth(run=tmp_path).open(data)
    copy = shutil.copytree(run, tmp_path / "copy")
    weights = {
        name: t * torch.nan if t.is_floating_point() else t for name, t in load_file(copy / "model.safetensors").items()
    }
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(FathomError, match="NaN"):
        RunDepth(run=copy).disparity(data, data.ids("train")[0])
    (copy / "last.safetensors").unlink()
    with pytest.raises(FathomError, match=r"last.safetensors"):
        RunDepth(run=copy, weights="last").open(data)
