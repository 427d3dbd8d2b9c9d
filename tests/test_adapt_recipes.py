"""The recipes of domain adaptation: two steps each through the real command line, without and with target labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fathomseg.config import load
from fathomseg.depth_sources.run import RunDepth
from fathomseg.objectives import FeatureDistance, PseudoLabels
from fathomseg.training import streams
from fathomseg.training.domains import batch_norm, held_for
from fathomseg.training.recipe import Recipe
from tests import fakes
from tests.command import fathom
from tests.small_recipes import pose, views

ROOT = Path(__file__).resolve().parent.parent / "recipes" / "adapt"
RECIPES = {path.stem: path for path in sorted(ROOT.glob("*.yaml"))}
SMALL = [
    "train.steps=2",
    "train.log_every=1",
    "train.batch=2",
    "train.device=cpu",
    "size=[48,64]",
    "network.encoder.model=test_efficientnet",
    "network.encoder.pretrained=none",
    "evaluation.report=false",
]


def disparities(folder: Path, camvid: Path) -> Path:
    """A map of noise for each image of CamVid, in the place of the depth run."""
    for number, image in enumerate(sorted((camvid / "train").glob("*.png"))):
        noise = np.random.default_rng(number).integers(0, 256, (12, 16), dtype=np.uint8)
        fakes.save(folder / "train" / image.name, noise)
    return folder


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fake Cityscapes, as the target."""
    return fakes.make_cityscapes(tmp_path_factory.mktemp("cityscapes"), frames=3)


