"""Models on disk: what was saved comes back, and what does not fit is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fathomseg.config import validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import CARD, POSE, WEIGHTS, ModelCard, load_card, load_model, load_pose
from fathomseg.models.network import Network
from fathomseg.models.pose import PoseConfig, PoseNetwork
from fathomseg.models.saved import save_weights
from tests.models.networks import assert_equal, build, images, joint, seeing_depth, segmenting, unet
from tests.saved_model import save_model

SIZE = (48, 96)
CLASSES = {"classes": tuple("abcde"), "colours": tuple((i, i, i) for i in range(5))}
POSE_CONFIG = {"encoder": {"model": "test_resnet", "pretrained": "none"}, "reduce": 2}
DEPTH_CARD = ModelCard(network=seeing_depth(unet(stride=2)), size=SIZE, pose=validate(PoseConfig, POSE_CONFIG))
CARDS = {
    "segmentation": ModelCard(network=segmenting({"name": "fpn", "channels": 8}), size=SIZE, **CLASSES),
    "depth": DEPTH_CARD,
    "joint": ModelCard(network=joint(unet()), size=SIZE, **CLASSES),
}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Network, PoseNetwork]:
    network = build(DEPTH_CARD.network).eval()
    assert DEPTH_CARD.pose is not None
    pose = DEPTH_CARD.pose.build().eval()
    save_weights(tmp_path / POSE, pose.state_dict())
    save_model(tmp_path, DEPTH_CARD, network.state_dict())
    return tmp_path, network, pose


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_network_of_any_tasks_comes_back(card: ModelCard, tmp_path: Path) -> None:
    network = build(card.network).eval()
    save_model(tmp_path, card, network.state_dict())
    read, again = load_model(tmp_path)
    assert read == card
    assert not again.training
    with torch.no_grad():
        assert_equal(again(images(1, *SIZE), again.outputs), network(images(1, *SIZE), network.outputs))
    assert tuple(read.tasks) == network.tasks


def test_averaged_and_last_weights_share_a_card(tmp_path: Path) -> None:
    card = CARDS["segmentation"]
    first, second = build(card.network), build(card.network, seed=1)
    save_model(tmp_path, card, first.state_dict())
    save_model(tmp_path, card, second.state_dict(), WEIGHTS["last"])
    assert_equal(load_model(tmp_path)[1].state_dict(), first.state_dict())
    assert_equal(load_model(tmp_path, WEIGHTS["last"])[1].state_dict(), second.state_dict())


def test_motion_comes_back(saved: tuple[Path, Network, PoseNetwork]) -> None:
    folder, _, pose = saved
    motion, pair = load_pose(folder), (images(1, *SIZE, seed=0), images(1, *SIZE, seed=1), torch.eye(3)[None])
    assert motion.reduce == 2
    assert not motion.training
    with torch.no_grad():
        assert torch.equal(torch.cat(motion(*pair)), torch.cat(pose(*pair)))


def test_a_network_without_a_pose_network(tmp_path: Path) -> None:
    card = CARDS["segmentation"]
    save_model(tmp_path, card, build(card.network).state_dict())
    with pytest.raises(FathomError, match=r"no network for camera motion.*objective `photometric`"):
        load_pose(tmp_path)
    assert load_card(tmp_path).class_list.names == tuple("abcde")


def test_missing_weights_are_named(saved: tuple[Path, Network, PoseNetwork]) -> None:
    folder, *_ = saved
    with pytest.raises(FathomError, match=r"no weights last\.safetensors; .* model\.safetensors, pose\.safetensors"):
        load_model(folder, WEIGHTS["last"])
    (folder / POSE).unlink()
    with pytest.raises(FathomError, match=r"no weights pose\.safetensors"):
        load_pose(folder)


def test_weights_of_another_network_are_refused(saved: tuple[Path, Network, PoseNetwork]) -> None:
    folder, network, _ = saved
    save_weights(folder / POSE, network.state_dict())
    with pytest.raises(FathomError, match="does not hold the weights of the network"):
        load_pose(folder)
    (folder / WEIGHTS["ema"]).write_bytes(b"half")
    with pytest.raises(FathomError, match="damaged or no safetensors file"):
        load_model(folder)


def test_a_folder_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"holds no model\. Give a folder written by `fathom train`"):
        load_card(tmp_path)


def test_a_card_of_another_layout_is_refused(saved: tuple[Path, Network, PoseNetwork]) -> None:
    folder, *_ = saved
    tree = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**tree, "network": {"name": "depth", "decoder": {}}}))
    with pytest.raises(ConfigError, match=r"network.name: unknown key"):
        load_card(folder)


def test_a_network_that_segments_names_its_classes() -> None:
    with pytest.raises(ValueError, match="needs 2 to 254 classes, but this one has 0"):
        ModelCard(network=joint(unet()), size=SIZE)
    with pytest.raises(ValueError, match="5 class names but 4 colours"):
        ModelCard(network=joint(unet()), size=SIZE, classes=CLASSES["classes"], colours=CLASSES["colours"][1:])
