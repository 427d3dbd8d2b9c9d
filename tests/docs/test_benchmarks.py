"""Benchmarks that pages print: they start, know what is given to them, and their tables are of what they say."""

from __future__ import annotations

import json
import re
import runpy
import sys

import pytest

from fathomseg.named_recipes import listed
from tests.docs.markdown import ROOT
from tests.docs.test_every_command import STAND_INS

PRINTED = [command for command in STAND_INS if "benchmarks/" in command]
SCRIPTS = {"memory.py", "networks.py", "scaling.py", "train_step.py"}


def test_no_other_is_printed() -> None:
    assert {match[1] for text in PRINTED if (match := re.search(r"benchmarks/(\S+)", text))} == SCRIPTS


@pytest.mark.slow
@pytest.mark.parametrize("command", PRINTED)
def test_it_starts_and_knows_its_options(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, *options = command.removeprefix("python ").split()
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    said = capsys.readouterr().out
    assert [option for option in options if option not in said] == []


def test_every_recipe_that_trains_is_estimated() -> None:
    tree = json.loads((ROOT / "results" / "memory_estimate.json").read_text(encoding="utf-8"))
    known = {one.name for one in listed() if one.verb in ("train", "pretrain")}
    assert set(tree["recipes"]) | set(tree["left_out"]) == known
    assert len(tree["recipes"]) >= 0.9 * len(known)
    for name, one in tree["recipes"].items():
        assert one["memory_gib"] > 0, name
        assert one["images_per_s"] > 0, name


@pytest.mark.slow
def test_the_estimate_of_a_recipe_counts_its_network() -> None:
    """Of weights, gradient, average and Adam's moments 20 bytes a parameter are certain."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "memory.py"))
    found = benchmark["estimate"](ROOT / "recipes" / "streets.yaml", 30.0, 500.0, 2)
    tree = json.loads((ROOT / "results" / "memory_estimate.json").read_text(encoding="utf-8"))
    assert found == tree["recipes"]["streets"]
    assert found["memory_gib"] > 20 * found["parameters_m"] * 1e6 / 2**30 - 0.05
