"""Starting from an earlier run: what is loaded, what is listed as not loaded, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.config import validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import CARD, POSE, WEIGHTS, ModelCard
from fathomseg.inference.depth_scale import DepthScale
from fathomseg.models.network import Network
from fathomseg.models.pose import PoseConfig, PoseNetwork
from fathomseg.models.saved import save_weights
from fathomseg.stages import train as stage
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.build import model_card, refuse_unfit
from fathomseg.training.init_from import InitFrom
from fathomseg.training.recipe import Recipe
from fathomseg.training.warnings import tell_left_out
from tests.fakes import make_camvid
from tests.saved_model import save_model
from tests.stages import tiny, tiny_depth

TINY = {"model": "test_resnet", "pretrained": "none"}
OTHER = {"model": "test_efficientnet", "pretrained": "none"}
WIDTHS = [4, 4, 6, 6, 8]
EVERYTHING = ("encoder", "decoder", "head", "pose")


def unet(stride: int = 2, widths: list[int] = WIDTHS) -> dict[str, Any]:
    return {"name": "depth_unet", "channels": widths, "stride": stride}


FPN = {"name": "fpn", "channels": 8}


def depth(encoder: dict[str, str] = TINY, **decoder: Any) -> NetworkConfig:
    return validate(NetworkConfig, {"encoder": encoder, "tasks": {"depth": {"decoder": unet(**decoder)}}})


def segmentation(decoder: dict[str, Any]) -> NetworkConfig:
    return validate(NetworkConfig, {"encoder": TINY, "tasks": {"segmentation": {"decoder": decoder}}})


def joint(decoder: dict[str, Any], stride: int = 4) -> NetworkConfig:
    tasks = {"segmentation": {"decoder": decoder}, "depth": {"decoder": unet(stride)}}
    return validate(NetworkConfig, {"encoder": TINY, "tasks": tasks, "links": {"name": "padnet"}})


def built(config: NetworkConfig, seed: int) -> Network:
    torch.manual_seed(seed)
    return config.build(2)


def pose(seed: int, encoder: dict[str, str] = TINY) -> PoseNetwork:
    torch.manual_seed(seed)
    return validate(PoseConfig, {"encoder": encoder}).build()


def card(config: NetworkConfig, **more: Any) -> ModelCard:
    named = {"classes": ("a", "b"), "colours": ((0, 0, 0), (255, 0, 0))} if "segmentation" in config.tasks else {}
    return ModelCard(network=config, size=(48, 96), **named, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depth run whose averaged weights are those of seed 0, whose last are those of seed 1, with pose of seed 2."""
    folder = tmp_path_factory.mktemp("depth")
    for seed, file in enumerate(WEIGHTS.values()):
        motion = validate(PoseConfig, {"encoder": TINY})
        save_model(folder, card(depth(), pose=motion), built(depth(), seed).state_dict(), file)
    save_weights(folder / POSE, pose(2).state_dict())
    return folder


def saved(folder: Path, config: NetworkConfig, seed: int = 9) -> Path:
    """A run of `fathom train`."""
    save_model(folder, card(config), built(config, seed).state_dict())
    return folder


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module: nn.Module, other: dict[str, Tensor], prefix: str = "", origin: str | None = None) -> bool:
    """Whether a part is that of another network, which may have it by another name."""
    start = prefix if origin is None else origin
    mine = {name.removeprefix(prefix): t for name, t in module.state_dict().items() if name.startswith(prefix)}
    return bool(mine) and all(torch.equal(tensor, other[start + name]) for name, tensor in mine.items())


def into(origin: InitFrom, config: NetworkConfig, motion: PoseNetwork | None = None) -> tuple[Network, str]:
    """A network of seed 5 after it has taken over what it is to, and what was said."""
    network = built(config, 5)
    return network, origin.into(network, config, motion)


