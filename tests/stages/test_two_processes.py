"""Two processes give what one gives: scores to the last bit, weights but for the order in which sums were rounded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fathomseg.config import load
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.streets import Streets
from fathomseg.stages.evaluate import Scoring, evaluate_run
from fathomseg.stages.train import train
from fathomseg.training.recipe import Recipe
from tests.fakes import make_camvid
from tests.stages import ranks, tiny_semi
from tests.stages.runs import metrics, nearly_the_same_run
from tests.stages.saved_joint_run import save_joint_run
from tests.stages.test_scene import scene_settings
from tests.stages.tiny_semi import STREETS, recipe

pytestmark = pytest.mark.slow

TABLE = Path("evaluation", "val", "images.csv")
SCENE = scene_settings(data={**STREETS, "val_clips": 3})
"""Four samples at a time of two drives: near ones of both ranks are no wrong pairs, distant ones are."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with five images to score."""
    data = CamVid(root=make_camvid(tmp_path_factory.mktemp("data"), train=2, val=5, size=(37, 50)))
    return save_joint_run(tmp_path_factory.mktemp("runs") / "saved", data, ["segmentation"], (24, 32), pose=False)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all tasks with three clips of five frames to score."""
    data = Streets(size=(32, 64), frames=5, val_clips=3)
    return save_joint_run(tmp_path_factory.mktemp("runs") / "joint", data)


BALANCED = ("uncertainty", "dwa", "gradnorm", "pcgrad", "mgda")


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a joint network of labels and true depth, where two ranks change the order of sums alone."""
    decoder = {**tiny_semi.DECODER, "norms": False}
    network = {
        **tiny_semi.JOINT,
        "norm": "frozen",
        "tasks": {"segmentation": {"decoder": decoder, "dropout": 0.0}, "depth": {"decoder": decoder}},
    }
    recipe = {
        "data": tiny_semi.STREETS,
        "size": list(tiny_semi.SIZE),
        "network": network,
        "objectives": {"supervised": {"losses": {"segmentation": {}, "depth": {}}}},
        "optimiser": {"name": "sgd", "lr": 0.01, "warmup": 0},
        "train": {**tiny_semi.LOOP, "steps": 4, "batch": 4},
        "evaluation": {"split": None, "report": False},
    }
    path = tmp_path_factory.mktemp("balanced") / "balanced.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def paired_settings() -> dict[str, Any]:
    """Two domains whose images are paired, with nothing in it that depends on the rest of a batch."""
    still = {"depth": {"name": "dataset"}, "geometry": {"scale": [1, 1]}}
    matching = {"sampling": {"name": "matching_geometry", "candidates": 3}}
    across = {"name": "pseudo_labels", "partner": "source", "mixing": {"name": "depthmix", "either_sign": True}}
    return {
        "data": {**STREETS, "domain": "dusk"},
        "size": list(tiny_semi.SIZE),
        "network": {
            "encoder": tiny_semi.ENCODER,
            "norm": "frozen",
            "tasks": {"segmentation": {"decoder": {**tiny_semi.DECODER, "norms": False}, "dropout": 0.0}},
        },
        "streams": {"source": {"data": STREETS, **still, **matching}, "unlabelled": still},
        "objectives": {"supervised": {"stream": "source"}, "across": {**across, "weighting": {"name": "none"}}},
        "optimiser": {"name": "sgd", "lr": 0.01, "warmup": 0},
        "train": {**tiny_semi.LOOP, "steps": 4, "batch": 4},
        "evaluation": {"split": None, "report": False},
    }


def settings_of(name: str) -> list[str]:
    """A balancing that does something in the four steps."""
    return [f"balancing.name={name}", *(["balancing.window=1"] if name == "dwa" else [])]


