"""Every recipe trains two steps through the real command line, on fake data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.config import load
from fathomseg.training.recipe import Recipe
from tests import fakes
from tests.command import fathom
from tests.small_recipes import distilled
from tests.stages.saved_run import save_depth_run

ROOT = Path(__file__).resolve().parent.parent
SELECTIONS = sorted((ROOT / "recipes").glob("select-*.yaml"))
RECIPES = sorted(set((ROOT / "recipes").glob("*.yaml")) - set(SELECTIONS))
MAKERS: dict[str, Callable[[Path], Path]] = {
    "camvid": lambda folder: fakes.make_camvid(folder, size=(48, 64)),
    "idd_lite": lambda folder: fakes.make_idd_lite(folder),
    "cityscapes": lambda folder: fakes.make_cityscapes(folder),
    "folder": lambda folder: fakes.make_folder(folder, videos=1),
    "kitti": lambda folder: fakes.make_kitti(folder),
}
# Two steps of the recipe as it is, only smaller: no hub (encoders start at random), resnet18 for resnet101 (whose
# network tests/models builds), small images, one label.
SMALL = ["train.steps=2", "train.device=cpu", "train.threads=1", "evaluation.report=false", "size=[64,96]"]


VERBS = ("fathom train ", "fathom pretrain ", "fathom select ")


def command(path: Path) -> list[str]:
    """The words after `fathom` of the command a recipe begins with."""
    head = [line.lstrip("# ").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return next(line for line in head if line.startswith(VERBS)).split()[1:]


def test_a_teacher_of_large_images_is_shown_large_images() -> None:
    path = ROOT / "recipes" / "depth-distil-streets.yaml"
    words = next(line for line in path.read_text().splitlines() if "fathom pretrain" in line).split()[3:]
    teacher = load(Recipe, ROOT / words[0], [word for word in words[1:] if "=" in word])
    student = load(Recipe, path)
    assert student.data.size == teacher.data.size == teacher.size  # type: ignore[union-attr]
    assert student.size < teacher.size


def small(path: Path, folder: Path) -> list[str]:
    """The settings that make a recipe small, its fake data in `folder` included."""
    tree = yaml.safe_load(path.read_text())
    depth, data = command(path)[0] == "pretrain", tree["data"]["name"]
    settings = list(SMALL)
    if data in MAKERS:
        settings.append(f"data.root={MAKERS[data](folder)}")
    else:
        settings += ["data.size=[64,96]", "data.val_clips=1", f"data.frames={5 if depth else 2}"]
        settings += [f"data.train_clips={1 if depth else 2}"]
    if depth:
        pose, frames = tree["objectives"]["photometric"].get("pose", {}), tree["streams"]["clips"]["frames"]
        settings += ["objectives.photometric.pose.encoder.pretrained=none"] if "encoder" in pose else []
        # The fakes' frames slide by, which is how a turn of the camera looks.
        still = frames["name"] == "motion" and data != "streets"
        settings += ["streams.clips.frames.min_parallax=0"] if still else []
    elif "labelled" in tree["streams"]:
        settings.append("streams.labelled.labels.count=1")
    teacher: dict[str, object] = {"name": "streets", "size": [64, 96]}
    for name, stream in tree["streams"].items():
        if "run" in stream.get("depth", {}):
            settings.append(f"streams.{name}.depth.run={save_depth_run(folder / 'teacher', teacher)}")
            if stream["depth"].get("normalise", {}).get("over") == "none":  # the range of that run's depth
                settings += ["network.tasks.depth.min_depth=0.5", "network.tasks.depth.max_depth=50"]
        for task in stream.get("distilled", {}):
            settings.append(f"streams.{name}.distilled.{task}.folder={distilled(path, folder, folder.parent)}")
            settings.append("objectives.semantic_guidance.min_confidence=0")  # a random teacher is sure of nothing
        if "crop" in stream.get("geometry", {}):
            settings.append(f"streams.{name}.geometry.crop=[64,64]")
        if (own := stream.get("data", {}).get("name")) in MAKERS:
            settings.append(f"streams.{name}.data.root={MAKERS[own](folder / name)}")
            settings += [f"streams.{name}.size=[64,96]", f"streams.{name}.frames.min_parallax=0"]
        elif own == "streets":
            settings += [f"streams.{name}.data.{each}" for each in ("size=[64,96]", "train_clips=2", "frames=2")]
    if "init_from" in tree:
        settings.append(f"init_from.run={trained('depth-kitti', folder / 'before')}")
    if "encoder" in tree.get("network", {}):
        settings.append("network.encoder.pretrained=none")
        model = tree["network"]["encoder"].get("model", "")
        if model.startswith("vit"):
            settings.append("network.encoder.model=test_vit")
        elif model == "resnet101":
            settings.append("network.encoder.model=resnet18")
    for name, changes in tree.get("phases", {}).items():
        settings.append(f"phases.{name}={json.dumps([*changes, 'train.steps=2'])}")
    return settings


def trained(name: str, folder: Path) -> Path:
    """The run of another recipe that one begins with."""
    path, run = ROOT / "recipes" / f"{name}.yaml", folder / "run"
    fathom(command(path)[0], str(path), *small(path, folder / "data"), "--out", str(run))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_two_steps(path: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    verb = command(path)[0]
    fathom(verb, str(path), *small(path, tmp_path / "data"), "--out", str(run))
    tree = yaml.safe_load(path.read_text())
    for folder in (run, *(run / phase for phase in tree.get("phases", {}))):
        assert (folder / "model.safetensors").is_file()
        assert (folder / "pose.safetensors").is_file() == ("photometric" in tree["objectives"])
    scored = verb == "train" or tree["data"]["name"] == "streets"  # the other videos have no depth held out
    assert (run / "evaluation" / "val" / "scores.json").is_file() == scored
    if "distilled" in tree["streams"].get("clips", {}):
        assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["semantic_guidance.known"] > 0
    learned = tree["streams"].get("clips", {}).get("camera", {}).get("name") == "learned"
    assert [p.name for p in run.glob("camera-*.yaml")] == (["camera-clips-32x24.yaml"] if learned else [])


@pytest.mark.slow
@pytest.mark.parametrize("path", SELECTIONS, ids=lambda p: p.stem)
def test_every_selection_chooses_three_images(path: Path, tmp_path: Path) -> None:
    """As it is, only smaller: a depth run of random weights, one student of two steps."""
    tree = yaml.safe_load(path.read_text())
    settings = ["budget=3", "device=cpu", "threads=1", "size=[32,64]"]
    if tree["data"]["name"] == "streets":
        settings += ["data.size=[32,64]", "data.train_clips=2", "data.frames=3"]
    elif tree["data"]["name"] == "folder":  # some have a label and are left out
        settings.append(f"data.root={fakes.make_folder(tmp_path / 'data', labelled=4)}")
    else:
        settings.append(f"data.root={MAKERS[tree['data']['name']](tmp_path / 'data')}")
    if tree["criterion"]["name"] == "diversity_and_difficulty":
        run = save_depth_run(tmp_path / "depth", {"name": "streets"}, pose=False)
        settings += [f"criterion.features.run={run}", f"criterion.teacher.run={run}", "criterion.first_stage=2"]
        student = {"steps": 2, "network": {"encoder": {"pretrained": "none"}}}
        settings.append(f"criterion.student={json.dumps(student)}")
    else:
        settings.append("criterion.features.encoder.pretrained=none")
    fathom("select", str(path), *settings, "--out", str(tmp_path / "out"))
    assert len((tmp_path / "out" / "selection.txt").read_text().split()) == 3
    assert len(list((tmp_path / "out" / "stages").glob("*"))) == (
        tree["criterion"]["name"] == "diversity_and_difficulty"
    )


@pytest.mark.parametrize("path", RECIPES + SELECTIONS, ids=lambda p: p.stem)
def test_a_recipe_begins_with_its_command(path: Path) -> None:
    assert command(path)[1] == f"recipes/{path.name}"


@pytest.mark.parametrize("name", ["depth-kitti", "own-data/depth"])
def test_a_depth_recipe_names_the_data_to_check(name: str, tmp_path: Path) -> None:
    path = ROOT / "recipes" / f"{name}.yaml"
    data = MAKERS[yaml.safe_load(path.read_text())["data"]["name"]](tmp_path / "data")
    done = CliRunner().invoke(app, ["check", "--data", str(path), f"data.root={data}", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    splits = json.loads(done.stdout)["splits"]
    assert max(split["with_neighbours"] for split in splits.values()) > 0
