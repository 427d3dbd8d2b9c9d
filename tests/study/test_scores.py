"""Scores are read by task, whatever a run was scored on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fathomseg.study.scores import scores, scores_file

SEGMENTATION, DEPTH = {"miou": 0.5}, {"median": {"abs_rel": 0.125}}


@pytest.mark.parametrize("stored", [{"segmentation": SEGMENTATION, "depth": DEPTH}, {"depth": DEPTH}])
def test_scores_by_task(stored: object, tmp_path: Path) -> None:
    path = scores_file(tmp_path, "val")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"scores": {"ema": stored, "last": {"segmentation": {"miou": 0.25}}}}))
    assert scores(tmp_path, "val") == stored
    assert scores(tmp_path, "val", "last") == {"segmentation": {"miou": 0.25}}
