"""The recipes of domain adaptation: two steps each through the real command line, without and with target labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.config import load
from fathomseg.training import streams
from fathomseg.training.domains import batch_norm, held_for
from fathomseg.training.recipe import Recipe
from tests import fakes

ROOT = Path(__file__).resolve().parent.parent / "recipes" / "adapt"
RECIPES = {path.stem: path for path in sorted(ROOT.glob("*.yaml"))}
SMALL = [
    "train.steps=2",
    "train.log_every=1",
    "train.batch=2",
    "train.device=cpu",
    "size=[48,64]",
    "streams.source.data.size=[48,64]",
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


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_two_steps(name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_COUNTED", 2)
    tree = yaml.safe_load(RECIPES[name].read_text())
    settings = [*SMALL, f"streams.labelled.labels.count={count}"]
    if tree["data"]["name"] == "camvid":
        # One frame in each of a minute's seconds, so that blocks holds some of them.
        camvid = fakes.make_camvid(tmp_path / "data", train=40, val=0, size=(48, 64))
        settings.append(f"data.root={camvid}")
        if "depth" in (tree["streams"].get("unlabelled") or {}):
            settings.append(f"streams.unlabelled.depth={{name: maps, folder: {disparities(tmp_path / 'd', camvid)}}}")
    else:
        settings += ["data.size=[48,64]", "data.train_clips=1", "data.val_clips=1", "data.frames=2"]
    if not tree["streams"]["source"]["data"].get("endless"):
        settings += ["streams.source.data.train_clips=2", "streams.source.data.frames=2"]
    run = tmp_path / "run"
    done = CliRunner().invoke(app, ["train", str(RECIPES[name]), *settings, "--out", str(run)])
    assert done.exit_code == 0, (done.output, done.exception)
    last = yaml.safe_load((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["supervised@source.segmentation"] > 0
    assert ("supervised@labelled.segmentation" in last) == (count > 0)
    assert ("pseudo_labels" in last) == ("unlabelled" in tree["streams"])
    assert ("within_target" in last) == ("within_target" in tree["objectives"])
    assert len((run / "labelled.txt").read_text().split()) == count
    assert (run / "source.txt").exists() != bool(tree["streams"]["source"]["data"].get("endless"))
    split = tree.get("evaluation", {}).get("split", "val")
    scores = json.loads((run / "evaluation" / split / "scores.json").read_text())["scores"]["ema"]["segmentation"]
    assert scores["miou"] is not None
    assert "miou_shared" not in scores, "the source has every class"


@pytest.mark.slow
def test_own_images_need_no_label(tmp_path: Path) -> None:
    root, run = fakes.make_folder(tmp_path / "mydata", labels=None, size=(48, 64)), tmp_path / "run"
    city = ["streams.source.data.train_clips=2", "streams.source.data.frames=2", f"data.root={root}"]
    recipe = str(ROOT.parent / "own-data" / "adapt-streets.yaml")
    done = CliRunner().invoke(app, ["train", recipe, *SMALL, *city, "--out", str(run)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "not scored" in done.output
    last = yaml.safe_load((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["pseudo_labels"] > 0
    streams = json.loads((run / "data.json").read_text())["streams"]
    assert streams["unlabelled"]["count"] == 15, "photographs and frames"


def test_a_source_that_lacks_classes_is_also_scored_on_those_both_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_COUNTED", 2)
    data = fakes.make_camvid(tmp_path / "data", train=40, val=0, size=(48, 64))
    settings = [*SMALL, f"data.root={data}", "streams.source.classes=null"]
    run = tmp_path / "run"
    done = CliRunner().invoke(app, ["train", str(RECIPES["streets-camvid"]), *settings, "--out", str(run)])
    assert done.exit_code == 0, (done.output, done.exception)
    shared = ["sky", "building", "pole", "road", "fence", "car"]  # equal names, in CamVid's order
    assert json.loads((run / "model.json").read_text())["shared_classes"] == shared
    found = json.loads((run / "evaluation" / "blocks" / "scores.json").read_text())
    scores = found["scores"]["ema"]["segmentation"]
    known = [row["iou"] for row in scores["classes"] if row["name"] in shared and row["iou"] is not None]
    assert known
    assert scores["miou_shared"] == pytest.approx(sum(known) / len(known))
    assert scores["shared_classes"] == shared
    assert "shared_classes" in found["meaning"]["segmentation"]["miou_shared"]
    assert "shared classes" in done.output


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_has_its_command_and_statistics_are_the_targets(name: str) -> None:
    assert f"fathom train recipes/adapt/{name}.yaml" in RECIPES[name].read_text()
    recipe = load(Recipe, RECIPES[name])
    assert batch_norm(recipe, "source") == "held"
    assert set(held_for(recipe, set(recipe.streams))) == {"source"}
    depth = recipe.streams["unlabelled"].depth if "unlabelled" in recipe.streams else None
    if depth is not None:
        assert "fathom pretrain recipes/depth-kitti-streets.yaml" in RECIPES[name].read_text()


def test_the_arms_of_the_study_differ_in_what_their_names_say() -> None:
    """The same data, source, network, labels, optimiser and steps; DACS and DepthMix pair, geometry draws."""
    trees = {name: load(Recipe, RECIPES[name]).model_dump() for name in RECIPES if "dusk" not in name}
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
