"""The recipes of the semi-supervised methods: each trains two steps through the real command line, on fake data.

Where a method needs a depth run, it is made by the recipe for depth that the header names, so the two fit together.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.config import load
from fathomseg.stages.domains import held_for
from fathomseg.stages.recipe import Recipe
from tests import fakes

ROOT = Path(__file__).resolve().parent.parent / "recipes"
DATASETS = ("camvid", "cityscapes", "idd-lite", "streets")
RECIPES = {f"{name}/{path.stem}": path for name in DATASETS for path in sorted((ROOT / name).glob("*.yaml"))}
METHODS = (
    "mean-teacher",
    "cutmix",
    "classmix",
    "depthmix",
    "three-ways",
    "uda-unet",
    "uda-deeplabv3",
    "unimatch-v2",
)
SMALL = ["train.batch=2", "train.device=cpu", "train.threads=1", "size=[48,64]"]
ENCODER = ["network.encoder.model=test_efficientnet", "network.encoder.pretrained=none"]
TRANSFORMER = ["network.encoder.model=test_vit", "network.encoder.pretrained=none"]
STREETS = ["data.size=[48,64]", "data.train_clips=1", "data.val_clips=1", "data.frames=4"]
MAKERS: dict[str, Callable[[Path], Path]] = {
    "camvid": lambda folder: fakes.make_camvid(folder, val=2),
    "idd_lite": lambda folder: fakes.make_idd_lite(folder, sequences=4),
    "cityscapes": lambda folder: fakes.make_cityscapes(folder, frames=3),
    "kitti": lambda folder: fakes.make_kitti(folder),
}


def fathom(*words: str) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (words, done.output, done.exception)


def pose(tree: dict[str, Any]) -> list[str]:
    """The settings of a small pose network, where that of the recipe is not small already."""
    if "encoder" not in tree["objectives"].get("photometric", {}).get("pose", {}):
        return []
    return [f"objectives.photometric.pose.encoder.{word}" for word in ("model=test_efficientnet", "pretrained=none")]


def crops(tree: dict[str, Any]) -> list[str]:
    """The settings of small crops, where the recipe has some."""
    having = [name for name, stream in tree["streams"].items() if "crop" in stream.get("geometry", {})]
    return [f"streams.{name}.geometry.crop=[32,48]" for name in having]


def runs(tree: dict[str, Any]) -> dict[str, str]:
    """The runs a recipe needs, by the setting that names them."""
    needed = {"init_from": tree.get("init_from", {}), "streams.unlabelled.depth": unlabelled(tree).get("depth", {})}
    return {f"{where}.run": group["run"] for where, group in needed.items() if "run" in group}


def unlabelled(tree: dict[str, Any]) -> dict[str, Any]:
    """The settings of its unlabelled stream."""
    return dict(tree["streams"].get("unlabelled", {}))


def header(path: Path) -> list[str]:
    """What the comment at the top of a recipe says."""
    lines = path.read_text().splitlines()
    return [line.removeprefix("#").strip() for line in lines[: lines.index("data:")]]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of fake data of a dataset, made once."""
    made: dict[str, Path] = {}

    def root(name: str) -> Path:
        if name not in made:
            made[name] = MAKERS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return root


