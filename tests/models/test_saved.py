"""Depth models on disk: what was saved comes back, and each kind of network is refused where another is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fathomseg.errors import FathomError
from fathomseg.models.decoders import DepthUNet, Fpn
from fathomseg.models.depth_network import DepthNetwork, DepthNetworkConfig
from fathomseg.models.encoders import Encoder
from fathomseg.models.network import NetworkConfig
from fathomseg.models.pose import PoseConfig
from fathomseg.models.pose_base import PoseNetwork
from fathomseg.inference.card import (
    CARD,
    POSE,
    WEIGHTS,
    ModelCard,
    load_card,
    load_depth_model,
    load_model,
    load_pose,
    save_model,
    save_weights,
)

TINY = Encoder(model="test_resnet", pretrained="none")
NETWORK = DepthNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=(4, 4, 4, 4, 4), stride=2))
CARD_OF_DEPTH = ModelCard(
    network=NETWORK, size=(48, 96), depth_range=(0.5, 80.0), pose=PoseConfig(encoder=TINY, reduce=2)
)
CLASSES = {"classes": ("a", "b"), "colours": ((0, 0, 0), (255, 0, 0))}


def image(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, 48, 96, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, DepthNetwork, PoseNetwork]:
    torch.manual_seed(0)
    assert CARD_OF_DEPTH.pose is not None
    network, pose = NETWORK.build().eval(), CARD_OF_DEPTH.pose.build().eval()
    save_weights(tmp_path / POSE, pose.state_dict())
    save_model(tmp_path, CARD_OF_DEPTH, network.state_dict())
    return tmp_path, network, pose


@pytest.fixture
def segmenting(tmp_path: Path) -> Path:
    config = NetworkConfig(encoder=TINY, decoder=Fpn(channels=8))
    save_model(tmp_path / "s", ModelCard(network=config, size=(48, 96), **CLASSES), config.build(2).state_dict())
    return tmp_path / "s"


def test_depth_and_motion_come_back(saved: tuple[Path, DepthNetwork, PoseNetwork]) -> None:
    folder, network, pose = saved
    card, again = load_depth_model(folder)
    assert card == CARD_OF_DEPTH
    assert not again.training
    with torch.no_grad():
        pairs = zip(network(image())["disparity"], again(image())["disparity"], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        motion = load_pose(folder)
        assert motion.reduce == 2
        assert torch.equal(torch.cat(motion(image(0), image(1))), torch.cat(pose(image(0), image(1))))


def test_a_depth_network_knows_no_classes(saved: tuple[Path, DepthNetwork, PoseNetwork]) -> None:
    with pytest.raises(FathomError, match=r"knows no classes\. Give a run of `fathom train`"):
        load_model(saved[0])


def test_a_segmentation_network_gives_neither_depth_nor_motion(segmenting: Path) -> None:
    with pytest.raises(FathomError, match=r"gives no depth\. Give a run of `fathom pretrain`"):
        load_depth_model(segmenting)
    with pytest.raises(FathomError, match="no network for camera motion"):
        load_pose(segmenting)
    assert load_model(segmenting)[0].class_list.names == ("a", "b")


def test_a_card_of_before_there_were_kinds_is_a_segmentation(segmenting: Path) -> None:
    text = (segmenting / CARD).read_text()
    old = text.replace('"name": "segmentation",', "", 1)
    (segmenting / CARD).write_text(old)
    assert load_card(segmenting).segments


def test_missing_weights_are_named(saved: tuple[Path, DepthNetwork, PoseNetwork]) -> None:
    folder, *_ = saved
    with pytest.raises(FathomError, match=r"no weights last\.safetensors; .* model\.safetensors, pose\.safetensors"):
        load_depth_model(folder, WEIGHTS["last"])
    (folder / POSE).unlink()
    with pytest.raises(FathomError, match=r"no weights pose\.safetensors"):
        load_pose(folder)


def test_weights_of_another_network_are_refused(saved: tuple[Path, DepthNetwork, PoseNetwork]) -> None:
    folder, network, _ = saved
    save_weights(folder / POSE, network.state_dict())
    with pytest.raises(FathomError, match="does not hold the weights of the network"):
        load_pose(folder)
    (folder / WEIGHTS["ema"]).write_bytes(b"half")
    with pytest.raises(FathomError, match="damaged or no safetensors file"):
        load_depth_model(folder)


def test_depth_needs_its_range() -> None:
    with pytest.raises(ValueError, match="needs its depth_range"):
        ModelCard(network=NETWORK, size=(48, 96))