def test_the_encoder_alone(run: Path) -> None:
    network, said = into(InitFrom(run=run), depth())
    before = built(depth(), 5).state_dict()
    assert same(network, built(depth(), 0).state_dict(), "encoders.")
    assert same(network, before, "decoders.")
    assert same(network, before, "heads.")
    count = len([name for name in before if name.startswith("encoders.")])
    assert said.splitlines()[0] == f"Starting from {run} (ema weights), parts: encoder"
    assert f"{count} tensors loaded: encoders.shared." in said


def test_everything_between_depth_runs(run: Path) -> None:
    motion = pose(6)
    network, said = into(InitFrom(run=run, parts=EVERYTHING, weights="last"), depth(), motion)
    assert same(network, built(depth(), 1).state_dict())
    assert same(motion, pose(2).state_dict())
    assert f"{len(network.state_dict())} tensors loaded: encoders" in said
    assert f"{len(motion.state_dict())} tensors loaded: pose network" in said
    assert "(last weights)" in said


def test_the_pose_network_alone(run: Path) -> None:
    """As the second of the papers' phases does."""
    motion = pose(6)
    network, _ = into(InitFrom(run=run, parts=("pose",)), depth(), motion)
    assert same(network, built(depth(), 5).state_dict())
    assert same(motion, pose(2).state_dict())


def test_a_segmentation_network_takes_encoder_and_decoder(run: Path) -> None:
    network, _ = into(InitFrom(run=run, parts=("encoder", "decoder")), segmentation(unet()))
    source = built(depth(), 0).state_dict()
    assert same(network, source, "encoders.")
    assert same(network, source, "decoders.segmentation.", "decoders.depth.")
    assert same(network, built(segmentation(unet()), 5).state_dict(), "heads.")


@pytest.mark.parametrize("part", ["decoder", "head"])
def test_levels_one_of_them_lacks_are_listed(run: Path, part: str) -> None:
    name = {"decoder": "decoders.depth.blocks", "head": "heads.depth.scales"}[part]
    _, said = into(InitFrom(run=run, parts=("encoder", part)), depth(stride=1))  # type: ignore[arg-type]
    (line,) = [line for line in said.splitlines() if "not in the source, left as they were" in line]
    assert f"{name}.0" in line
    network, said = into(InitFrom(run=run, parts=("encoder", part)), depth(stride=4))  # type: ignore[arg-type]
    (line,) = [line for line in said.splitlines() if "in the source only, not used" in line]
    assert f"{name}.1" in line
    assert same(network, built(depth(), 0).state_dict(), name)


def test_a_depth_network_takes_the_encoder_of_a_segmentation_run(tmp_path: Path) -> None:
    origin = saved(tmp_path, segmentation(FPN))
    network, said = into(InitFrom(run=origin), depth())
    assert same(network, built(segmentation(FPN), 9).state_dict(), "encoders.")
    assert "decoder" not in said.splitlines()[1]


