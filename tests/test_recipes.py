"""Every recipe trains two steps through the real command line, on fake data; the README's commands work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fathomseg.cli import app
from tests import fakes

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
MAKERS: dict[str, Callable[[Path], Path]] = {
    "camvid": lambda folder: fakes.make_camvid(folder, size=(48, 64)),
    "idd_lite": lambda folder: fakes.make_idd_lite(folder),
    "cityscapes": lambda folder: fakes.make_cityscapes(folder),
    "folder": lambda folder: fakes.make_folder(folder),
}
# Two steps of the recipe as it is, only smaller: no hub (resnet101 starts at random), small images, one label.
SMALL = ["train.steps=2", "train.device=cpu", "train.threads=1", "labels.count=1", "evaluation.report=false"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_trains_two_steps(path: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(path.read_text())
    settings = [*SMALL, "size=[64,96]"]
    if tree["data"]["name"] in MAKERS:
        settings.append(f"data.root={MAKERS[tree['data']['name']](tmp_path / 'data')}")
    else:
        settings += ["data.size=[64,96]", "data.val_clips=1", "data.frames=2"]
    if "crop" in tree.get("learner", {}).get("geometry", {}):
        settings.append("learner.geometry.crop=[64,64]")
    if "encoder" in tree.get("network", {}):
        settings.append("network.encoder.pretrained=none")
    done = CliRunner().invoke(app, ["train", str(path), *settings, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "evaluation" / "val" / "scores.json").is_file()


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_begins_with_its_command(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    commands = [line.lstrip("# ").strip() for line in head if line.lstrip("# ").startswith("fathom train")]
    assert commands
    assert commands[0].split()[2] == f"recipes/{path.name}"


def fathom_commands(page: Path) -> list[str]:
    """The `fathom ...` lines of the shell blocks of a page, without their comments."""
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.split(" #")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("fathom ")]


def test_the_readme_commands_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, in one folder laid out as the README says; only the training is cut to two steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    fakes.make_camvid(tmp_path / "data" / "camvid", train=30, size=(48, 64))
    fakes.make_folder(tmp_path / "mydata")
    commands = fathom_commands(ROOT / "README.md")
    assert len(commands) >= 6, "the README should show the main commands"
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "demo":
            continue  # its own test
        if words[0] == "train" and "--resume" not in words:
            words += ["train.steps=2", "size=[48,64]", "train.device=cpu"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (command, done.output, done.exception)