@pytest.fixture(scope="session")
def depth_run(data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One step of a recipe for depth, made once: `runs/depth-kitti` is a run of recipes/depth-kitti.yaml."""
    made: dict[str, Path] = {}

    def run(wanted: str) -> Path:
        name = Path(wanted).name
        if name not in made:
            path, folder = ROOT / f"{name}.yaml", tmp_path_factory.mktemp("runs") / name
            tree = yaml.safe_load(path.read_text())
            settings = [*SMALL, *ENCODER, *pose(tree), *crops(tree), "train.steps=1"]
            settings += STREETS if tree["data"]["name"] == "streets" else [f"data.root={data(tree['data']['name'])}"]
            settings += ["evaluation.split=null", "evaluation.report=false", "phases={}"]
            motion = tree["streams"]["clips"]["frames"]["name"] == "motion"
            settings += ["streams.clips.frames.min_parallax=0"] if motion else []
            fathom("pretrain", str(path), *settings, "--out", str(folder))
            made[name] = folder
        return made[name]

    return run


def small(tree: dict[str, Any], data: Callable[[str], Path], depth_run: Callable[[str], Path]) -> list[str]:
    """The settings that make a recipe small and bring its data and its depth run; its structure stays."""
    own = tree["data"]["name"]
    decoder = tree.get("network", {}).get("tasks", {}).get("segmentation", {}).get("decoder", {})
    settings = [*SMALL, *(TRANSFORMER if decoder.get("name") == "dpt" else ENCODER), *pose(tree), *crops(tree)]
    settings += ["train.steps=2", "train.log_every=1", "streams.labelled.labels.count=1", "evaluation.report=false"]
    settings += STREETS if own == "streets" else [f"data.root={data(own)}"]
    settings += [f"{setting}={depth_run(run)}" for setting, run in runs(tree).items()]
    if (clips := tree["streams"].get("clips")) is not None:
        settings += [f"streams.clips.data.root={data('kitti')}"] if "data" in clips else []
        settings += ["streams.clips.size=[32,64]"] if "size" in clips else []
        settings += ["streams.clips.frames.min_parallax=0"] if clips["frames"]["name"] == "motion" else []
    if "inference" in tree.get("evaluation", {}):
        settings.append("evaluation.inference.window.size=[32,48]")
    return settings


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n.startswith("cityscapes/") else []) for n in RECIPES]
)
def test_it_trains_two_steps(
    name: str, data: Callable[[str], Path], depth_run: Callable[[str], Path], tmp_path: Path
) -> None:
    tree = yaml.safe_load(RECIPES[name].read_text())
    run = tmp_path / "run"
    fathom("train", str(RECIPES[name]), *small(tree, data, depth_run), "--out", str(run))
    assert (run / "model.safetensors").is_file()
    assert (run / "evaluation" / "val" / "scores.json").is_file()
    last = yaml.safe_load((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert ("pseudo_labels" in last) == ("unlabelled" in tree["streams"])
    assert ("photometric" in last) == ("clips" in tree["streams"])
    assert (run / "pose.safetensors").is_file() == ("clips" in tree["streams"])


@pytest.mark.parametrize("name", RECIPES)
def test_its_header_has_its_command_and_names_what_must_be_run_before(name: str) -> None:
    lines = header(RECIPES[name])
    (command,) = [line.split() for line in lines if line.startswith("fathom train ")]
    assert command[2] == f"recipes/{name}.yaml"
    text = " ".join(lines)
    tree = yaml.safe_load(RECIPES[name].read_text())
    for run in runs(tree).values():
        assert run in text
        assert f"fathom pretrain recipes/{Path(run).name}.yaml" in text
    if "root" in tree["data"]:
        assert any(word.startswith("data.root=") for word in command)


@pytest.mark.parametrize("dataset", ["streets", "camvid", "idd-lite"])
def test_all_methods_of_a_dataset_compare_with_its_supervised_recipe(dataset: str) -> None:
    base = load(Recipe, ROOT / f"{dataset}.yaml")
    own_size = {"unimatch-v2-dinov2"}
    assert {name.split("/")[1] for name in RECIPES if name.startswith(dataset)} - own_size == set(METHODS)
    for method in METHODS:
        own = load(Recipe, RECIPES[f"{dataset}/{method}"])
        own = own.model_copy(update={"optimiser": own.optimiser.model_copy(update={"factors": {}})})
        for section in ("data", "size", "optimiser", "train", "evaluation", "seed"):
            assert getattr(own, section) == getattr(base, section), (method, section)
        assert own.streams["labelled"] == base.streams["labelled"]
        assert "unlabelled" in own.streams
        losses, theirs = (one.objectives["supervised"].losses["segmentation"] for one in (own, base))
        assert losses.model_copy(update={"annealing": None}) == theirs, method
        assert own.network.encoder.model == base.network.encoder.model
        if method not in ("three-ways", "uda-unet", "uda-deeplabv3"):
            assert own.network == base.network


@pytest.mark.parametrize("dataset", ["camvid", "cityscapes"])
def test_unimatch_v2_with_dinov2_has_the_settings_of_the_paper(dataset: str) -> None:
    """Yang et al. 2025, section 4.1: a decoder that learns 40 times as fast as the encoder's 5e-6; crops of patches."""
    own = load(Recipe, RECIPES[f"{dataset}/unimatch-v2-dinov2"])
    other = load(Recipe, RECIPES["cityscapes/unimatch-v2"])
    assert own.optimiser.lr * own.optimiser.encoder_lr == pytest.approx(5e-6)
    assert own.optimiser.encoder_lr == pytest.approx(1 / 40)
    for stream in own.streams.values():
        assert stream.geometry is not None
        assert stream.geometry.crop is not None
        assert [side % 14 for side in stream.geometry.crop] == [0, 0]
    assert own.objectives["pseudo_labels"] == other.objectives["pseudo_labels"]
    labels = own.streams["labelled"].labels
    assert labels is not None
    assert labels.count is not None
    images = {"camvid": 367, "cityscapes": 2975}[dataset] - labels.count
    assert own.train.steps == 180 * (images // own.train.batch), "180 passes"


def test_mixing_rules_differ_in_the_rule_alone() -> None:
    def rest(method: str) -> dict[str, Any]:
        tree = load(Recipe, RECIPES[f"camvid/{method}"]).model_dump()
        rule = tree["objectives"]["pseudo_labels"].pop("mixing")["name"]
        assert rule == {"mean-teacher": "none"}.get(method, method)
        tree["streams"]["unlabelled"]["depth"] = None
        return tree

    assert rest("mean-teacher") == rest("cutmix") == rest("classmix") == rest("depthmix")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("three-ways")])