class TestJointNetworks:
    def test_two_decoders_from_one(self, run: Path) -> None:
        network, _ = into(InitFrom(run=run, parts=("encoder", "decoder", "head")), joint(unet(4)))
        source = built(depth(), 0).state_dict()
        assert same(network, source, "decoders.segmentation.", "decoders.depth.")
        assert same(network, source, "decoders.depth.")
        assert same(network, source, "heads.depth.")
        assert same(network, built(joint(unet(4)), 5).state_dict(), "links.")

    def test_a_decoder_of_another_kind_begins_anew_and_says_so(self, run: Path) -> None:
        network, said = into(InitFrom(run=run, parts=("encoder", "decoder")), joint(FPN))
        assert "decoders.segmentation begins anew" in said
        assert same(network, built(joint(FPN), 5).state_dict(), "decoders.segmentation.")
        assert same(network, built(depth(), 0).state_dict(), "decoders.depth.")

    def test_everything_of_another(self, tmp_path: Path) -> None:
        """Links and early outputs too."""
        origin = saved(tmp_path, joint(FPN))
        network, _ = into(InitFrom(run=origin, parts=("encoder", "decoder", "head", "links")), joint(FPN))
        assert same(network, built(joint(FPN), 9).state_dict())

    def test_one_task_of_it(self, tmp_path: Path) -> None:
        origin = saved(tmp_path, joint(FPN))
        network, _ = into(InitFrom(run=origin, parts=("encoder", "decoder", "head")), segmentation(FPN))
        assert same(network, built(joint(FPN), 9).state_dict())

    def test_an_encoder_for_each_task(self, run: Path) -> None:
        tasks = {"segmentation": {"decoder": FPN}, "depth": {"decoder": unet(), "encoder": "own"}}
        apart = validate(NetworkConfig, {"encoder": TINY, "tasks": tasks})
        network, _ = into(InitFrom(run=run), apart)
        source = built(depth(), 0).state_dict()
        assert same(network, source, "encoders.shared.")
        assert same(network, source, "encoders.depth.", "encoders.shared.")


class TestRefusals:
    def refuse(self, origin: InitFrom, config: NetworkConfig, words: str, motion: PoseNetwork | None = None) -> None:
        """The error has these words, and nothing was copied."""
        network = built(config, 5)
        with pytest.raises(FathomError, match=words):
            origin.into(network, config, motion)
        assert same(network, built(config, 5).state_dict())

    def test_another_encoder(self, run: Path) -> None:
        self.refuse(InitFrom(run=run), depth(OTHER), "same encoder|The encoders differ")

    def test_other_widths(self, run: Path) -> None:
        self.refuse(
            InitFrom(run=run, parts=("encoder", "decoder")),
            depth(widths=[4, 4, 6, 6, 9]),
            r"decoders\.depth\.\S+ is \[8, .*should be \[9, .*same encoder, decoder and widths",
        )

    def test_another_pose_network(self, run: Path) -> None:
        motion = pose(6, OTHER)
        before = state(motion)
        words = r"pose network of .*objectives\.photometric\.pose"
        self.refuse(InitFrom(run=run, parts=("pose",)), depth(), words, motion)
        assert same(motion, before)

    def test_a_decoder_of_another_kind(self, run: Path) -> None:
        words = "has 'decoder', but .* has none that fits: its tasks are depth, those to be trained segmentation"
        self.refuse(InitFrom(run=run, parts=("encoder", "decoder")), segmentation(FPN), words)

    def test_parts_only_depth_has(self, run: Path) -> None:
        self.refuse(InitFrom(run=run, parts=("head",)), segmentation(unet()), "has 'head', but .* none that fits")
        self.refuse(InitFrom(run=run, parts=("links",)), joint(FPN), "has 'links', but .* none that fits")
        words = "`pose`, but this training has no pose network"
        self.refuse(InitFrom(run=run, parts=("pose",)), segmentation(FPN), words)

    def test_a_run_without_pose(self, tmp_path: Path) -> None:
        origin = InitFrom(run=saved(tmp_path, segmentation(FPN)), parts=("pose",))
        self.refuse(origin, depth(), r"no weights pose\.safetensors", pose(6))

    def test_a_run_that_has_not_ended(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "checkpoint.pt").write_bytes((run / POSE).read_bytes())
        (tmp_path / "config.yaml").touch()
        words = f"{tmp_path} stopped before its last step; resume it: fathom train --resume"
        self.refuse(InitFrom(run=tmp_path), depth(), words)
        self.refuse(InitFrom(run=tmp_path / "nowhere"), depth(), f"There is no run {tmp_path / 'nowhere'}")

    def test_parts_there_are_not(self) -> None:
        with pytest.raises(ConfigError, match=r"parts\.0: .*'encoder', 'decoder', 'head', 'links', 'pose'"):
            validate(InitFrom, {"run": "x", "parts": ["encodr"]})


