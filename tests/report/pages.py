"""Tiny runs of every verb, for the pages they end with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.config import validate
from fathomseg.data.datasets import CamVid, Streets
from fathomseg.engine.logging import METRICS
from fathomseg.engine.step import LINKS
from fathomseg.inference.predictor import load
from fathomseg.io.files import CONFIG
from fathomseg.report.study_page import arm_pictures, render_study
from fathomseg.stages.train import train
from fathomseg.study.report import Report
from fathomseg.study.table import grid
from fathomseg.training.recipe import Recipe
from tests import fakes
from tests.distillation.teachers import make_run
from tests.report.test_demo_page import a_page
from tests.stages.saved_joint_run import save_joint_run
from tests.stages.test_scene import scene_settings
from tests.stages.tiny_semi import ENCODER, joint

STREETS = Streets(size=(32, 64), train_clips=1, val_clips=1, frames=6)


def command(*words: str, code: int = 0) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, (words, done.output, done.exception)


def evaluated(run: Path) -> Path:
    command("evaluate", str(run))
    return run / "evaluation" / "val" / "report.html"


def evaluate_labels(folder: Path) -> Path:
    data = CamVid(root=fakes.make_camvid(folder / "data", size=(48, 64)))
    return evaluated(save_joint_run(folder / "run", data, ["segmentation"], (24, 32), pose=False))


def evaluate_depth(folder: Path) -> Path:
    return evaluated(save_joint_run(folder / "run", STREETS, ["depth"]))


def evaluate_joint(folder: Path) -> Path:
    return evaluated(save_joint_run(folder / "run", STREETS))


def evaluate_several(folder: Path) -> Path:
    """Normals beside labels and depth, links whose strength was logged, and a baseline."""
    run, baseline = (
        make_run(folder / name, STREETS.classes.names, seed=seed, size=(32, 64))
        for seed, name in enumerate(("run", "baseline"))
    )
    for one in (run, baseline):
        fakes.write_yaml(one / CONFIG, {"data": STREETS.model_dump(mode="json"), "size": [32, 64]})
    names = [f"{LINKS}.depth_to_segmentation.{level}" for level in range(1, 6)]
    lines = [
        {"kind": "train", "step": step, **{f"{name}.{key}": 0.01 * step for name in names for key in ("norm", "share")}}
        for step in range(5)
    ]
    (run / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    command("evaluate", str(baseline), "--weights", "ema", "--no-report")
    command("evaluate", str(run), "--weights", "ema", "--baseline", str(baseline))
    page = run / "evaluation" / "val" / "report.html"
    text = page.read_text(encoding="utf-8")
    assert all(title in text for title in ("Surface normals", "Several tasks at once", "<h2>Links"))
    return page


def select(folder: Path) -> Path:
    recipe = fakes.write_yaml(
        folder / "select.yaml",
        {
            "data": {"name": "camvid", "root": str(fakes.make_camvid(folder / "data", train=9, size=(48, 64)))},
            "size": [48, 64],
            "criterion": {
                "name": "diversity",
                "compare": "cells",
                "features": {
                    "name": "encoder",
                    "grid": [2, 3],
                    "encoder": {"model": "test_efficientnet", "pretrained": "none"},
                },
            },
            "budget": 4,
            "device": "cpu",
        },
    )
    command("select", str(recipe), "--out", str(folder / "selected"))
    return folder / "selected" / "selection.html"


def check(folder: Path) -> Path:
    """With a split without images, a rare class, a broken file, and video without cameras."""
    data = fakes.make_folder(folder / "mydata", videos=1)
    (data / "images" / "broken.png").write_bytes(b"no picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("check", "--data", str(data), code=1)
    return folder / "runs" / "check" / "mydata.html"


def check_streets(folder: Path) -> Path:
    """With depth, and nothing wrong."""
    words = ["size=[32,64]", "train_clips=1", "val_clips=1", "frames=3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("check", "--data", "streets", *words)
    return folder / "runs" / "check" / "streets.html"


def trained(folder: Path, recipe: dict[str, Any]) -> Path:
    train(validate(Recipe, recipe, "test"), folder / "tiny run", resume=False)
    return folder / "tiny run" / "report.html"


def train_joint(folder: Path) -> Path:
    """Labels, pseudo-labels mixed by depth, video, links, scores on the way."""
    return trained(folder, joint(evaluation={"every": 2, "limit": 2}))


def train_contrastive(folder: Path) -> Path:
    """A scene model, with its retrieval scores on the way."""
    return trained(folder, scene_settings(evaluation={"every": 2, "limit": 2}))


def pretrain(folder: Path) -> Path:
    """Video alone, without a truth and with a camera that is learned."""
    data = fakes.make_folder(folder / "own", videos=1)
    recipe = {
        "data": {"name": "folder", "root": str(data)},
        "size": [48, 64],
        "network": {"encoder": ENCODER, "tasks": {"depth": {"decoder": {"name": "depth_unet", "stride": 4}}}},
        "streams": {"clips": {"camera": {"name": "learned"}, "frames": {"name": "fixed", "step": 1}}},
        "objectives": {"photometric": {"pose": {"encoder": ENCODER}}},
        "train": {"steps": 5, "batch": 2, "log_every": 1, "device": "cpu", "threads": 1},
        "evaluation": {"split": None},
    }
    return trained(folder, recipe)


def study(folder: Path) -> Path:
    """Three arms at several budgets, one of which says nothing of labels."""
    arms = {"plain": "supervised only", "mixed": "with ClassMix", "both": "with DepthMix and selected images"}
    cells = grid({"plain": [12, 24, 48, "all"], "mixed": [12, 24, 48], "both": [12, 24]}, [0, 1, 2])
    rise = {"plain": 0.0, "mixed": 1.5, "both": 2.5}
    records = {
        cell: {
            "arm": cell.arm,
            "budget": cell.budget,
            "seed": cell.seed,
            "miou": 44 + rise[cell.arm] + 4 * np.log2(images / 12) ** 0.5 + 0.4 * cell.seed,
            "images": images,
            "minutes": 2.0,
            "cpu_minutes": 1.5,
            "commit": "abc123",
        }
        for cell in cells
        for images in [367 if cell.budget == "all" else cell.budget]
    }
    records.pop(cells[-1])
    report = Report("Few labels on generated streets", arms, "plain", cells, records, {cells[-1]: "was stopped"})
    run = load(save_joint_run(folder / "run", STREETS, ["segmentation"], pose=False))
    predict = dict.fromkeys(arms.values(), run.predict)
    pictures = arm_pictures(STREETS, STREETS.ids("val")[:2], predict, "Labels: 12; seed 0.")
    page = render_study(report, pictures, {"date": "2026-01-02", "command": ["fathom", "study", "study.yaml"]})
    (folder / "results.html").write_text(page, encoding="utf-8")
    return folder / "results.html"


def demo(folder: Path) -> Path:
    from fathomseg.report.demo_page import render

    (folder / "report.html").write_text(render(a_page()), encoding="utf-8")
    return folder / "report.html"


PAGES: tuple[Callable[[Path], Path], ...] = (
    evaluate_labels,
    evaluate_depth,
    evaluate_joint,
    evaluate_several,
    select,
    check,
    check_streets,
    train_joint,
    train_contrastive,
    pretrain,
    study,
    demo,
)
