"""Synchronised networks through the real command line: trained, looked at, scored without their links, exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.inference.predictor import load
from fathomseg.inference.settings import Inference
from fathomseg.io.chart import COLOURS
from fathomseg.report.links import Curve, links_sections, read_curves
from tests.command import fathom
from tests.small_recipes import TRANSFORMER
from tests.typecheck import unchecked

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes" / "sync").glob("*.yaml"))
SMALL = [
    *("train.steps=2", "train.batch=2", "train.device=cpu", "train.log_every=1", "size=[64,96]", "data.size=[64,96]"),
    *("data.train_clips=1", "data.val_clips=1", "data.frames=4", "streams.labelled.labels.count=2"),
]
TINY = ["network.encoder.model=test_efficientnet", "network.encoder.pretrained=none"]


def trained(name: str, folder: Path, *settings: str) -> Path:
    path = next(path for path in RECIPES if path.stem == name)
    own = ["network.encoder.channels=6"] if "unet" in name else TRANSFORMER if "vit" in name else TINY
    fathom("train", path, *SMALL, *own, *settings, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("efficientnet-zero-conv", tmp_path_factory.mktemp("sync") / "run", "network.links.name=plain")


def test_every_recipe_is_tried_here() -> None:
    of_scenes = {"consistency-streets", "scene-streets"}  # test_scene.py
    here = {"efficientnet-zero-conv", "pretrained-then-linked", "unet-zero-conv", "video-zero-conv", "vit-zero-conv"}
    assert {path.stem for path in RECIPES} == here | of_scenes


@pytest.mark.slow
def test_links_are_logged_and_drawn(run: Path) -> None:
    curves = read_curves(run / "metrics.jsonl")
    assert set(curves) == {f"{a}_to_{b}.{i}" for a, b, maps in PAIRS for i in maps}
    assert all(curve.steps == [1, 2] for curve in curves.values())
    assert all(value > 0 for curve in curves.values() for value in (*curve.norms, *curve.shares))
    page = (run / "evaluation" / "val" / "report.html").read_text()
    assert "norm of the weights" in page
    assert all(f"{a} to {b}, map {i}" in page for a, b, maps in PAIRS for i in maps)


PAIRS = [("depth", "segmentation", (2, 3, 4)), ("segmentation", "depth", (2, 3, 4))]


def test_a_log_without_links_has_no_section(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "kind": "train", "supervised": 1.0}) + "\n")
    assert links_sections(tmp_path / "metrics.jsonl") == []
    assert links_sections(tmp_path / "none.jsonl") == []
    lines = [{"step": s, "kind": "train", "links.a_to_b.1.norm": s, "links.a_to_b.1.share": s / 50} for s in (1, 5)]
    lines.insert(1, {"step": 3, "kind": "val", "links.a_to_b.1.norm": 9})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_curves(tmp_path / "metrics.jsonl") == {"a_to_b.1": Curve([1, 5], [1, 5], [0.02, 0.1])}
    [section] = links_sections(tmp_path / "metrics.jsonl")
    assert (section.headline, section.cards[0].value) == ("links up to 10.0 %", "10.0")
    assert COLOURS[0] in section.shown["picture"], "as in the plots of studies"


@pytest.mark.slow
def test_links_off(run: Path, tmp_path: Path) -> None:
    """Scores in a folder of their own, predictions of the two networks alone."""
    fathom("evaluate", run, "--links", "off", "--weights", "ema")
    scores = {
        name: json.loads((run / "evaluation" / name / "scores.json").read_text()) for name in ("val", "val-links-off")
    }
    assert scores["val"]["inference"]["links"]
    assert not scores["val-links-off"]["inference"]["links"]
    assert scores["val"]["scores"]["ema"] != scores["val-links-off"]["scores"]["ema"]
    assert "links off" in (run / "evaluation" / "val-links-off" / "report.html").read_text()
    on, off = (load(run, device="cpu", inference=Inference(links=links)) for links in (True, False))
    image = torch.randint(256, (1, 3, 64, 96), dtype=torch.uint8)
    network = off.network
    with_links, without = on.maps(image), off.maps(image)
    assert not torch.equal(with_links["depth"], without["depth"])
    assert network.links.on, "the network is left as it was"
    for parameter in network.links.parameters():
        torch.nn.init.zeros_(parameter)
    off.inference = Inference()
    assert torch.equal(off.maps(image)["depth"], without["depth"])


@pytest.mark.slow
def test_links_off_where_there_are_none_or_by_another_word(run: Path) -> None:
    failed = CliRunner().invoke(app, ["evaluate", str(run), "--links", "no"])
    assert failed.exit_code != 0
    assert "give on or off" in str(failed.exception) + failed.output


@pytest.mark.slow
def test_a_diffusion_unet_pair(tmp_path: Path) -> None:
    run = trained("unet-zero-conv", tmp_path / "run")
    curves = read_curves(run / "metrics.jsonl")
    assert {name.rpartition(".")[2] for name in curves} == {"1", "2", "3"}
    assert all(curve.norms[0] == 0 < curve.norms[1] for curve in curves.values()), "closed, then opening"


@pytest.mark.slow
def test_depth_from_video_beside_classes_from_labels(tmp_path: Path) -> None:
    run = trained("video-zero-conv", tmp_path / "run")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["photometric"] > 0
    assert last["supervised.segmentation"] > 0
    assert all(curve.norms[0] == 0 < curve.norms[1] for curve in read_curves(run / "metrics.jsonl").values())


@pytest.mark.slow
def test_a_pair_of_transformers(tmp_path: Path) -> None:
    """Their maps have one resolution; all but the last are linked."""
    curves = read_curves(trained("vit-zero-conv", tmp_path / "run") / "metrics.jsonl")
    assert set(curves) == {f"{a}_to_{b}.{i}" for a, b, _ in PAIRS for i in (1, 2, 3)}
    assert all(curve.norms[0] == 0 < curve.norms[1] for curve in curves.values())


@pytest.mark.slow
def test_pretrained_then_linked(tmp_path: Path) -> None:
    phases = ['phases={alone: ["network.links.name=none"], linked: ["train.steps=1", "optimiser.lr=1e-9"]}']
    run = trained("pretrained-then-linked", tmp_path / "run", *phases)
    alone, linked = (load_file(run / phase / "model.safetensors") for phase in ("alone", "linked"))
    assert {name for name in linked if name not in alone} == {name for name in linked if name.startswith("links.")}
    weights = [name for name in alone if name.endswith("weight")]
    assert all(torch.allclose(alone[name], linked[name], atol=1e-6) for name in weights)


@pytest.mark.slow
def test_a_run_for_each_task_by_the_names_of_phases(tmp_path: Path) -> None:
    one = "network.links.name=none"
    phases = {
        "depth": [one, "network.tasks={depth: {decoder: {name: depth_unet, stride: 4, norms: true}}}"],
        "classes": [one, "init_from=null", "network.tasks={segmentation: {decoder: {name: fpn}}}"],
        "linked": ["init_from={tasks: {depth: {run: depth}, segmentation: {run: classes}}}", "optimiser.lr=1e-9"],
    }
    phases["depth"].append("objectives={supervised: {stream: [labelled, everything], losses: {depth: {}}}}")
    phases["classes"].append("objectives={supervised: {losses: {segmentation: {}}}}")
    phases["classes"].append("streams={labelled: {labels: {count: 2}}}")
    run = trained("pretrained-then-linked", tmp_path / "run", f"phases={json.dumps(phases)}")
    weights = {phase: load_file(run / phase / "model.safetensors") for phase in phases}
    for phase, task in (("depth", "depth"), ("classes", "segmentation")):
        name = "conv_stem.weight"
        theirs, ours = weights[phase][f"encoders.shared.net.{name}"], weights["linked"][f"encoders.{task}.net.{name}"]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.long
def test_export(run: Path, tmp_path: Path) -> None:
    """The exported pair is PyTorch's; its links cannot be switched off."""
    pytest.importorskip("onnxscript", reason="needs the extra `export`")
    with unchecked():  # symbolic sizes are no ints
        fathom("export", run, tmp_path / "pair.onnx")
        fathom("export", run, tmp_path / "depth.onnx", "--tasks", "depth")
    image = torch.randint(256, (1, 3, 64, 96), dtype=torch.uint8)
    found, expected = load(tmp_path / "pair.onnx").maps(image), load(run, device="cpu").maps(image)
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=1e-4, atol=1e-4)
    failed = CliRunner().invoke(app, ["evaluate", str(tmp_path / "pair.onnx"), "--links", "off"])
    assert failed.exit_code != 0
