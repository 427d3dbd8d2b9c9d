"""The recipes of domain adaptation: two steps each through the real command line, without and with target labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.config import load
from fathomseg.stages import streams
from fathomseg.stages.domains import batch_norm, held_for
from fathomseg.stages.recipe import Recipe
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


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_two_steps(name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_COUNTED", 2)
    tree = yaml.safe_load(RECIPES[name].read_text())
    settings = [*SMALL, f"streams.labelled.labels.count={count}"]
    if tree["data"]["name"] == "camvid":
        # One frame in each of a minute's seconds, so that blocks holds some of them.
        settings.append(f"data.root={fakes.make_camvid(tmp_path / 'data', train=40, val=0, size=(48, 64))}")
    else:
        settings += ["data.size=[48,64]", "data.train_clips=1", "data.val_clips=1", "data.frames=2"]
    run = tmp_path / "run"
    done = CliRunner().invoke(app, ["train", str(RECIPES[name]), *settings, "--out", str(run)])
    assert done.exit_code == 0, (done.output, done.exception)
    last = yaml.safe_load((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["supervised@source.segmentation"] > 0
    assert ("supervised@labelled.segmentation" in last) == (count > 0)
    assert "pseudo_labels" in last
    assert len((run / "labelled.txt").read_text().split()) == count
    assert not (run / "source.txt").exists()
    split = tree.get("evaluation", {}).get("split", "val")
    scores = json.loads((run / "evaluation" / split / "scores.json").read_text())["scores"]["ema"]["segmentation"]
    assert scores["miou"] is not None
    assert "miou_shared" not in scores, "the source has every class"


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
    assert set(held_for(recipe, {"source", "unlabelled"})) == {"source"}
    assert recipe.streams["source"].data.endless  # type: ignore[union-attr]
