"""Starting from an earlier run: what is loaded, what is listed as not loaded, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fathomseg.models.depth_network import DepthNetwork, DepthNetworkConfig
from fathomseg.models.joint import JointNetworkConfig
from fathomseg.models.pose_base import PoseNetwork
from fathomseg.stages.depth_recipe import DepthRecipe
from fathomseg.stages.start import Start, start
from torch import Tensor, nn

from fathomseg.config import validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import CARD, POSE, WEIGHTS, ModelCard, save_model, save_weights
from fathomseg.models.decoders import DepthUNet, Fpn
from fathomseg.models.encoders import Encoder
from fathomseg.models.network import Network, NetworkConfig
from fathomseg.models.pose import PoseConfig
from fathomseg.stages import pretrain as pretrain_stage
from fathomseg.stages import train as train_stage
from fathomseg.stages.recipe import Recipe
from tests.fakes import make_camvid
from tests.stages import tiny, tiny_depth

TINY = Encoder(model="test_resnet", pretrained="none")
OTHER = Encoder(model="test_efficientnet", pretrained="none")
WIDTHS = (4, 4, 6, 6, 8)
EVERYTHING = ("encoder", "decoder", "disparity", "pose")


def depth(seed: int, encoder: Encoder = TINY, widths: tuple[int, ...] = WIDTHS, stride: int = 2) -> DepthNetwork:
    torch.manual_seed(seed)
    return DepthNetworkConfig(encoder=encoder, decoder=DepthUNet(channels=widths, stride=stride)).build()


def segmentation(decoder: DepthUNet | Fpn, encoder: Encoder = TINY) -> Network:
    torch.manual_seed(9)
    return NetworkConfig(encoder=encoder, decoder=decoder).build(2)


def pose(seed: int, encoder: Encoder = TINY) -> PoseNetwork:
    torch.manual_seed(seed)
    return PoseConfig(encoder=encoder).build()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depth run whose averaged weights are those of seed 0, whose last are those of seed 1, with pose of seed 2."""
    folder = tmp_path_factory.mktemp("depth")
    config = DepthNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=WIDTHS, stride=2))
    card = ModelCard(network=config, size=(48, 96), depth_range=(0.1, 100.0), pose=PoseConfig(encoder=TINY))
    for seed, file in enumerate(WEIGHTS.values()):
        save_model(folder, card, depth(seed).state_dict(), file)
    save_weights(folder / POSE, pose(2).state_dict())
    return folder


@pytest.fixture(scope="module")
def segmenting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `fathom train`."""
    folder = tmp_path_factory.mktemp("segmentation")
    card = ModelCard(
        network=NetworkConfig(encoder=TINY, decoder=DepthUNet(channels=WIDTHS, stride=2)),
        classes=("a", "b"),
        colours=((0, 0, 0), (255, 0, 0)),
        size=(48, 96),
    )
    save_model(folder, card, segmentation(DepthUNet(channels=WIDTHS, stride=2)).state_dict())
    return folder


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module: nn.Module, other: dict[str, Tensor], prefix: str = "") -> bool:
    mine = {name: tensor for name, tensor in module.state_dict().items() if name.startswith(prefix)}
    return bool(mine) and all(torch.equal(tensor, other[name]) for name, tensor in mine.items())


def test_the_encoder_alone(run: Path) -> None:
    network = depth(5)
    before = state(network)
    said = Start(run=run).into(network)
    assert same(network, depth(0).state_dict(), "encoder.")
    assert same(network, before, "decoder.")
    assert same(network, before, "heads.")
    count = len([name for name in before if name.startswith("encoder.")])
    assert said.splitlines()[0] == f"Starting from {run} (ema weights), parts: encoder"
    assert f"{count} tensors loaded: encoder." in said


def test_everything_between_depth_runs(run: Path) -> None:
    network, motion = depth(5), pose(6)
    said = Start(run=run, parts=EVERYTHING, weights="last").into(network, motion)
    assert same(network, depth(1).state_dict())
    assert same(motion, pose(2).state_dict())
    heads = len(network.heads["disparity"].state_dict())
    assert f"{heads} tensors loaded: disparity heads" in said
    assert f"{len(motion.state_dict())} tensors loaded: pose network" in said
    assert "(last weights)" in said


def test_the_pose_network_alone(run: Path) -> None:
    """As the second of the papers' phases does."""
    network, motion = depth(5), pose(6)
    before = state(network)
    Start(run=run, parts=("pose",)).into(network, motion)
    assert same(network, before)
    assert same(motion, pose(2).state_dict())


def test_a_segmentation_network_takes_encoder_and_decoder(run: Path) -> None:
    network = segmentation(DepthUNet(channels=WIDTHS, stride=2))
    head = state(network.heads)
    Start(run=run, parts=("encoder", "decoder")).into(network)
    source = depth(0).eval()
    network.eval()
    image = torch.rand(1, 3, 48, 96)
    assert torch.equal(network.decoder(network.encoder(image)), source.decoder(source.encoder(image)))
    assert same(network.heads, head)


def test_levels_the_source_lacks_are_listed(run: Path) -> None:
    said = Start(run=run, parts=("encoder", "decoder")).into(segmentation(DepthUNet(channels=WIDTHS, stride=1)))
    (line,) = [line for line in said.splitlines() if "not in the source, left as they were" in line]
    assert "decoder.blocks.0" in line
    said = Start(run=run, parts=("encoder", "decoder")).into(segmentation(DepthUNet(channels=WIDTHS, stride=4)))
    (line,) = [line for line in said.splitlines() if "in the source only, not used" in line]
    assert "decoder.blocks.1" in line


