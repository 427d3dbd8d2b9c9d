"""Semi-supervised runs: exact resume, labels that are never opened, started teachers, recipes that do not fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from fathomseg.inference.depth_predictor import load_depth
from fathomseg.learners.semi import SemiLearner
from fathomseg.models.joint import JointNetwork
from fathomseg.stages.depth_recipe import DepthRecipe
from fathomseg.stages.pretrain import pretrain
from safetensors.torch import load_file

import fathomseg
from fathomseg.config import load, validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import POSE
from fathomseg.stages.recipe import Recipe
from fathomseg.stages.train import train
from tests.stages import ranks, tiny_semi
from tests.stages.runs import metrics, nearly_the_same_run, same_run
from tests.stages.test_two_processes import free_ports
from tests.stages.tiny_semi import joint, killed_and_resumed, recipe, settings

Trees = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=["plain", "joint"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trees, Path]:
    """A run that was never interrupted, and what makes its settings."""
    trees = {"plain": settings, "joint": joint}[request.param]
    folder = tmp_path_factory.mktemp("runs") / request.param
    train(recipe(trees()), folder, resume=False)
    return trees, folder


@pytest.mark.parametrize("at", [2, 5])
def test_a_run_killed_at_a_step_resumes_bit_for_bit(whole: tuple[Trees, Path], tmp_path: Path, at: int) -> None:
    trees, folder = whole
    same_run(folder, killed_and_resumed(trees(), tmp_path / "killed", at))


def test_everything_is_logged_and_the_saved_network_can_be_used(whole: tuple[Trees, Path]) -> None:
    trees, folder = whole
    names = set(metrics(folder)[-1])
    assert names >= {"segmentation", "consistency", "confidence", "lr", "gradient_norm"}
    data = recipe(trees()).data
    assert fathomseg.load(folder).predict(data.image("val/0000/000000")).label.shape == tiny_semi.SIZE
    if trees is joint:
        assert names >= {"photometric_clips", "smoothness_clips", "intermediate"}
        disparity = load_depth(folder).predict(data.image("val/0000/000000")).disparity
        assert disparity.std() > 0


def test_one_backward_pass_a_step(whole: tuple[Trees, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees, folder = whole
    calls = []
    backward = Accelerator.backward
    monkeypatch.setattr(Accelerator, "backward", lambda self, loss: (calls.append(loss.shape), backward(self, loss)))
    train(recipe(trees()), tmp_path / "run", resume=False)
    assert calls == [()] * 6
    same_run(folder, tmp_path / "run")


def test_labels_outside_the_budget_are_never_opened(camvid: Path, tmp_path: Path) -> None:
    """Not even those of images in the unlabelled stream: without their label files the run is the same bit for bit."""
    listed = tmp_path / "labelled.txt"
    tree = settings(data={"name": "camvid", "root": str(camvid)}, labels={"count": 3, "seed": 5})
    train(recipe(tree), tmp_path / "all", resume=False)
    shutil.copy2(tmp_path / "all" / "labelled.txt", listed)
    chosen = {id.split("/")[1] for id in listed.read_text().split()}
    poor = tmp_path / "poor"
    shutil.copytree(camvid, poor)
    others = [path for path in (poor / "trainannot").iterdir() if path.stem not in chosen]
    assert len(others) == 5
    for path in others:
        path.unlink()
    tree = settings(data={"name": "camvid", "root": str(poor)}, labels={"file": str(listed)})
    train(recipe(tree), tmp_path / "few", resume=False)
    same_run(tmp_path / "all", tmp_path / "few")


@pytest.fixture(scope="module")
def depth_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depth run one step long, with a decoder that goes one level further."""
    folder = tmp_path_factory.mktemp("runs") / "depth"
    tree = {
        "data": tiny_semi.STREETS,
        "size": list(tiny_semi.SIZE),
        "frames": {"name": "fixed"},
        "network": {"encoder": tiny_semi.ENCODER, "decoder": {**tiny_semi.JOINT["decoder"], "stride": 2}},
        "learner": {"pose": {"encoder": tiny_semi.ENCODER}},
        "train": {**tiny_semi.LOOP, "steps": 1},
        "evaluation": {"split": None},
    }
    pretrain(validate(DepthRecipe, tree), folder, resume=False)
    return folder


