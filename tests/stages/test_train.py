"""`fathom train` as a whole: exact resume, kill -9, labels that are never opened, clear errors."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fathomseg.engine.step import Step
from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.inference.card import load_model
from fathomseg.objectives.supervised import SupervisedObjective
from fathomseg.stages.train import train, trained
from fathomseg.training.recipe import Recipe
from tests.stages.runs import metrics, nearly_the_same_run, same_run
from tests.stages.tiny_semi import killed

Make = Callable[..., Recipe]


def test_a_run_folder_holds_everything(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert names >= {"config.yaml", "labelled.txt", "origin.json", "metrics.jsonl", "checkpoint.pt", "model.json"}
    assert names >= {"model.safetensors", "last.safetensors", "tensorboard", "evaluation"}
    assert len((whole / "labelled.txt").read_text().split()) == 8
    lines = metrics(whole)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["supervised.segmentation"] > 0 and line["gradient_norm"] > 0 for line in lines)
    scores = json.loads((whole / "evaluation" / "val" / "scores.json").read_text())["scores"]
    assert 0 <= scores["ema"]["segmentation"]["miou"] <= 1
    card, network = load_model(whole)
    assert card.size == (48, 64)
    assert network.heads["segmentation"][-1].out_channels == 11


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(recipe: Make, whole: Path, tmp_path: Path) -> None:
    train(recipe(), tmp_path / "again", resume=False)
    same_run(whole, tmp_path / "again")
    other = metrics(killed(recipe(seed=1), tmp_path / "other", 2))
    assert [line["step"] for line in other] == [2]
    assert other != metrics(whole)[:1]


@pytest.mark.slow
def test_a_run_killed_at_a_random_step_resumes_bit_for_bit(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    loop = {"steps": 40, "batch": 4, "log_every": 3, "save_every": 4, "device": "cpu", "threads": 1}
    # BatchNorm statistics, dropout, Adam's moments and colour jitter all have to survive, so they are all on here.
    network = {"encoder": settings()["network"]["encoder"], "tasks": {"segmentation": {"dropout": 0.2}}}
    tree = settings(train=loop, network=network, optimiser={"lr": 1e-3})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    trained(tmp_path / "recipe.yaml", [], whole, None)

    command = [sys.executable, "-m", "fathomseg.cli", "train", str(tmp_path / "recipe.yaml"), "--out", str(killed)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    wanted = random.randint(2, 8)  # lines of the log before the kill; any step will do
    while time.monotonic() < deadline and _lines(killed) < wanted and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model.json").exists(), "the process was faster than the kill"
    trained(None, [], None, killed)
    same_run(whole, killed)


def _lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
def test_stopping_politely_writes_a_checkpoint_and_says_how_to_go_on(
    settings: Callable[..., dict[str, Any]], recipe: Make, tmp_path: Path
) -> None:
    loop = {"steps": 500, "batch": 4, "log_every": 1, "save_every": 1000, "device": "cpu", "threads": 1}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings(train=loop)))
    command = [
        sys.executable,
        "-m",
        "fathomseg.cli",
        "train",
        str(tmp_path / "recipe.yaml"),
        "--out",
        str(tmp_path / "r"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and _lines(tmp_path / "r") < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"fathom train --resume {tmp_path / 'r'}" in said
    step = torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)["step"]
    assert 2 <= step < 500
    assert metrics(tmp_path / "r")[-1]["step"] == step


def test_two_micro_batches_equal_one_batch(recipe: Make, whole: Path, tmp_path: Path) -> None:
    loop = recipe().train.model_copy(update={"accumulate": 2})
    train(recipe(train=loop.model_dump()), tmp_path / "two", resume=False)
    nearly_the_same_run(whole, tmp_path / "two")


def test_counts_that_are_not_those_of_the_terms_stop_the_first_step(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = SupervisedObjective.counts
    monkeypatch.setattr(
        SupervisedObjective, "counts", lambda self, batch: {k: 2 * v for k, v in counts(self, batch).items()}
    )
    loop = recipe().train.model_copy(update={"accumulate": 2})
    with pytest.raises(FathomError, match=r"`counts` says \d+ of the loss term 'supervised\.segmentation', whose own"):
        train(recipe(train=loop.model_dump()), tmp_path / "run", resume=False)


def test_a_checkpoint_of_other_optimiser_groups_says_so(recipe: Make, whole: Path, tmp_path: Path) -> None:
    """Such as of a version that gave a parameter another factor."""
    shutil.copytree(whole, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    first, second, *_ = state["optimiser"]["param_groups"]
    first["params"].append(second["params"].pop())
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(FathomError, match=r"its optimiser has other groups of parameters .*version that began it"):
        train(recipe(), tmp_path / "run", resume=True)


def test_labels_outside_the_budget_are_never_opened(recipe: Make, camvid: Path, tmp_path: Path) -> None:
    budget = {"labelled": {"labels": {"count": 3, "seed": 5}}}
    train(recipe(streams=budget), tmp_path / "all", resume=False)
    chosen = {id.split("/")[1] for id in (tmp_path / "all" / "labelled.txt").read_text().split()}

    poor = tmp_path / "poor"
    shutil.copytree(camvid, poor)
    for path in (poor / "trainannot").iterdir():
        if path.stem not in chosen:
            path.write_bytes(b"")  # still there, so the budget picks the same images, but nobody can read it
    train(recipe(streams=budget, data={"name": "camvid", "root": str(poor)}), tmp_path / "few", resume=False)
    same_run(tmp_path / "all", tmp_path / "few")


def test_bad_labels_stop_the_run_before_training_with_the_words_of_check(
    recipe: Make, camvid: Path, tmp_path: Path
) -> None:
    from fathomseg.data.datasets import CamVid

    bad = tmp_path / "bad"
    shutil.copytree(camvid, bad)
    broken = sorted((bad / "trainannot").iterdir())[:2]
    for path in broken:
        path.write_bytes(path.read_bytes()[:40])
    dataset = CamVid(root=bad)
    with pytest.raises(DataError, match="2 files cannot be used") as error:
        train(recipe(data={"name": "camvid", "root": str(bad)}), tmp_path / "run", resume=False)
    assert set(error.value.problems) == set(dataset.problems(dataset.ids("train")))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_diverging_run_stops_before_the_weights_are_ruined(recipe: Make, tmp_path: Path) -> None:
    loop = recipe().train.model_copy(update={"steps": 40, "save_every": 1, "clip": 0.0})
    with pytest.raises(FathomError, match="became infinite or NaN"):
        train(recipe(train=loop.model_dump(), optimiser={"name": "sgd", "lr": 1e18}), tmp_path / "run", resume=False)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["step_module"].values() if isinstance(v, torch.Tensor))


def test_running_out_of_memory_names_the_settings_to_change(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Step, batches: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Step, "forward", explode)
    with pytest.raises(FathomError) as error:
        train(recipe(), tmp_path / "run", resume=False)
    for setting in (
        "train.accumulate=2",
        "train.batch=2",
        "streams.labelled.geometry.crop=[36,48]",
        "Tried to allocate 2.00 GiB",
    ):
        assert setting in str(error.value)


def test_a_run_is_never_overwritten_and_a_resumed_one_keeps_its_settings(whole: Path, recipe: Make) -> None:
    with pytest.raises(FathomError, match="exists and is not empty"):
        train(recipe(), whole, resume=False)
    with pytest.raises(ConfigError, match=r"optimiser\.lr=1 cannot be given"):
        trained(None, ["optimiser.lr=1"], None, whole)
    with pytest.raises(ConfigError, match="either a recipe"):
        trained(None, [], None, None)
    with pytest.raises(FathomError, match="is not a run"):
        trained(None, [], None, whole.parent)


def test_a_run_that_failed_before_its_first_step_is_no_obstacle(recipe: Make, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="has no model named"):
        train(recipe(network={"encoder": {"model": "resnett18"}}), tmp_path / "run", resume=False)
    assert (tmp_path / "run" / "config.yaml").is_file()
    train(recipe(), tmp_path / "run", resume=False)
    same_run(whole, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(FathomError, match="exists and is not empty"):
        train(recipe(), tmp_path / "other", resume=False)
    assert (tmp_path / "other" / "notes.txt").is_file()


def test_resuming_a_finished_run_changes_nothing(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    trained(None, ["train.workers=1"], None, tmp_path / "copy")
    same_run(whole, tmp_path / "copy")


def test_scores_in_the_middle_of_a_run_do_not_change_it(recipe: Make, whole: Path, tmp_path: Path) -> None:
    train(recipe(evaluation={"every": 2, "report": False}), tmp_path / "scored", resume=False)
    lines = metrics(tmp_path / "scored")
    assert [line["step"] for line in lines if line["kind"] == "val"] == [2, 4]
    assert [line for line in lines if line["kind"] == "train"] == metrics(whole)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_on_a_gpu(recipe: Make, tmp_path: Path, precision: str) -> None:
    loop = recipe().train.model_copy(update={"device": "cuda", "precision": precision})
    network = {**recipe().network.model_dump(), "norm": "batch"}
    train(recipe(train=loop.model_dump(), network=network), tmp_path / "run", resume=False)
    assert all(0 < line["supervised.segmentation"] < 10 for line in metrics(tmp_path / "run"))
    trained(None, [], None, tmp_path / "run")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["auto", "fp16"])
@pytest.mark.parametrize("augment", ["colours", "randaugment"])
def test_pseudo_labels_on_a_gpu(recipe: Make, tmp_path: Path, augment: str, precision: str) -> None:
    """Blurred and sharpened images are put back into a batch of float32, whatever convolutions compute in."""
    loop = recipe().train.model_copy(update={"device": "cuda", "precision": precision})
    every = {"blur": {"probability": 1.0}} if augment == "colours" else {"number": 8, "probability": 1.0}
    pseudo_labels = {"augment": {"name": augment, **every}, "weighting": {"name": "none"}}
    train(
        recipe(
            train=loop.model_dump(),
            streams={"labelled": {"labels": {"count": 4}}, "unlabelled": {}},
            objectives={"supervised": {}, "pseudo_labels": pseudo_labels},
        ),
        tmp_path / "run",
        resume=False,
    )
    assert all(0 < line["pseudo_labels"] < 20 for line in metrics(tmp_path / "run"))


def test_two_labelled_streams_have_budgets_of_their_own(recipe: Make, camvid: Path, tmp_path: Path) -> None:
    """Of the same classes, or of others that are matched; if none is the same, it is an error."""
    other = shutil.copytree(camvid, tmp_path / "other")
    streams = {
        "labelled": {"labels": {"count": 3}},
        "more": {"data": {"name": "camvid", "root": str(other)}, "labels": {"count": 2, "seed": 7}, "batch": 2},
    }
    objectives = {"supervised": {"stream": ["labelled", "more"]}}
    train(recipe(streams=streams, objectives=objectives), tmp_path / "run", resume=False)
    assert len((tmp_path / "run" / "labelled.txt").read_text().split()) == 3
    assert len((tmp_path / "run" / "more.txt").read_text().split()) == 2
    last = metrics(tmp_path / "run")[-1]
    assert last["supervised@labelled.segmentation"] > 0
    assert last["supervised@more.segmentation"] > 0
    trained(None, [f"streams.more.data.root={other}"], None, tmp_path / "run")
    streams["more"]["data"] = {"name": "folder", "root": str(tmp_path / "mine")}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dataset.yaml").write_text("classes: [x, y]")
    with pytest.raises(FathomError, match=r"None of the 2 classes .* has a partner among the 11 classes"):
        train(recipe(streams=streams, objectives=objectives), tmp_path / "wrong", resume=False)
