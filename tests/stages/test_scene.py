"""A run of nothing but a scene model, and a training that uses it: by the command line, and resumed exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import FathomError
from fathomseg.evaluation.scenes import pool_of
from fathomseg.inference.card import load_card, load_model
from fathomseg.io.owned import foreign
from fathomseg.stages.evaluate import Scoring, evaluate_run
from fathomseg.stages.study_config import Training, labelled
from fathomseg.stages.study_runs import hashed, progress, result
from fathomseg.stages.train import train
from fathomseg.study.folder import LABELLED_HASH
from fathomseg.study.table import HEADLINES, Cell
from fathomseg.training.phases import phase_recipes
from tests.objectives.scenes import ENCODER, NO_NETWORK, save_scene_run
from tests.stages.runs import metrics, same_run
from tests.stages.tiny_semi import LOOP, SIZE, STREETS, killed_and_resumed, recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "sync"
SMALL = ["data.size=[48,64]", "size=[48,64]", "data.train_clips=2", "data.val_clips=2", "data.frames=4"]
LITTLE = [*SMALL, "train.steps=2", "train.batch=2", "train.device=cpu"]
EVERY = {"geometry": {"crop": [32, 48], "scale": [1.0, 1.2]}}


def scene_settings(**sections: Any) -> dict[str, Any]:
    return {
        "data": STREETS,
        "size": list(SIZE),
        "network": {"tasks": {}},
        "streams": {"labelled": EVERY},
        "objectives": {"contrastive": {"encoder": ENCODER, "apart": 2}},
        "optimiser": {"lr": 1e-3, "warmup": 0},
        "train": {**LOOP, "batch": 4},
        "evaluation": {"report": False, "every": 2},
        **sections,
    }


def consistency_settings(run: Path) -> dict[str, Any]:
    fpn = {"decoder": {"name": "fpn", "channels": 8}}
    supervised = {"losses": {"segmentation": {}, "depth": {}}}
    return scene_settings(
        network={"encoder": NO_NETWORK["encoder"], "tasks": {"segmentation": fpn, "depth": fpn}},
        objectives={"supervised": supervised, "scene_consistency": {"run": str(run), "warmup_steps": 5}},
        train={**LOOP, "batch": 2},
        evaluation={"report": False, "split": None},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene model that was trained without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe(scene_settings()), folder, resume=False)
    return folder


@pytest.mark.slow
def test_the_recipes_train_two_steps_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the commands of their headers; the second finds what the first has written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(RECIPES.parent)
    assert {path.stem for path in RECIPES.glob("*.yaml")} >= {"scene-streets", "consistency-streets"}
    more = {
        "scene-streets": ["streams.labelled.geometry.crop=[40,56]", "objectives.contrastive.apart=2"],
        "consistency-streets": [
            "network.encoder.model=test_efficientnet",
            "network.encoder.pretrained=none",
            "streams.labelled.labels.count=2",
            "evaluation.report=false",
        ],
    }
    for name, settings in more.items():
        lines = [line.lstrip("# ") for line in (RECIPES / f"{name}.yaml").read_text().splitlines()]
        words = next(line for line in lines if line.startswith("fathom train ")).split()
        assert words == ["fathom", "train", f"recipes/sync/{name}.yaml", "--out", f"runs/{name}"]
        done = CliRunner().invoke(app, [*words[1:], *LITTLE, *settings])
        assert done.exit_code == 0, (done.output, done.exception)
    scene, joint = tmp_path / "runs" / "scene-streets", tmp_path / "runs" / "consistency-streets"
    assert {path.name for path in scene.glob("*.safetensors")} == {"scene.safetensors"}
    assert {path.name for path in joint.glob("*.safetensors")} == {"model.safetensors", "last.safetensors"}
    assert load_card(joint).scene is None
    assert not any("tower" in name for name in load_file(joint / "model.safetensors"))
    page = (scene / "evaluation" / "val" / "report.html").read_text(encoding="utf-8")
    assert "segmentation → depth" in page
    assert "a pool of" in page


def test_what_a_run_of_a_scene_model_is(whole: Path) -> None:
    card = load_card(whole)
    assert card.tasks == {}
    assert card.scene is not None
    assert card.scene.classes == Streets().classes.names
    assert card.scene.apart == 2
    assert "contrastive.scale" in metrics(whole)[0]
    with pytest.raises(FathomError, match="predicts nothing from images: it holds a scene model"):
        load_model(whole)


def test_retrieval_is_scored_with_the_size_of_the_pool_and_chance(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Val is one drive of four frames: frames 0 and 2 are the pool."""
    stored = json.loads((whole / "evaluation" / "val" / "scores.json").read_text())
    again = evaluate_run(whole, report=False)
    assert again["scenes"] == stored["scenes"]
    found = again["scenes"]
    assert (found["pool"], found["left_out"], found["apart"]) == (2, 2, 2)
    assert found["chance"] == {"top1": 0.5, "top5": 1.0}
    assert found["depth_to_segmentation"]["top5"] == 1
    assert again["scores"] == {}
    assert "pool" in again["meaning"]["scenes"]
    said = capsys.readouterr().out
    assert "a pool of 2 pairs; 2 more, fewer than 2 frames from one of them, left out" in said
    assert "chance" in said
    with pytest.raises(FathomError, match="not two samples of different scenes have a label and a depth"):
        evaluate_run(whole, Scoring(limit=1), report=False)


