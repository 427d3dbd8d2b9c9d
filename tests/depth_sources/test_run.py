"""Disparity from a depth run: that of its predictor, in batches, and a fingerprint by content."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.depth_sources.normalise import Normalisation
from fathomseg.depth_sources.prepared import prepare
from fathomseg.depth_sources.run import RunDepth
from fathomseg.errors import FathomError
from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predictor import load
from fathomseg.io.images import resize_image
from fathomseg.models.decoders import DepthUNet
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from tests.fakes import make_camvid, save
from tests.saved_model import save_model
from tests.stages.saved_run import ENCODER, RANGE, build, save_depth_run, save_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return CamVid(root=make_camvid(tmp_path_factory.mktemp("data"), size=(48, 80)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_depth_run(tmp_path_factory.mktemp("run"), {}, pose=False)


def test_disparity_is_that_of_the_predictor(data: CamVid, run: Path) -> None:
    ids = data.ids("train")[:3]
    maps = RunDepth(run=run).open(data, "cpu").disparity(ids)
    predictor = load(run, device="cpu")
    for id, disparity in zip(ids, maps, strict=True):
        assert disparity is not None
        expected = predictor.predict_batch([data.image(id)], [disparity.shape])[0].disparity
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
    np.testing.assert_allclose(mixed[0], RunDepth(run=run).disparity(data, first), atol=1e-5)  # type: ignore[arg-type]


def test_the_fingerprint_is_that_of_the_weights_wherever_they_lie(data: CamVid, run: Path, tmp_path: Path) -> None:
    id = data.ids("train")[0]

    def text(folder: Path, **settings: object) -> str | None:
        return RunDepth(run=folder, **settings).open(data, "cpu").fingerprint(id)  # type: ignore[arg-type]

    copy = shutil.copytree(run, tmp_path / "copy")
    assert text(copy) == text(run)
    assert text(copy, weights="last") != text(run)
    weights = load_file(copy / "model.safetensors")
    weights[next(name for name in weights if name.startswith("decoders.depth."))] += 1e-3
    save_file(weights, copy / "model.safetensors")
    assert text(copy) != text(run)
    other = RunDepth(run=run).open(data, "cpu").fingerprint(data.ids("train")[1])
    assert other != text(run)


def test_a_run_of_several_tasks_gives_its_depth_whatever_its_own_inference_is(data: CamVid, tmp_path: Path) -> None:
    both = save_run(tmp_path / "both", data.classes, {}, (32, 64), ("segmentation", "depth"))
    (id, *_) = data.ids("train")
    disparity = RunDepth(run=both).disparity(data, id)
    image = torch.from_numpy(resize_image(data.image(id), (32, 64))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = load(both, device="cpu").network(image / 255, ["depth"])["depth"][0][0, 0]
    np.testing.assert_allclose(disparity, expected, atol=1e-5)  # type: ignore[arg-type]
    (both / "config.yaml").write_text("evaluation:\n  inference: {size: [64, 64], flip: true}\n")
    np.testing.assert_array_equal(RunDepth(run=both).disparity(data, id), disparity)  # type: ignore[arg-type]


def test_a_distilled_target_decodes_to_the_depth_of_its_teacher(data: CamVid, run: Path, tmp_path: Path) -> None:
    ids = data.ids("train")[:3]
    source = RunDepth(run=run, normalise=Normalisation(over="none"))
    reader = source.open(data, "cpu")
    size = reader.disparity(ids[:1])[0].shape  # type: ignore[union-attr]
    targets = prepare(source, data, ids, size, tmp_path / "cache", "cpu")
    teacher = load(run, device="cpu")
    assert source.depth_range() == RANGE
    for id in ids:
        depth = teacher.predict_batch([data.image(id)], [size])[0].depth
        learned = disparity_to_depth(torch.from_numpy(targets.read(id).values), *RANGE)
        np.testing.assert_allclose(learned, depth, rtol=1e-3)  # 1/65534 of disparity at the farthest
    bent = RunDepth(run=run, normalise=Normalisation(over="dataset"))
    found = prepare(bent, data, ids, size, tmp_path / "cache", "cpu").read(id).values
    assert not np.allclose(disparity_to_depth(torch.from_numpy(found), *RANGE), depth, rtol=0.05)  # type: ignore[arg-type]


def test_a_network_of_metres_gives_disparity_too(data: CamVid, tmp_path: Path) -> None:
    metres = Depth(decoder=DepthUNet(stride=4), output="metric", min_depth=RANGE[0], max_depth=RANGE[1])
    config = NetworkConfig(encoder=ENCODER, tasks={"depth": metres})
    save_model(tmp_path, ModelCard(network=config, size=(32, 64)), build(config, 0, 0).state_dict())
    (id, *_) = data.ids("train")
    disparity = RunDepth(run=tmp_path).disparity(data, id)
    assert disparity is not None
    predicted = load(tmp_path, device="cpu").predict_batch([data.image(id)], [disparity.shape])[0]
    np.testing.assert_allclose(disparity, predicted.disparity, atol=1e-5)  # type: ignore[arg-type]
    assert np.ptp(disparity) > 0
    assert disparity.max() <= 1


def test_runs_that_give_no_depth(data: CamVid, run: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="holds no model"):
        RunDepth(run=tmp_path).open(data)
    with pytest.raises(FathomError, match="has no task 'depth'; it predicts segmentation"):
        RunDepth(run=save_run(tmp_path / "classes", data.classes, {})).open(data)
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