def test_it_is_said(run: Path) -> None:
    assert "tensors loaded: encoders." in InitFrom(run=run).into(built(depth(), 5), depth())


@pytest.mark.parametrize("kind", ["segmentation", "depth"])
@pytest.mark.parametrize(("place", "message"), [("nowhere", "nowhere"), ("run", "do not fit|The encoders differ")])
def test_a_wrong_start_is_told_before_anything_is_decoded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, place: str, message: str
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("files were decoded before the mistake was told")

    origin = {"run": str(run if place == "run" else tmp_path / place)}
    if kind == "segmentation":
        tree = tiny.settings(make_camvid(tmp_path / "camvid", train=2, val=1), init_from=origin)
    else:
        tree = tiny_depth.settings(init_from=origin, network={"encoder": OTHER, "tasks": {"depth": {}}})
    monkeypatch.setattr(stage, "build_streams", decode)
    with pytest.raises(FathomError, match=message):
        stage.train(validate(Recipe, tree), tmp_path / "run", resume=False)


class TestTasks:
    """A run for each task: two networks trained one by one, then linked."""

    OWN = validate(
        NetworkConfig,
        {
            "encoder": TINY,
            "tasks": {
                "segmentation": {"decoder": FPN, "encoder": "own"},
                "depth": {"decoder": unet(4), "encoder": "own"},
            },
            "links": {"name": "zero_conv"},
        },
    )

    def runs(self, folder: Path) -> dict[str, Network]:
        found = {}
        for seed, (task, config) in enumerate({"depth": depth(stride=4), "segmentation": segmentation(FPN)}.items()):
            found[task] = built(config, seed + 5)
            classes = {"classes": ("a", "b"), "colours": ((0, 0, 0), (1, 1, 1))} if task == "segmentation" else {}
            save_model(folder / task, ModelCard(network=config, size=(32, 32), **classes), found[task].state_dict())
        return found

    def test_each_branch_has_the_weights_of_its_run(self, tmp_path: Path) -> None:
        """And so the linked pair predicts at first what each run predicts."""
        theirs, network = self.runs(tmp_path), built(self.OWN, 0).eval()
        text = validate(InitFrom, {"tasks": {t: {"run": str(tmp_path / t)} for t in theirs}}).into(network, self.OWN)
        assert all(f"Starting from {tmp_path / task}" in text for task in theirs)
        image = torch.rand(1, 3, 48, 64)
        with torch.no_grad():
            found = network(image)
            assert torch.equal(found["segmentation"], theirs["segmentation"].eval()(image)["segmentation"])
            for a, b in zip(found["depth"], theirs["depth"].eval()(image)["depth"], strict=True):
                assert torch.equal(a, b)

    def test_what_a_task_says_goes_before_the_run(self, tmp_path: Path) -> None:
        theirs, network = self.runs(tmp_path), built(self.OWN, 0)
        config = {"run": str(tmp_path / "depth"), "tasks": {"segmentation": {"run": str(tmp_path / "segmentation")}}}
        validate(InitFrom, config).into(network, self.OWN)
        for task, one in theirs.items():
            for name, tensor in one.encoders["shared"].state_dict().items():
                assert torch.equal(network.encoders[task].state_dict()[name], tensor)

    def test_parts_left_out_begin_anew(self, tmp_path: Path) -> None:
        self.runs(tmp_path)
        network, fresh = built(self.OWN, 0), built(self.OWN, 0)
        given = {"depth": {"run": str(tmp_path / "depth"), "parts": ["encoder"]}}
        validate(InitFrom, {"tasks": given}).into(network, self.OWN)
        changed = {
            n.split(".")[0] + "." + n.split(".")[1]
            for n, t in network.state_dict().items()
            if not torch.equal(t, fresh.state_dict()[n])
        }
        assert changed == {"encoders.depth"}

    @pytest.mark.parametrize(
        ("config", "tasks", "message"),
        [
            ("own", {"normals": {"run": "x"}}, "has 'normals', but this network predicts segmentation, depth"),
            ("shared", {"depth": {"run": "x"}}, "takes over the encoder, but 'depth' shares that of other tasks"),
        ],
    )
    def test_refused(self, config: str, tasks: dict[str, Any], message: str) -> None:
        ours = self.OWN if config == "own" else joint(FPN)
        with pytest.raises(FathomError, match=message):
            validate(InitFrom, {"tasks": tasks}).into(built(ours, 0), ours)

    def test_a_run_must_be_given(self) -> None:
        with pytest.raises(ConfigError, match="give run, the folder of an earlier run"):
            validate(InitFrom, {"parts": ["encoder"]})
        with pytest.raises(ConfigError, match="for links or pose"):
            validate(InitFrom, {"parts": ["links"], "tasks": {"depth": {"run": "x"}}})


