"""`fathom distill` and a training on what it wrote, through the real command line, on the generated streets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fathomseg.config import load
from fathomseg.distillation.provenance import read_provenance
from fathomseg.engine import loop
from fathomseg.errors import FathomError
from fathomseg.stages.train import train
from fathomseg.training.recipe import Recipe
from tests.command import fathom
from tests.distillation.teachers import make_run
from tests.stages.runs import metrics, same_run

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "realtime-joint.yaml"
SHOWN = [
    *("data.size=[32,64]", "data.train_clips=1", "data.val_clips=1", "data.frames=6"),
    *("streams.labelled.labels.count=2", "evaluation.split=null"),
]
"""What a distillation takes of a recipe's settings."""
SMALL = [
    *SHOWN,
    *("train.steps=4", "train.batch=3", "train.device=cpu", "train.save_every=1", "train.log_every=1"),
    *("size=[32,64]", "network.encoder={model: test_efficientnet, pretrained: none}", "network.norm=frozen"),
]


@pytest.mark.slow
def test_a_student_learns_from_truth_and_from_the_teacher_and_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = load(Recipe, RECIPE, SMALL).data.classes.names
    teacher = make_run(tmp_path / "teacher", classes)
    out = tmp_path / "labels"
    said = fathom("distill", teacher, RECIPE, *SHOWN, "--task", "segmentation", "--out", out, "--soft", "--flip")
    assert "segmentation of 4 of 6 images" in said
    assert len(read_provenance(out).images) == 4
    assert "streets" in (out / "provenance.json").read_text()
    assert "All 6 images" in fathom("distill", teacher, RECIPE, *SHOWN, "--task", "depth", "--out", tmp_path / "no")

    how = {"weight": 0.5, "soft": True, "weigh": True, "min_confidence": 0.01}
    taught = [
        f"streams.measured.distilled.segmentation.folder={out}",
        "objectives.metric.losses.segmentation={}",
        f"objectives.metric.distilled.segmentation={yaml.safe_dump(how, default_flow_style=True).strip()}",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fathom("train", RECIPE, *SMALL, *taught, "--out", whole)
    names = {name for line in metrics(whole) for name in line}
    assert {"supervised.segmentation", "metric.segmentation", "metric.segmentation_distilled", "metric.depth"} <= names
    assert any(line.get("metric.segmentation_distilled", 0) > 0 for line in metrics(whole))
    assert len((whole / "labelled.txt").read_text().splitlines()) == 2

    class Stopped(Exception):
        pass

    saved, calls = loop.save_checkpoint, []

    def stop_after_two(folder: Path, state: dict[str, Any]) -> None:
        saved(folder, state)
        calls.append(folder)
        if len(calls) == 2:
            raise Stopped

    monkeypatch.setattr(loop, "save_checkpoint", stop_after_two)
    with pytest.raises(Stopped):
        train(load(Recipe, RECIPE, [*SMALL, *taught]), cut, resume=False)
    monkeypatch.undo()
    assert len(metrics(cut)) < len(metrics(whole))
    fathom("train", "--resume", cut)
    same_run(whole, cut)

    relative = make_run(tmp_path / "relative", classes, output="disparity", tasks=("segmentation", "depth"))
    metres = tmp_path / "depth"
    fathom("distill", relative, RECIPE, *SHOWN, "--task", "depth", "--all", "--out", metres)
    assert read_provenance(metres).unit == "relative"
    wrong = [f"streams.measured.distilled.depth.folder={metres}", "objectives.metric.distilled={depth: {}}"]
    with pytest.raises(FathomError, match="does not know metres"):
        train(load(Recipe, RECIPE, [*SMALL, *wrong]), tmp_path / "wrong", resume=False)