def test_a_segmentation_run_can_be_started_from_for_depth(segmenting: Path) -> None:
    network = depth(5)
    Start(run=segmenting, parts=("encoder", "decoder")).into(network)
    assert same(network, segmentation(DepthUNet(channels=WIDTHS, stride=2)).state_dict(), "decoder.")


class TestRefusals:
    def refuse(self, config: Start, network: nn.Module, words: str, motion: PoseNetwork | None = None) -> None:
        """The error has these words, and nothing was copied."""
        before = state(network)
        with pytest.raises(FathomError, match=words):
            config.into(network, motion)
        assert same(network, before)

    def test_another_encoder(self, run: Path) -> None:
        self.refuse(Start(run=run), depth(5, OTHER), "the same|same encoder|same timm model")

    def test_other_widths(self, run: Path) -> None:
        self.refuse(
            Start(run=run, parts=("encoder", "decoder")),
            depth(5, widths=(4, 4, 6, 6, 9)),
            r"decoder\.\S+ is \[8, .*should be \[9, .*same encoder, decoder and widths",
        )

    def test_other_heads(self, run: Path) -> None:
        self.refuse(
            Start(run=run, parts=("disparity",)),
            depth(5, stride=4),
            r"The disparity heads of .* differs .* decoder\.stride",
        )

    def test_another_pose_network(self, run: Path) -> None:
        motion = pose(6, OTHER)
        before = state(motion)
        self.refuse(Start(run=run, parts=("pose",)), depth(5), r"pose network of .* learner\.pose", motion)
        assert same(motion, before)

    def test_a_decoder_of_another_kind(self, run: Path) -> None:
        self.refuse(
            Start(run=run, parts=("encoder", "decoder")),
            segmentation(Fpn(channels=8)),
            "Nothing of the decoder can be taken over.*must be depth_unet in both",
        )

    def test_parts_only_depth_has(self, run: Path) -> None:
        network = segmentation(DepthUNet(channels=WIDTHS))
        self.refuse(Start(run=run, parts=("disparity",)), network, "`disparity`, but the network .* gives none")
        self.refuse(Start(run=run, parts=("pose",)), network, "`pose`, but this training has no pose network")

    def test_a_run_without_pose(self, segmenting: Path) -> None:
        self.refuse(Start(run=segmenting, parts=("pose",)), depth(5), r"no weights pose\.safetensors", pose(6))

    def test_a_run_that_has_not_ended(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "checkpoint.pt").write_bytes((run / POSE).read_bytes())
        self.refuse(Start(run=tmp_path), depth(5), f"{CARD}. {tmp_path} holds no model: .* after its last step")
        self.refuse(Start(run=tmp_path / "nowhere"), depth(5), "nowhere holds no model")

    def test_parts_there_are_not(self) -> None:
        with pytest.raises(ConfigError, match=r"parts\.0: .*'encoder', 'decoder', 'disparity', 'pose'"):
            validate(Start, {"run": "x", "parts": ["encodr"]})


def test_it_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(None, depth(5))
    assert capsys.readouterr().err == ""
    start(Start(run=run), depth(5))
    said = capsys.readouterr()
    assert "tensors loaded: encoder." in said.err
    assert said.out == ""


def _decode(*_: object) -> None:
    raise AssertionError("files were decoded before the mistake was told")


@pytest.mark.parametrize(
    ("start_from", "message"),
    [("nowhere", "nowhere"), ("other", "The weights do not fit this network|different models")],
)
def test_a_wrong_start_of_train_is_told_before_anything_is_decoded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_from: str, message: str
) -> None:
    folder = tmp_path / start_from if start_from == "nowhere" else run
    tree = tiny.settings(make_camvid(tmp_path / "camvid", train=2, val=1), start={"run": str(folder)})
    monkeypatch.setattr(train_stage, "build_streams", _decode)
    with pytest.raises(FathomError, match=message):
        train_stage.train(validate(Recipe, tree), tmp_path / "run", resume=False)


@pytest.mark.parametrize(
    ("start_from", "message"),
    [("nowhere", "nowhere"), ("other", "The weights do not fit this network|different models")],
)
def test_a_wrong_start_of_pretrain_is_told_before_anything_is_decoded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_from: str, message: str
) -> None:
    folder = tmp_path / start_from if start_from == "nowhere" else run
    network = {"encoder": {"model": "test_efficientnet", "pretrained": "none"}}
    tree = tiny_depth.settings(start={"run": str(folder)}, network=network)
    monkeypatch.setattr(pretrain_stage, "_prepared", _decode)
    with pytest.raises(FathomError, match=message):
        pretrain_stage.pretrain(validate(DepthRecipe, tree), tmp_path / "run", resume=False)


def test_a_joint_network_with_another_decoder_for_classes_says_what_begins_anew(run: Path) -> None:
    config = JointNetworkConfig(
        encoder=TINY, decoder=DepthUNet(channels=WIDTHS, stride=4), segmentation=Fpn(channels=8)
    )
    network = config.build(2)
    new = state(network.decoders["segmentation"])
    told = Start(run=run, parts=("encoder", "decoder", "disparity")).into(network)
    assert "decoders.segmentation begins anew" in told
    assert same(network.decoders["segmentation"], new)
    mine = network.decoders["depth"].state_dict()
    assert all(torch.equal(tensor, depth(0).decoder.state_dict()[name]) for name, tensor in mine.items())