@pytest.fixture(scope="module")
def depth_run(cityscapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step of recipes/depth-cityscapes.yaml, with which a recipe begins."""
    path, run = ROOT.parent / "depth-cityscapes.yaml", tmp_path_factory.mktemp("runs") / "depth-cityscapes"
    tree = yaml.safe_load(path.read_text())
    small = [*SMALL, *pose(tree), *views(tree), "train.steps=1", "evaluation.split=null", "phases={}"]
    fathom("pretrain", str(path), *small, f"data.root={cityscapes}", "--out", str(run))
    return run


def data(tree: dict[str, Any], folder: Path, request: pytest.FixtureRequest) -> list[str]:
    """The settings that bring fake data of a recipe's source and target, and the target's depth."""
    own, source = tree["data"]["name"], tree["streams"]["source"]
    settings = views(tree)
    if own == "camvid":
        # One frame in each of a minute's seconds, so that blocks holds some of them.
        camvid = fakes.make_camvid(folder / "data", train=40, val=0, size=(48, 64))
        settings.append(f"data.root={camvid}")
        if "depth" in (tree["streams"].get("unlabelled") or {}):
            settings.append(f"streams.unlabelled.depth={{name: maps, folder: {disparities(folder / 'd', camvid)}}}")
    elif own == "cityscapes":
        settings.append(f"data.root={request.getfixturevalue('cityscapes')}")
        if "init_from" in tree:
            run = request.getfixturevalue("depth_run")
            settings += [f"init_from.run={run}", f"streams.unlabelled.depth.run={run}"]
    else:
        settings += ["data.size=[48,64]", "data.train_clips=1", "data.val_clips=1", "data.frames=2"]
    if "size" in source:
        settings.append("streams.source.size=[54,72]")
    if source["data"]["name"] == "streets":
        settings.append("streams.source.data.size=[48,64]")
        if not source["data"].get("endless"):
            settings += ["streams.source.data.train_clips=2", "streams.source.data.frames=2"]
    else:
        make = fakes.make_gta5 if source["data"]["name"] == "gta5" else fakes.make_synthia
        settings.append(f"streams.source.data.root={make(folder / 'source', size=(48, 80))}")
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_two_steps(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(streams, "_COUNTED", 2)
    tree = yaml.safe_load(RECIPES[name].read_text())
    settings = [*SMALL, *data(tree, tmp_path, request), f"streams.labelled.labels.count={count}"]
    run = tmp_path / "run"
    fathom("train", str(RECIPES[name]), *settings, "--out", str(run))
    last = yaml.safe_load((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["supervised@source.segmentation"] > 0
    assert ("supervised@labelled.segmentation" in last) == (count > 0)
    assert ("pseudo_labels" in last) == ("unlabelled" in tree["streams"])
    for objective in ("within_target", "masked", "feature_distance"):
        assert (objective in last) == (objective in tree["objectives"])
    assert len((run / "labelled.txt").read_text().split()) == count
    assert (run / "source.txt").exists() != bool(tree["streams"]["source"]["data"].get("endless"))
    split = tree.get("evaluation", {}).get("split", "val")
    scores = json.loads((run / "evaluation" / split / "scores.json").read_text())["scores"]["ema"]["segmentation"]
    assert scores["miou"] is not None
    lacks = tree["streams"]["source"]["data"]["name"] == "synthia"
    assert ("miou_shared" in scores) == lacks, "the other sources have every class"


@pytest.mark.slow
def test_own_images_need_no_label(tmp_path: Path) -> None:
    root, run = fakes.make_folder(tmp_path / "mydata", labels=None, size=(48, 64)), tmp_path / "run"
    city = ["streams.source.data.train_clips=2", "streams.source.data.frames=2", f"data.root={root}"]
    recipe = str(ROOT.parent / "own-data" / "adapt-streets.yaml")
    assert "not scored" in fathom("train", recipe, *SMALL, *city, "--out", run)
    last = yaml.safe_load((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["pseudo_labels"] > 0
    streams = json.loads((run / "data.json").read_text())["streams"]
    assert streams["unlabelled"]["count"] == 15, "photographs and frames"


def test_a_source_that_lacks_classes_is_also_scored_on_those_both_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_COUNTED", 2)
    camvid = fakes.make_camvid(tmp_path / "data", train=40, val=0, size=(48, 64))
    settings = [*SMALL, f"data.root={camvid}", "streams.source.data.size=[48,64]", "streams.source.classes=null"]
    run = tmp_path / "run"
    said = fathom("train", RECIPES["streets-camvid"], *settings, "--out", run)
    shared = ["sky", "building", "pole", "road", "fence", "car"]  # equal names, in CamVid's order
    assert json.loads((run / "model.json").read_text())["shared_classes"] == shared
    found = json.loads((run / "evaluation" / "blocks" / "scores.json").read_text())
    scores = found["scores"]["ema"]["segmentation"]
    known = [row["iou"] for row in scores["classes"] if row["name"] in shared and row["iou"] is not None]
    assert known
    assert scores["miou_shared"] == pytest.approx(sum(known) / len(known))
    assert scores["shared_classes"] == shared
    assert "shared_classes" in found["meaning"]["segmentation"]["miou_shared"]
    assert "shared classes" in said


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_has_its_command_and_statistics_are_the_targets(name: str) -> None:
    assert f"fathom train recipes/adapt/{name}.yaml" in RECIPES[name].read_text()
    recipe = load(Recipe, RECIPES[name])
    assert batch_norm(recipe, "source") == "held"
    assert set(held_for(recipe, set(recipe.streams))) == {"source"}
    depth = recipe.streams["unlabelled"].depth if "unlabelled" in recipe.streams else None
    if depth is not None:
        assert isinstance(depth, RunDepth)
        assert f"fathom pretrain recipes/{depth.run.name}.yaml" in RECIPES[name].read_text()


def test_the_arms_of_the_study_differ_in_what_their_names_say() -> None:
    """The same data, source, network, labels, optimiser and steps; DACS and DepthMix pair, geometry draws."""
    trees = {name: load(Recipe, RECIPES[name]).model_dump() for name in RECIPES if "streets-camvid" in name}
    paired = sorted(name for name, tree in trees.items() if tree["objectives"].get("pseudo_labels", {}).get("partner"))
    assert paired == [f"streets-camvid-{name}" for name in ("corda", "dacs", "depthmix", "geometry")]
    joint = trees["streets-camvid-joint"]
    corda, dacs = trees["streets-camvid-corda"], trees["streets-camvid-dacs"]
    heads = {name: corda["network"]["tasks"].pop(name) for name in ("depth", "source_depth")}
    assert {head["decoder"] for head in heads.values()} == {"shared"}
    learned = [corda["objectives"].pop(f"depth_of_{domain}")["losses"] for domain in ("source", "target")]
    assert [loss["weight"] for losses in learned for loss in losses.values()] == [0.01, 0.001], "as published"
    assert corda["objectives"]["pseudo_labels"].pop("depth_agreement")
    dacs_objectives = {**dacs["objectives"], "pseudo_labels": {**dacs["objectives"]["pseudo_labels"]}}
    assert dacs_objectives["pseudo_labels"].pop("depth_agreement") is None
    assert corda["objectives"] == dacs_objectives
    for name in paired:
        own = trees[name]
        for section in ("data", "size", "network", "optimiser", "train", "evaluation", "init_from"):
            assert own[section] == joint[section]
        assert own["objectives"]["supervised"] == joint["objectives"]["supervised"]
        assert own["streams"]["source"]["data"] == joint["streams"]["source"]["data"]
    depthmix, geometry = trees["streets-camvid-depthmix"], trees["streets-camvid-geometry"]
    assert geometry["objectives"] == depthmix["objectives"]
    assert geometry["streams"]["source"].pop("sampling") != depthmix["streams"]["source"].pop("sampling")
    assert geometry["streams"] == depthmix["streams"]


def test_daformer_and_mic_have_the_settings_of_the_papers() -> None:
    """Hoyer et al. 2022, section 4.1 and the public configuration; 2023, section 4.1. All of GTA5 is learned from."""
    own = load(Recipe, RECIPES["gta5-cityscapes"])
    assert own.optimiser.lr == pytest.approx(6e-4)
    assert own.optimiser.lr * own.optimiser.encoder_lr == pytest.approx(6e-5)
    mixed, masked = own.objectives["pseudo_labels"], own.objectives["masked"]
    assert isinstance(mixed, PseudoLabels)
    assert isinstance(masked, PseudoLabels)
    changed = {"name": masked.name, "partner": None, "mixing": masked.mixing, "masking": masked.masking}
    assert mixed.model_copy(update=changed) == masked, "one teacher, one augmentation"
    assert masked.masking is not None
    assert masked.masking.side((512, 512)) == 64
    assert masked.ego_vehicle is not None
    shown = masked.ego_vehicle.shown()[0, 0, :, 0]
    assert [round(512 * float((part == 0).float().mean()) / 2) for part in shown.chunk(2)] == [15, 120]
    distance = own.objectives["feature_distance"]
    assert isinstance(distance, FeatureDistance)
    assert [own.data.classes.names.index(name) for name in distance.classes] == [6, 7, *range(11, 19)]


def test_synthia_differs_from_depthmix_in_the_second_domain_alone() -> None:
    own = load(Recipe, RECIPES["synthia-cityscapes"])
    other = load(Recipe, ROOT.parent / "cityscapes" / "depthmix.yaml")
    for section in ("data", "size", "network", "optimiser", "train", "init_from", "evaluation"):
        assert getattr(own, section) == getattr(other, section), section
    within, across = own.objectives["within_target"], own.objectives["pseudo_labels"]
    assert within == other.objectives["pseudo_labels"]
    assert isinstance(within, PseudoLabels)
    assert isinstance(across, PseudoLabels)
    assert across.model_copy(update={"partner": None, "mixing": within.mixing}) == within
