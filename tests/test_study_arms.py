"""Arms of studies that no recipe shows alone, and linked networks on other data: two steps by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fathomseg.config import load
from fathomseg.data.datasets.nyuv2 import NyuV2
from fathomseg.stages.study_config import Study
from tests import fakes
from tests.command import fathom
from tests.small_recipes import ENCODER, SMALL, STREETS, pose
from tests.stages.saved_run import RANGE, save_depth_run

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
LINKED = str(RECIPES / "sync" / "efficientnet-zero-conv.yaml")


def trained(recipe: str, *settings: str, out: Path) -> dict[str, float]:
    """The largest value of everything that was logged."""
    words = ["train", recipe, *settings, *SMALL, "train.steps=2", "train.log_every=1", "evaluation.report=false"]
    fathom(*words, "--out", str(out))
    found: dict[str, float] = {}
    for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()):
        found |= {name: max(value, found.get(name, 0)) for name, value in line.items() if isinstance(value, float)}
    return found


def arm(study: str, name: str) -> tuple[str, list[str]]:
    """The recipe of an arm, where it lies, and the settings over it."""
    found = load(Study, RECIPES / "studies" / f"{study}.yaml")
    cell = next(cell for cell in found.cells() if cell.arm == name)
    return str(RECIPES.parent / found.arms[name].recipe), found.overrides(cell)


def scored(run: Path) -> set[str]:
    """The tasks that have scores."""
    return set(json.loads((run / "evaluation" / "val" / "scores.json").read_text())["scores"]["ema"])


def half_nyuv2(folder: Path) -> Path:
    """Rooms of which half have a label and the others depth."""
    root = fakes.make_nyuv2(folder)
    for number, id in enumerate(NyuV2(root=root, blocks=True).ids("train")):
        (root / ("seg40", "depth")[number % 2] / f"{id.rpartition('/')[2]}.png").unlink()
    return root


@pytest.mark.slow
def test_linked_networks_on_virtual_kitti(tmp_path: Path) -> None:
    data = f"data={{name: vkitti2, root: {fakes.make_vkitti2(tmp_path / 'data')}}}"
    logged = trained(LINKED, data, *ENCODER, "streams.labelled.labels.count=2", out=tmp_path / "run")
    assert logged["supervised.segmentation"] > 0
    assert logged["supervised_depth.depth"] > 0
    assert all(logged[f"links.{way}.2.norm"] > 0 for way in ("depth_to_segmentation", "segmentation_to_depth"))
    assert scored(tmp_path / "run") == {"segmentation", "depth"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["links", "padnet"])
def test_linked_networks_on_nyu_depth(name: str, tmp_path: Path) -> None:
    recipe, settings = arm("sync-nyuv2", name)
    settings += [*ENCODER, f"data.root={fakes.make_nyuv2(tmp_path / 'data')}", "streams.labelled.labels.count=2"]
    logged = trained(recipe, *settings, out=tmp_path / "run")
    assert ("links.depth_to_segmentation.2.norm" in logged) == (name == "links")
    assert scored(tmp_path / "run") == {"segmentation", "depth"}


@pytest.mark.slow
def test_linked_networks_where_one_stream_has_labels_of_some_images_and_depth_of_others(tmp_path: Path) -> None:
    data = f"data={{name: nyuv2, root: {half_nyuv2(tmp_path / 'data')}, blocks: true}}"
    one = ["streams={labelled: {batch: 4}}", "objectives={supervised: {losses: {segmentation: {}, depth: {}}}}"]
    trained(LINKED, data, *ENCODER, *one, out=tmp_path / "run")
    links = {k: w for k, w in load_file(tmp_path / "run" / "last.safetensors").items() if k.startswith("links.")}
    assert len(links) == 12, "weight and bias, three maps, both ways"
    assert all(weight.any() for weight in links.values()), "zero before the first step"
    streams = json.loads((tmp_path / "run" / "data.json").read_text())["streams"]
    labelled = len((tmp_path / "run" / "labelled.txt").read_text().split())
    assert 0 < labelled < streams["labelled"]["count"]


@pytest.mark.slow
def test_depth_modulated_by_classes(tmp_path: Path) -> None:
    recipe, settings = arm("depth-semantics-streets", "modulation")
    small = [*STREETS, "data.frames=8", *ENCODER, *pose({"objectives": {"photometric": {"pose": {"name": "flow"}}}})]
    logged = trained(recipe, *settings, *small, out=tmp_path / "run")
    assert logged["photometric"] > 0
    assert logged["supervised.segmentation"] > 0
    tables = {name: t for name, t in load_file(tmp_path / "run" / "model.safetensors").items() if "links." in name}
    assert "links.units.depth.scale.weight" in tables
    assert all(table.any() for table in tables.values()), "zero before the first step"
    assert scored(tmp_path / "run") == {"segmentation", "depth"}


@pytest.mark.slow
def test_depth_distilled_from_a_network_of_large_images(tmp_path: Path) -> None:
    teacher = save_depth_run(tmp_path / "teacher", {"name": "streets", "size": [64, 96]})
    recipe, settings = arm("depth-semantics-streets", "distilled")
    own = [f"streams.frames.data.{each}" for each in ("size=[64,96]", "train_clips=1", "frames=4")]
    bounds = [f"network.tasks.depth.{side}_depth={metres}" for side, metres in zip(("min", "max"), RANGE, strict=True)]
    settings += [*STREETS, *own, *ENCODER, *bounds, f"streams.frames.depth.run={teacher}"]
    assert trained(recipe, *settings, out=tmp_path / "run")["supervised.depth"] > 0
    assert scored(tmp_path / "run") == {"depth"}
