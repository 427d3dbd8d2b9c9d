"""Every recipe of NYU Depth v2 trains two steps through the real command line, on fake files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests import fakes
from tests.command import fathom
from tests.small_recipes import SMALL

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted(path for path in (ROOT / "recipes" / "nyuv2").glob("*.yaml") if path.stem != "distilled")
"""distilled.yaml needs teachers: tests/docs/test_every_command.py runs it as its page does."""


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_trains_two_steps(path: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(path.read_text())
    settings = [*SMALL, "train.steps=2", "evaluation.report=false", f"data.root={fakes.make_nyuv2(tmp_path / 'nyuv2')}"]
    settings.append("network.encoder.pretrained=none")
    settings += ["streams.labelled.labels.count=2"] if "labels" in tree["streams"]["labelled"] else []
    fathom("train", str(path), *settings, "--out", str(tmp_path / "run"))
    scores = json.loads((tmp_path / "run" / "evaluation" / "val" / "scores.json").read_text())["scores"]["ema"]
    assert set(scores) == set(tree["network"]["tasks"])
