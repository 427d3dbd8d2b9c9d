"""The recipes of the semi-supervised methods: each trains two steps through the real command line, on fake data.

Where a method needs a depth run, it is made by the recipe for depth that the header names, so the two fit together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fathomseg.augment import Colours
from fathomseg.config import load
from fathomseg.errors import ConfigError
from fathomseg.objectives import PseudoLabels
from fathomseg.training.domains import held_for
from fathomseg.training.recipe import Recipe
from tests import fakes
from tests.command import fathom
from tests.small_recipes import ENCODER, SMALL, STREETS, TRANSFORMER, distilled, is_transformer, pose, views

ROOT = Path(__file__).resolve().parent.parent / "recipes"
DATASETS = ("camvid", "cityscapes", "idd-lite", "streets")
RECIPES = {f"{name}/{path.stem}": path for name in DATASETS for path in sorted((ROOT / name).glob("*.yaml"))}
RECIPES["own-data/unimatch-v2"] = ROOT / "own-data" / "unimatch-v2.yaml"  # tests/docs runs the others of own data
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
MAKERS: dict[str, Callable[[Path], Path]] = {
    "camvid": lambda folder: fakes.make_camvid(folder, val=2),
    "idd_lite": lambda folder: fakes.make_idd_lite(folder, sequences=4),
    "cityscapes": lambda folder: fakes.make_cityscapes(folder, frames=3),
    "kitti": lambda folder: fakes.make_kitti(folder),
    "folder": lambda folder: fakes.make_folder(folder, videos=1),
}


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
            settings = [*SMALL, *ENCODER, *pose(tree), *views(tree), "train.steps=1"]
            settings += STREETS if tree["data"]["name"] == "streets" else [f"data.root={data(tree['data']['name'])}"]
            for stream in (key for key, one in tree["streams"].items() if one.get("data", {}).get("name") == "streets"):
                settings += [f"streams.{stream}.data.{each}" for each in ("size=[64,96]", "train_clips=2", "frames=2")]
            settings += ["evaluation.split=null", "evaluation.report=false", "phases={}"]
            fathom("pretrain", str(path), *settings, "--out", str(folder))
            made[name] = folder
        return made[name]

    return run


def small(tree: dict[str, Any], data: Callable[[str], Path], depth_run: Callable[[str], Path]) -> list[str]:
    """The settings that make a recipe small and bring its data and its depth run; its structure stays."""
    own = tree["data"]["name"]
    settings = [*SMALL, *(TRANSFORMER if is_transformer(tree) else ENCODER), *pose(tree), *views(tree)]
    settings += ["train.steps=2", "train.log_every=1", "streams.labelled.labels.count=1", "evaluation.report=false"]
    settings += STREETS if own == "streets" else [f"data.root={data(own)}"]
    settings += [f"{setting}={depth_run(run)}" for setting, run in runs(tree).items()]
    if "data" in tree["streams"].get("clips", {}):
        settings.append(f"streams.clips.data.root={data('kitti')}")
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_two_steps(
    name: str, data: Callable[[str], Path], depth_run: Callable[[str], Path], tmp_path: Path
) -> None:
    tree = yaml.safe_load(RECIPES[name].read_text())
    run = tmp_path / "run"
    settings = small(tree, data, depth_run)
    if "distilled" in unlabelled(tree):
        folder = distilled(RECIPES[name], data(tree["data"]["name"]), tmp_path)
        settings.append(f"streams.unlabelled.distilled.segmentation.folder={folder}")
    fathom("train", str(RECIPES[name]), *settings, "--out", str(run))
    assert (run / "model.safetensors").is_file()
    assert (run / "evaluation" / "val" / "scores.json").is_file()
    last = yaml.safe_load((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert ("pseudo_labels" in last) == ("unlabelled" in tree["streams"])
    assert ("photometric" in last) == ("clips" in tree["streams"])
    assert (run / "pose.safetensors").is_file() == ("clips" in tree["streams"])


@pytest.mark.parametrize("name", RECIPES)
def test_its_header_has_its_command_and_names_what_must_be_run_before(name: str) -> None:
    lines = header(RECIPES[name])
    command, *_ = [line.split() for line in lines if line.startswith("fathom train ")]
    assert command[2] == f"recipes/{name}.yaml"
    text = " ".join(lines)
    tree = yaml.safe_load(RECIPES[name].read_text())
    for run in runs(tree).values():
        assert run in text
        assert f"fathom pretrain recipes/{Path(run).name}.yaml" in text
    if "root" in tree["data"]:
        assert any(word.startswith("data.root=") for word in command)


@pytest.mark.parametrize("dataset", ["streets", "camvid", "idd-lite"])
@pytest.mark.parametrize("method", ["mean-teacher", "cutmix", "classmix", "depthmix", "uda-unet", "uda-deeplabv3"])
def test_the_header_says_what_is_not_as_published(dataset: str, method: str) -> None:
    path = RECIPES[f"{dataset}/{method}"]
    told = " ".join(header(path)).partition("Not as published: ")[2]
    own = load(Recipe, path)
    learned = own.objectives["pseudo_labels"]
    assert isinstance(learned, PseudoLabels)
    ours = {
        "colours (those of UniMatch V2)": learned.augment == Colours(),
        "zooms of 1 to 2": own.streams["unlabelled"].geometry is None,
        "class weights": own.objectives["supervised"].losses["segmentation"].balance > 0,  # type: ignore[union-attr]
        "logit_adjusted": learned.logit_adjusted,
        f"streams.unlabelled.batch={7 * own.train.batch}": method.startswith("uda") and not own.own_batch,
    }
    assert {word: word in told for word in ours} == ours


@pytest.mark.parametrize("dataset", ["streets", "camvid", "idd-lite"])
def test_all_methods_of_a_dataset_compare_with_its_supervised_recipe(dataset: str) -> None:
    base = load(Recipe, ROOT / f"{dataset}.yaml")
    others = {"unimatch-v2-dinov2", "self-training"}  # of another size; measured on CamVid alone
    assert {name.split("/")[1] for name in RECIPES if name.startswith(dataset)} - others == set(METHODS)
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


def test_unimatch_v2_on_own_data_differs_in_the_data_alone() -> None:
    own, other = (load(Recipe, RECIPES[name]) for name in ("own-data/unimatch-v2", "camvid/unimatch-v2-dinov2"))
    for section in ("size", "network", "objectives", "optimiser", "evaluation"):
        assert getattr(own, section) == getattr(other, section), section
    assert own.train.model_copy(update={"steps": other.train.steps}) == other.train
    assert own.streams["labelled"] == other.streams["labelled"].model_copy(update={"labels": None})
    assert own.streams["unlabelled"] == other.streams["unlabelled"].model_copy(update={"split": "all"})


def test_mixing_rules_differ_in_the_rule_alone() -> None:
    def rest(method: str) -> dict[str, Any]:
        tree = load(Recipe, RECIPES[f"camvid/{method}"]).model_dump()
        rule = tree["objectives"]["pseudo_labels"].pop("mixing")["name"]
        assert rule == {"mean-teacher": "none"}.get(method, method)
        tree["streams"]["unlabelled"]["depth"] = None
        return tree

    assert rest("mean-teacher") == rest("cutmix") == rest("classmix") == rest("depthmix")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("three-ways")])
def test_a_stream_that_nothing_reads_any_more_can_be_taken_out(name: str) -> None:
    """As published: depth is learned on the images themselves, and the recipe's clips are read by nobody."""
    published = ["objectives.photometric.stream=[labelled, unlabelled]"]
    path = RECIPES[name]
    with pytest.raises(ConfigError, match=r"objective learns from stream 'clips': leave it out \(streams\.clips=null"):
        load(Recipe, path, published)
    for overrides in ([*published, "streams.clips=null"], ["streams.clips=null", *published]):
        assert set(load(Recipe, path, overrides).streams) == {"labelled", "unlabelled"}
    with pytest.raises(ConfigError, match="'photometric' learns from stream 'clips', but there is none"):
        load(Recipe, path, ["streams.clips=null"])
    back = load(Recipe, path, ["streams.clips=null", "streams.clips.split=clips"])
    assert back.streams["clips"].split == "clips"


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


def test_the_published_rate_of_the_pose_network_and_the_halved_sum_of_unimatch() -> None:
    """Hoyer et al.: 1e-6 for all of it, its encoder too. UniMatch V2: half of the sum of both losses."""
    trained = load(Recipe, ROOT / "cityscapes/three-ways.yaml").optimiser
    assert trained.lr * trained.factors["photometric"] == pytest.approx(1e-6)
    for name in ("unimatch-v2", "unimatch-v2-dinov2"):
        objectives = load(Recipe, ROOT / f"cityscapes/{name}.yaml").objectives
        assert [objectives[key].weight for key in ("supervised", "pseudo_labels")] == [0.5, 0.5]