@pytest.fixture(scope="module")
def together(
    saved: Path,
    joint: Path,
    balanced: Path,
    settings: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder where two processes have scored copies of the saved runs and trained the tiny run in two ways."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(saved, folder / "saved")
    shutil.copytree(joint, folder / "joint")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings()))
    (folder / "scene.yaml").write_text(yaml.safe_dump(SCENE))
    (folder / "paired.yaml").write_text(yaml.safe_dump(paired_settings()))
    tiny = ["train", str(folder / "recipe.yaml")]
    commands = [
        *(["evaluate", str(folder / name), "--no-report", "--json"] for name in ("saved", "joint")),
        *([*tiny, f"train.accumulate={n}", "--out", str(folder / f"accumulate{n}")] for n in (1, 2)),
        *(["train", str(balanced), *settings_of(name), "--out", str(folder / name)] for name in BALANCED),
        ["train", str(folder / "scene.yaml"), "--out", str(folder / "scene")],
        ["train", str(folder / "paired.yaml"), "--out", str(folder / "paired")],
    ]
    (folder / "commands.json").write_text(json.dumps(list(zip(ranks.free_ports(len(commands)), commands, strict=True))))
    ranks.launched(folder, 240)
    return folder


def test_scores_are_equal_to_the_last_bit(saved: Path, together: Path) -> None:
    """Five images on two ranks: 3 + 2, none counted twice; only the first rank prints and writes."""
    alone = evaluate_run(saved, Scoring(split="val"), report=False, as_json=True)["scores"]
    assert json.loads((together / "said.0.0").read_text())["scores"] == alone
    assert (together / "said.1.0").read_text() == ""
    assert (together / "saved" / TABLE).read_text() == (saved / TABLE).read_text()
    assert alone["ema"]["segmentation"]["images"] == 5


def test_scores_of_all_tasks_are_equal_to_the_last_bit(joint: Path, together: Path) -> None:
    """Fifteen images and three clips on two ranks."""
    alone = evaluate_run(joint, report=False, as_json=True)
    found = json.loads((together / "said.0.1").read_text())
    assert (found["scores"], found["motion"]) == (alone["scores"], alone["motion"])
    assert (together / "said.1.1").read_text() == ""
    assert (together / "joint" / TABLE).read_text() == (joint / TABLE).read_text()
    assert [one["images"] for one in alone["scores"]["ema"].values()] == [15, 15]
    assert alone["motion"]["all"]["clips"] == 3


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_is_equal(whole: Path, together: Path, accumulate: int) -> None:
    nearly_the_same_run(whole, together / f"accumulate{accumulate}")


@pytest.mark.parametrize("name", BALANCED)
def test_balanced_training_is_equal(balanced: Path, together: Path, name: str, tmp_path: Path) -> None:
    """Gradients of single losses are added up over the processes by the balancing itself."""
    train(load(Recipe, balanced, settings_of(name)), tmp_path / "alone", resume=False)
    nearly_the_same_run(tmp_path / "alone", together / name)


def test_wrong_pairs_come_from_all_ranks(together: Path, tmp_path: Path) -> None:
    """Two samples on each rank give the loss, the gradient and the retrieval of four on one."""
    train(recipe(SCENE), tmp_path / "alone", resume=False)
    first, second = (load_file(folder / "scene.safetensors") for folder in (tmp_path / "alone", together / "scene"))
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-4, atol=1e-5)
    for one, other in zip(metrics(tmp_path / "alone"), metrics(together / "scene"), strict=True):
        assert other.pop("kind") == one.pop("kind")
        assert other == pytest.approx(one, rel=1e-4)
    scores = [
        json.loads((folder / "evaluation/val/scores.json").read_text())["scenes"]
        for folder in (tmp_path / "alone", together / "scene")
    ]
    assert scores[0] == scores[1]
    assert scores[0]["pool"] == 6


def test_pairs_of_two_domains_are_those_of_one_process(together: Path, tmp_path: Path) -> None:
    """Each rank draws the source's images by the target's at its own positions."""
    train(recipe(paired_settings()), tmp_path / "alone", resume=False)
    nearly_the_same_run(tmp_path / "alone", together / "paired")