class TestStart:
    def started(self, tree: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> SemiLearner:
        """The learner as training begins."""
        found: list[SemiLearner] = []

        def stop(learner: Any, *_: Any) -> None:
            found.append(learner)
            raise tiny_semi.Killed

        monkeypatch.setattr("fathomseg.stages.train.Trainer", stop)
        with pytest.raises(tiny_semi.Killed):
            train(recipe(tree), folder, resume=False)
        return found[0]

    def test_teacher_and_student_begin_as_the_started_network(
        self, depth_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = ["encoder", "decoder", "disparity", "pose"]
        start = {"run": str(depth_run), "parts": parts}
        learner = self.started(joint(start=start), tmp_path / "run", monkeypatch)
        saved = load_file(depth_run / "model.safetensors")
        assert isinstance(learner.network, JointNetwork)
        own, teacher = learner.network.state_dict(), learner.ema.network.state_dict()
        assert all(torch.equal(own[name], teacher[name]) for name in own)
        for prefix, origin in (
            ("encoder.", "encoder."),
            ("decoders.depth.", "decoder."),
            ("decoders.segmentation.", "decoder."),
            ("heads.disparity.", "heads.disparity."),
        ):
            names = [name for name in own if name.startswith(prefix)]
            assert names
            assert all(torch.equal(own[name], saved[origin + name.removeprefix(prefix)]) for name in names), prefix
        assert learner.video is not None
        pose = load_file(depth_run / POSE)
        assert all(torch.equal(tensor, pose[name]) for name, tensor in learner.video.pose.state_dict().items())

    def test_depthmix_by_the_depth_of_a_run(self, depth_run: Path, tmp_path: Path) -> None:
        learner = {"name": "semi", "unlabelled": {"mixing": {"name": "depthmix"}, "weighting": {"name": "none"}}}
        depth = {"name": "run", "run": str(depth_run)}
        start = {"run": str(depth_run)}
        tree = settings(learner=learner, depth=depth, start=start, evaluation={"split": "none"})
        train(recipe(tree), tmp_path / "run", resume=False)
        assert metrics(tmp_path / "run")[-1]["consistency"] > 0


def exact(**sections: Any) -> dict[str, Any]:
    """A run whose result does not depend on how a batch is shared out: no statistics or partners of a batch, no
    dropout, and losses divided by counts that the data alone tell."""
    unlabelled = {
        "mixing": {"name": "none"},
        "over": "all",
        "weighting": {"name": "fraction", "threshold": 0.2, "per": "image"},
    }
    network = {**settings()["network"], "norm": "frozen", "dropout": 0.0}
    learner = {"name": "semi", "unlabelled": unlabelled}
    optimiser = {"name": "sgd", "lr": 0.05, "warmup": 0}
    loop = {**tiny_semi.LOOP, "batch": 4, "steps": 4}
    return settings(network=network, learner=learner, optimiser=optimiser, train=loop, **sections)


@pytest.mark.parametrize("unlabelled", [{}, {"batch": 6}])
def test_two_micro_batches_equal_one_batch(tmp_path: Path, unlabelled: dict[str, int]) -> None:
    tree = exact(unlabelled=unlabelled)
    train(recipe(tree), tmp_path / "one", resume=False)
    assert metrics(tmp_path / "one")[-1]["consistency"] > 0
    train(recipe({**tree, "train": {**tree["train"], "accumulate": 2}}), tmp_path / "two", resume=False)
    # The mean confidence is logged a micro-batch at a time; it too is the same.
    nearly_the_same_run(tmp_path / "one", tmp_path / "two")


SIZES: dict[str, Any] = {"unlabelled": {"batch": 3}, "clips": {"batch": 1}}


class TestBatchesOfTheirOwn:
    def test_every_stream_has_its_own_and_is_resumed_bit_for_bit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[dict[str, int]] = []
        forward = SemiLearner.forward
        monkeypatch.setattr(
            SemiLearner,
            "forward",
            lambda self, batches: (seen.append({k: len(b.ids) for k, b in batches.items()}), forward(self, batches))[1],
        )
        train(recipe(joint(**SIZES)), tmp_path / "whole", resume=False)
        assert seen == [{"labelled": 2, "unlabelled": 3, "clips": 1}] * 6
        same_run(tmp_path / "whole", killed_and_resumed(joint(**SIZES), tmp_path / "killed", 3))

    def test_one_that_cannot_be_shared_out_is_named(self, tmp_path: Path) -> None:
        tree = joint(**SIZES, train={**tiny_semi.LOOP, "accumulate": 2})
        with pytest.raises(FathomError, match=r"unlabelled\.batch = 3 cannot be shared out .* multiple of 2"):
            train(recipe(tree), tmp_path / "run", resume=False)


class TestRecipesThatDoNotFit:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"unlabelled": None}, r"needs images without labels: give `unlabelled: \{\}`"),
            ({"learner": {"name": "supervised"}}, r"`unlabelled` is for learner\.name=semi"),
            ({"learner": {}}, r"`unlabelled` is for learner\.name=semi; learner 'supervised' does not use it"),
            ({"clips": {}}, r"`clips` and learner\.video belong together"),
            ({"learner": {"name": "semi", "video": {}}}, r"`clips` and learner\.video belong together"),
            ({"clips": {}, "learner": {"name": "semi", "video": {}}}, r"give network\.name=joint"),
            (
                {"learner": {"name": "semi", "unlabelled": {"mixing": {"name": "depthmix"}}}},
                r"compares depths: give `depth: \{name: run, run: \.\.\.\}`, or network\.name=joint",
            ),
            ({"network": tiny_semi.JOINT}, r"learns depth as well: give `learner: \{video: \{\}\}` and `clips: \{\}`"),
            ({"learner": {"name": "semy"}}, r"no such name 'semy'; did you mean 'semi'\?"),
            ({"learner": {"name": "semi", "unlabelled": {"teachr": "ema"}}}, r"teachr: unknown key.*'teacher'"),
            ({"network": {"name": "join"}}, r"no such name 'join'; did you mean 'joint'\?"),
        ],
    )
    def test_plain(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            recipe(settings(**changes))

    def test_joint(self) -> None:
        with pytest.raises(ConfigError, match=r"network\.name=joint needs learner\.name=semi"):
            recipe({**joint(), "learner": {}, "unlabelled": None, "clips": None})
        learner = {**joint()["learner"], "unlabelled": {"views": 2, "complementary_dropout": True}}
        with pytest.raises(ConfigError, match=r"complementary_dropout is for network\.name=segmentation"):
            recipe(joint(learner=learner))
        with pytest.raises(ConfigError, match=r"side output untrained: network\.intermediate=false"):
            recipe(joint(learner={**joint()["learner"], "intermediate": 0}))
        assert recipe(
            joint(learner={**joint()["learner"], "intermediate": 0}, network={**tiny_semi.JOINT, "intermediate": False})
        )

    def test_changing_the_learner_on_the_command_line_drops_the_settings_of_the_other(self) -> None:
        found = load(Recipe, settings(), ["learner.name=supervised", "unlabelled=null"])
        assert found.learner.name == "supervised"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trees", [exact, joint], ids=["plain", "joint"])
def test_two_processes(trees: Trees, tmp_path: Path) -> None:
    """They give what one gives where nothing depends on how a batch is shared out; a joint run uses every parameter,
    which two processes insist on."""
    train(recipe(trees()), tmp_path / "one", resume=False)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(trees()))
    command = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "two")]
    (tmp_path / "commands.json").write_text(json.dumps([(free_ports(1)[0], command)]))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*launcher, ranks.__file__, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=800
    )
    assert done.returncode == 0, done.stderr
    if trees is exact:
        nearly_the_same_run(tmp_path / "one", tmp_path / "two")
    else:
        assert metrics(tmp_path / "two")[-1].keys() == metrics(tmp_path / "one")[-1].keys()