def test_pools_hold_what_has_both_and_lies_apart() -> None:
    data = Streets(val_clips=2, frames=5)
    pool = pool_of(data, data.ids("val"), 3)
    assert pool.ids == tuple(f"val/000{clip}/00000{frame}" for clip in (0, 1) for frame in (0, 3))
    assert pool.left_out == 6
    assert pool_of(data, data.ids("val"), 3, limit=4).ids == pool.ids[:2]


def test_data_of_other_classes_is_refused(whole: Path, tmp_path: Path) -> None:
    other = save_scene_run(tmp_path / "other")
    (other / "config.yaml").write_text((whole / "config.yaml").read_text())
    with pytest.raises(FathomError, match="knows 4 classes, which are not the 15 of this data"):
        evaluate_run(other, report=False)
    with pytest.raises(FathomError, match="knows 4 classes, which are not the 15 of this data"):
        train(recipe(consistency_settings(other)), tmp_path / "run", resume=False)


@pytest.mark.slow
def test_contrastive_training_goes_on_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    resumed = killed_and_resumed(scene_settings(), tmp_path / "run", at=3)
    first, second = load_file(whole / "scene.safetensors"), load_file(resumed / "scene.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert metrics(whole) == metrics(resumed)


@pytest.mark.slow
def test_consistency_training_goes_on_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    """In the middle of the warm-up; the scene model comes from its run and not from the checkpoint."""
    settings = consistency_settings(whole)
    train(recipe(settings), tmp_path / "whole", resume=False)
    resumed = killed_and_resumed(settings, tmp_path / "resumed", at=3)
    same_run(tmp_path / "whole", resumed)
    state = torch.load(resumed / "checkpoint.pt", weights_only=True)["step_module"]
    assert not [name for name in state if "tower" in name]
    assert "scene_consistency" in metrics(resumed)[0]


@pytest.mark.slow
def test_phases_train_a_scene_model_first(tmp_path: Path) -> None:
    tree = consistency_settings(tmp_path / "run" / "scene")
    first = scene_settings()
    changes = [f"{key}={json.dumps(first[key])}" for key in ("network", "objectives")]
    tree["phases"] = {"scene": changes, "joint": []}
    recipes = phase_recipes(recipe(tree), tmp_path / "run")
    assert recipes["scene"].network.tasks == {}
    assert recipes["joint"].init_from is None
    made, run = recipe({**tree, "train": {**LOOP, "steps": 1}, "evaluation": {"report": False}}), tmp_path / "run"
    train(made, run, resume=False)
    assert (run / "scene" / "scene.safetensors").is_file()
    assert (run / "model.safetensors").is_file()
    # The folder is the run of the last phase, for a study too.
    train(made, run, resume=True)
    for name in ("labelled.txt", "metrics.jsonl"):
        assert (run / name).read_bytes() == (run / "joint" / name).read_bytes() != b""
    assert run / "labelled.txt" not in foreign(run)
    with pytest.raises(FathomError, match="it is a run"):
        train(made, run, resume=False)
    found = result(Cell("arm", "all", 0), run, Training(Path(), (), made))
    assert found is not None
    assert (found["steps"], found["images"]) == (2, 8), "of all phases; all frames"
    assert found[LABELLED_HASH] == hashed(labelled(made)) != hashed([])
    assert {task: set(scores) for task, scores in found[HEADLINES].items()} == {
        "segmentation": {"miou", "pixel_accuracy"},
        "depth": {"abs_rel", "delta1"},
    }
    assert progress(run, made) == 1