class TestFrozen:
    """A branch that stays as an earlier run has learned it is whole, and means what it meant there."""

    LINKS: ClassVar = {"name": "zero_conv", "direction": "depth_to_segmentation"}

    def recipe(self, start: dict[str, Any], stride: int = 2, **more: Any) -> Recipe:
        own = {"segmentation": {"decoder": FPN, "encoder": "own"}}
        own["depth"] = {"decoder": unet(stride), "encoder": "own", "frozen": True, **more}
        network = {"encoder": TINY, "tasks": own, "links": self.LINKS}
        tree = {"data": {"name": "streets"}, "size": [48, 96], "network": network, "init_from": start}
        return validate(Recipe, tree)

    def start(self, folder: Path, **known: Any) -> dict[str, Any]:
        """Of a run whose card says this of its depth."""
        config = depth()
        task = {"depth": config.tasks["depth"].model_copy(update=known)}
        trained = config.model_copy(update={"tasks": task})
        scale = DepthScale(metres_per_unit=10.0, source="poses", measured=5, spread=0.1)
        said = card(trained, depth_unit=known.get("unit"), depth_scale=scale, depth_alignment="scale_shift")
        save_model(folder, said, built(trained, 3).state_dict())
        return {"tasks": {"depth": {"run": str(folder)}}}

    def into(self, recipe: Recipe) -> str:
        assert recipe.init_from is not None
        return recipe.init_from.into(built(recipe.network, 5), recipe.network)

    @pytest.mark.parametrize(
        "known",
        [
            {"unit": "metres", "min_depth": 1.0, "max_depth": 1000.0},
            {"unit": "relative", "min_depth": 0.1, "max_depth": 100.0},
        ],
    )
    def test_the_card_says_what_that_of_the_run_says(self, known: dict[str, Any], tmp_path: Path) -> None:
        made = self.recipe(self.start(tmp_path, **known))
        assert "tensors loaded" in self.into(made)
        found = model_card(made)
        assert found.network.tasks["depth"].model_dump(include=set(known)) == known
        assert found.network.tasks["depth"].frozen
        assert found.depth_scale is not None
        assert (found.depth_unit, found.depth_alignment) == (known["unit"], "scale_shift")

    def test_depth_that_means_something_else_is_refused(self, tmp_path: Path) -> None:
        start = self.start(tmp_path / "run", min_depth=1.0, max_depth=80.0)
        words = r"min_depth=0\.1 .*max_depth=100\.0: set .*output=disparity .*min_depth=1\.0 .*max_depth=80\.0"
        with pytest.raises(FathomError, match=words):
            self.into(self.recipe(start))
        self.into(self.recipe(start, min_depth=1.0, max_depth=80.0))
        with pytest.raises(FathomError, match=r"output=metric .*: set network\.tasks\.depth\.output=disparity"):
            self.into(self.recipe(self.start(tmp_path / "same"), output="metric"))

    def test_a_resumed_training_asks_for_the_run_before_anything_is_prepared(self, tmp_path: Path) -> None:
        made = self.recipe(self.start(tmp_path / "run"))
        (tmp_path / "run" / CARD).unlink()
        with pytest.raises(FathomError, match="holds no model"):
            refuse_unfit(made)

    def test_what_would_stay_random_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FathomError, match=r"tensors of a frozen branch .* example decoders\.depth\.blocks\.0"):
            self.into(self.recipe(self.start(tmp_path / "run"), stride=1))
        everything = ["encoder", "decoder", "head"]
        classes = {"run": str(saved(tmp_path / "classes", segmentation(FPN))), "parts": everything}
        with pytest.raises(FathomError, match=r"which predicts segmentation: give init_from\.tasks\.depth\.run"):
            self.into(self.recipe(classes))
        without = {"tasks": {"segmentation": {"run": "x"}}, "parts": everything}
        with pytest.raises(ConfigError, match=r"frozen=true keeps .*: give init_from\.tasks\.depth\.run"):
            self.recipe(without)

    def test_classes_of_other_names_are_refused_before_anything_is_prepared(self, tmp_path: Path) -> None:
        """As many of them as the run has: the weights would fit."""
        names, run = ("a", "b"), saved(tmp_path / "run", segmentation(FPN))
        own = {"segmentation": {"decoder": FPN, "encoder": "own", "frozen": True}, "depth": {"decoder": unet(2)}}
        ours = validate(NetworkConfig, {"encoder": TINY, "tasks": own})
        start = validate(InitFrom, {"tasks": {"segmentation": {"run": str(run)}}})
        assert "tensors loaded" in start.into(built(ours, 0), ours, classes=names)
        with pytest.raises(FathomError, match=r"has learned: a, b\. The data's are b, a: train with data of those"):
            start.into(built(ours, 0), ours, classes=names[::-1])

    def test_it_is_no_task_that_ought_to_be_learned(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tell_left_out(self.recipe(self.start(tmp_path)))
        assert "not learned" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_frozen_branch_is_the_same_after_a_training(tmp_path: Path) -> None:
    """Through the command line, in the averaged and in the last weights; statistics of BatchNorm included."""
    decoder = {"channels": WIDTHS, "stride": 4, "norms": True}
    alone = {"encoder": TINY, "tasks": {"depth": {"decoder": decoder}}}
    first = tiny_depth.write(tmp_path / "depth.yaml", network=alone, train={**tiny_depth.LOOP, "steps": 2})
    own = {"segmentation": {"decoder": FPN, "encoder": "own"}}
    own["depth"] = {"decoder": decoder, "encoder": "own", "frozen": True}
    second = tiny_depth.write(
        tmp_path / "both.yaml",
        network={"encoder": TINY, "tasks": own, "links": TestFrozen.LINKS},
        streams={"labelled": {"labels": {"count": 3}}},
        objectives={"supervised": {}},
        init_from={"tasks": {"depth": {"run": str(tmp_path / "depth")}}},
        train={**tiny_depth.LOOP, "steps": 3},
    )
    for recipe, run in ((first, "depth"), (second, "both")):
        done = CliRunner().invoke(app, ["train", str(recipe), "--out", str(tmp_path / run)])
        assert done.exit_code == 0, (done.output, done.exception)
    theirs = load_file(tmp_path / "depth" / WEIGHTS["ema"])
    for file in WEIGHTS.values():
        ours = load_file(tmp_path / "both" / file)
        for name, tensor in theirs.items():
            assert torch.equal(ours[name.replace("encoders.shared.", "encoders.depth.")], tensor), (file, name)
    averaged, last = (load_file(tmp_path / "both" / file) for file in WEIGHTS.values())
    moved = {name.split(".")[1] for name in last if not torch.equal(averaged[name], last[name])}
    assert "segmentation" in moved
    assert "depth" not in moved
