"""The real-time network as an ONNX file: one decoder for all tasks, metres and normals, equal to PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fathomseg.inference.card import ModelCard, load_card
from fathomseg.inference.onnx import OnnxNetwork, read_metadata
from fathomseg.inference.predictor import load
from fathomseg.models.decoders import LwRefineNet
from fathomseg.models.encoders import Encoder
from fathomseg.stages.export import exported
from fathomseg.tasks import Depth, Normals, Segmentation
from fathomseg.tasks.network import NetworkConfig
from tests.saved_model import save_model
from tests.typecheck import unchecked

CLASSES = ("road", "car", "sky")


def save(folder: Path) -> Path:
    """A random network whose predictions vary over an image."""
    config = NetworkConfig(
        encoder=Encoder(model="test_efficientnet", pretrained="none"),
        tasks={
            "segmentation": Segmentation(decoder=LwRefineNet(channels=16), head="separable"),
            "depth": Depth(decoder="shared", head="separable", output="metric", min_depth=1, max_depth=80, start=0.05),
            "normals": Normals(decoder="shared", head="separable"),
        },
    )
    torch.manual_seed(0)
    network = config.build(len(CLASSES), pretrained=False)
    for name, weights in network.heads.named_parameters():
        if weights.ndim > 1:
            nn.init.normal_(weights, std=2.0 if name.startswith("depth") else 0.5)
    card = ModelCard(
        network=config, classes=CLASSES, colours=((1, 2, 3), (4, 5, 6), (7, 8, 9)), size=(64, 96), depth_unit="metres"
    )
    save_model(folder, card, network.state_dict())
    return folder


@pytest.mark.long
def test_all_tasks_of_one_decoder_equal_pytorch(tmp_path: Path) -> None:
    folder = save(tmp_path / "run")
    file = tmp_path / "model.onnx"
    with unchecked():  # symbolic sizes are no ints
        assert exported(folder, file) == file
    card = load_card(folder)
    network, as_file = load(folder, device="cpu").network, OnnxNetwork(file, card.tasks, "cpu")
    for size in ((1, 3, 64, 96), (2, 3, 97, 130)):
        image = torch.randint(256, size, generator=torch.Generator().manual_seed(1)).float() / 255
        with torch.no_grad():
            mine, theirs = as_file(image), network(image, tuple(card.tasks))
        for name, task in card.tasks.items():
            wanted = task.map(theirs[name])
            assert wanted.std() > 1e-2, "a constant would pass"
            torch.testing.assert_close(task.map(mine[name]), wanted, rtol=1e-4, atol=1e-4)
    known = read_metadata(file)
    assert known["depth_unit"] == "metres"
    assert known["tasks"] == ["segmentation", "depth", "normals"]
    assert (known["depth"]["unit"], known["depth"]["nearest"], known["depth"]["farthest"]) == ("metres", 1.0, 80.0)
    assert "towards the camera" in known["normals"]
    again = load(file, device="cpu")
    photo = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    one, other = again.predict(photo), load(folder, device="cpu").predict(photo)
    np.testing.assert_allclose(one.depth, other.depth, rtol=1e-3)
    np.testing.assert_allclose(one.normals, other.normals, atol=1e-3)
    assert (one.label == other.label).mean() > 0.999
