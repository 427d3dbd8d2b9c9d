from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fathomseg.config import validate
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.held_out import HeldOut
from fathomseg.data.motion import Triplet
from fathomseg.data.video_stream import write_triplets
from fathomseg.io.files import write_config
from fathomseg.training.recipe import Recipe
from fathomseg.training.warnings import seen_by, tell_seen_before
from tests import fakes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fakes.make_folder(tmp_path / "own", images=4, clips=2, frames=3)


@pytest.fixture
def depth(root: Path, tmp_path: Path) -> Path:
    """What is left of a run that has learned depth from both drives, in a phase."""
    tree = {
        "data": {"name": "folder", "root": str(root)},
        "size": [24, 32],
        "network": {"tasks": {"depth": {}}},
        "streams": {"clips": {}},
        "objectives": {"photometric": {}},
        "phases": {"a": [], "b": []},
    }
    run = tmp_path / "depth"
    (run / "a").mkdir(parents=True)
    write_config(validate(Recipe, tree), run / "config.yaml")
    drives = [[f"clips/drive{clip}/{i:06d}" for i in (1, 0, 2)] for clip in range(2)]
    write_triplets(run / "a" / "frames-clips.csv", [Triplet(*drive) for drive in drives])
    return run


def scene(root: Path, depth: Path, val: list[str]) -> Recipe:
    """A training that asks the run about scenes."""
    tree = {
        "data": {"name": "folder", "root": str(root), "val": val},
        "size": [24, 32],
        "network": {"tasks": {"segmentation": {}, "depth": {}}},
        "objectives": {
            "supervised": {"losses": {"segmentation": {}, "depth": {}}},
            "scene_consistency": {"run": depth},
        },
    }
    return validate(Recipe, tree)


def later(root: Path, depth: Path, val: list[str]) -> Recipe:
    tree = {"data": {"name": "folder", "root": str(root), "val": val}, "size": [24, 32], "init_from": {"run": depth}}
    return validate(Recipe, tree)


@pytest.mark.parametrize("recipe", [later, scene])
def test_a_drive_held_out_afterwards_is_told(
    root: Path, depth: Path, recipe: Callable[..., Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    tell_seen_before(recipe(root, depth, ["clips/drive1/*"]))
    said = " ".join(capsys.readouterr().err.split())
    assert "depth has learned from 3 images that are held out now, for example clips/drive1/000001" in said
    assert "train it again" in said


def test_what_it_has_not_seen_is_not(root: Path, depth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_seen_before(later(root, depth, ["images/000", "images/001"]))
    assert capsys.readouterr().err == ""


def test_what_cannot_be_told_is_said(root: Path, depth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of an older version, whose settings there are no more."""
    assert len(seen_by(depth, HeldOut.of(Folder(root=root, val="clips/drive1/*")))) == 3
    with (depth / "config.yaml").open("a") as file:
        file.write("gone: 1\n")
    tell_seen_before(later(root, depth, ["clips/drive1/*"]))
    said = " ".join(capsys.readouterr().err.split())
    assert "depth has learned from images that are held out now cannot be told" in said
    assert "gone" in said


def test_blanks_of_an_id_count(root: Path, depth: Path) -> None:
    fakes.save(root / "images" / " a .png", fakes.scene(0, (24, 32), 3)[0])
    (depth / "a" / "clips.txt").write_text("images/ a \n")
    assert seen_by(depth, HeldOut.of(Folder(root=root, val="images/?a?"))) == ["images/ a "]
