"""Scores are read by task, whatever a run was scored on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fathomseg.study.folder import scores, scores_file


@pytest.mark.parametrize("found", [{"segmentation": {"miou": 0.5}}, {"depth": {"median": {"abs_rel": 0.125}}}])
def test_scores_by_task(found: object, tmp_path: Path) -> None:
    path = scores_file(tmp_path, "val")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"scores": {"ema": found, "last": {"segmentation": {"miou": 0.25}}}}))
    assert scores(tmp_path, "val") == found
    assert scores(tmp_path, "val", "last") == {"segmentation": {"miou": 0.25}}


def test_a_run_that_was_scored_on_no_task_has_none(tmp_path: Path) -> None:
    """Camera motion alone, of clips with poses and nothing else."""
    path = scores_file(tmp_path, "val")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"scores": {}, "motion": {"all": {}}}))
    assert scores(tmp_path, "val") == scores(tmp_path, "val", "last") == {}
