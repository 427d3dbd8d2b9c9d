"""Benchmarks that pages print: they start, know what is given to them, and their tables are of what they say."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.named_recipes import listed
from tests import fakes
from tests.docs.markdown import ROOT
from tests.docs.test_every_command import STAND_INS
from tests.fakes import write_yaml
from tests.stages.saved_run import save_run

PRINTED = [command for command in STAND_INS if "benchmarks/" in command]
SCRIPTS = {"memory.py", "networks.py", "scaling.py", "train_step.py"}


def test_no_other_is_printed() -> None:
    assert {match[1] for text in PRINTED if (match := re.search(r"benchmarks/(\S+)", text))} == SCRIPTS


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_it_imports_is_there(path: Path) -> None:
    """Names inside functions, too: those of a script that is run once a year are missed by everything else."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"fathomseg", "tests"}:
            module = importlib.import_module(node.module or "")
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), f"{node.module} has no {name}"


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


def called(script: str, out: Path, *words: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a benchmark writes."""
    monkeypatch.setattr(sys, "argv", [script, *words, "--out", str(out)])
    runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
    return json.loads(out.read_text())


def test_one_dataset_with_two_settings_has_two_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [f"root={fakes.make_camvid(tmp_path / name, train=2, val=1, size=(8, 12))}" for name in "ab"]
    words = ["8,12", "camvid", roots[0], "--with", "camvid", roots[1]]
    found = called("class_regions.py", tmp_path / "out.json", *words, monkeypatch=monkeypatch)
    assert list(found["datasets"]) == [f"camvid {root}" for root in roots]
    for label in (tmp_path / "b" / "trainannot").iterdir():
        label.unlink()
    with pytest.raises(SystemExit, match="No image in train of camvid has a label"):
        called("class_regions.py", tmp_path / "none.json", *words, monkeypatch=monkeypatch)


def test_runs_of_one_name_have_rows_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By drive as the dataset knows it: by the names of CamVid."""
    root = fakes.make_camvid(tmp_path / "camvid", train=2, val=2, size=(24, 32))
    data: dict[str, object] = {"name": "camvid", "root": str(root)}
    runs = [save_run(tmp_path / name / "run", CamVid(root=root).classes, data) for name in "ab"]
    for run in runs:
        tree = {
            "network": {"tasks": {"segmentation": {}}},
            "streams": {"labelled": {}},
            "objectives": {"supervised": {}},
        }
        write_yaml(run / "config.yaml", {"data": data, "size": [24, 32], **tree})
    found = called("by_drive.py", tmp_path / "out.json", *map(str, runs), monkeypatch=monkeypatch)
    assert {run: set(rows) for run, rows in found["runs"].items()} == {str(run): {"0016E5", "all"} for run in runs}
    for label in (root / "valannot").iterdir():
        label.unlink()
    with pytest.raises(SystemExit, match="No image in val of camvid has a label"):
        called("by_drive.py", tmp_path / "none.json", str(runs[0]), monkeypatch=monkeypatch)


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