def test_the_joint_network_goes_on_where_the_depth_recipe_ended(name: str) -> None:
    own = load(Recipe, RECIPES[name])
    assert own.init_from is not None
    depth = load(Recipe, ROOT / f"{own.init_from.run.name}.yaml")
    here, there = own.objectives["photometric"], depth.objectives["photometric"]
    assert here.model_copy(update={"weight": there.weight}) == there
    assert own.network.encoder == depth.network.encoder
    mine, its = own.network.tasks["depth"], depth.network.tasks["depth"]
    assert mine.depth_range == its.depth_range
    assert mine.decoder.model_copy(update={"stride": its.decoder.stride}) == its.decoder
    assert (own.streams["clips"].size or own.size) == depth.size
    assert bool(held_for(own)) == name.startswith(("camvid", "idd-lite")), "those learn depth from KITTI's video"


def test_the_commands_for_your_own_data_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of docs/semi-supervised.md, in their order, cut to two steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT)
    fakes.make_folder(tmp_path / "mydata", videos=1)
    page = (ROOT.parent / "docs" / "semi-supervised.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    commands = [shlex.split(line) for line in blocks[1].replace("\\\n", " ").splitlines()]
    assert [words[1] for words in commands] == ["pretrain", "train"]
    for words, more in zip(commands, ("streams.clips.frames.min_parallax=0", "evaluation.report=false"), strict=True):
        fathom(*words[1:], *SMALL, *ENCODER, "train.steps=2", more)
    assert (tmp_path / "runs" / "mine" / "model.safetensors").is_file()


def test_the_published_rate_of_the_pose_network_and_the_halved_sum_of_unimatch() -> None:
    """Hoyer et al.: 1e-6 for all of it, its encoder too. UniMatch V2: half of the sum of both losses."""
    trained = load(Recipe, ROOT / "cityscapes/three-ways.yaml").optimiser
    assert trained.lr * trained.factors["photometric"] == pytest.approx(1e-6)
    for name in ("unimatch-v2", "unimatch-v2-dinov2"):
        objectives = load(Recipe, ROOT / f"cityscapes/{name}.yaml").objectives
        assert [objectives[key].weight for key in ("supervised", "pseudo_labels")] == [0.5, 0.5]
