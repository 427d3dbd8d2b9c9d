"""Run as a program: tiny training steps of the example parts, with the package that PYTHONPATH names."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

import fathomseg
from fathomseg.config import validate
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import FathomError
from fathomseg.inference.card import ModelCard
from fathomseg.io.outcome import last_line
from fathomseg.report.page import sections
from fathomseg.stages.evaluate import Scoring, evaluate_run
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import assert_equal, build, images, reached, scales_of_one
from tests.objectives.steps import ENCODER, UNET, make_batch, make_step, train, weighed
from tests.saved_model import save_model

STITCHED: dict[str, Any] = {
    "encoder": ENCODER,
    "tasks": {"segmentation": {"decoder": UNET}, "depth": {"decoder": UNET}},
    "links": {"name": "decoder_stitch"},
}


def a_task() -> None:
    """It is learned, alone and beside another, from the samples that have a depth alone."""
    tasks = {"segmentation": {"decoder": UNET}, "depth_bins": {"decoder": UNET, "bins": 8}}
    network = {
        "encoder": ENCODER,
        "tasks": tasks,
        "links": {"name": "padnet", "early": ["depth_bins"]},
        "norm": "frozen",
    }
    step = make_step(network, {"supervised": {"losses": {"segmentation": {}, "depth_bins": {}}}}).train()
    batch = make_batch(1, "label", "depth", count=4, rows={"depth": [1, 2]})
    terms, known = step({"labelled": batch}).terms, step.counts({"labelled": batch})
    names = ["supervised.segmentation", "supervised.depth_bins", "supervised.early_depth_bins"]
    assert list(terms) == list(known) == names
    assert all(terms[name].count == known[name] for name in names)
    assert terms["supervised.depth_bins"].count == 2 * 32 * 48
    part = step({"labelled": batch.take([1, 2])}).terms["supervised.depth_bins"]
    torch.testing.assert_close(terms["supervised.depth_bins"].sum, part.sum, rtol=1e-3, atol=1e-3)
    scales_of_one(step.network)
    weighed(step({"labelled": batch})).backward()
    assert reached(step.network) == {name for name, _ in step.network.named_parameters()}
    learns(step, {"labelled": batch}, "supervised.depth_bins")
    task = validate(NetworkConfig, network).tasks["depth_bins"]
    maps = task.map(step.network.eval()(batch.image / 255)["depth_bins"])
    assert maps.shape == (4, 1, 8, 12)
    assert set(task.decode(maps[0].detach(), (32, 48))) == {"disparity", "depth"}
    nothing = step({"labelled": make_batch(1, "label")}).terms["supervised.depth_bins"]
    assert (nothing.sum.item(), nothing.count.item()) == (0, 0)
    is_scored(validate(NetworkConfig, {"encoder": ENCODER, "tasks": {"depth_bins": tasks["depth_bins"]}}))


def is_scored(config: NetworkConfig) -> None:
    """A run of it has a page with the section of the task whose scores it has, and a number in its last line."""
    with TemporaryDirectory() as folder:
        run, data = Path(folder) / "run", Streets(size=(40, 72), frames=2, val_clips=1)
        save_model(run, ModelCard(network=config, size=(40, 72)), config.build(0, pretrained=False).state_dict())
        result = evaluate_run(run, Scoring(dataset=data, weights="ema", limit=1))
        said = (last_line() or "").partition(": ")[2].partition(";")[0]
        assert said.startswith("AbsRel ")
        assert [one.headline for one in sections(result, data)] == [said]
        page = (Path(result["folder"]) / "report.html").read_text(encoding="utf-8")
        assert re.findall(r"<h2[^>]*>\s*(Depth|Segmentation|Surface normals)", page) == ["Depth"]


def an_objective() -> None:
    """Its term goes by its name, and falls."""
    network = {"encoder": ENCODER, "tasks": {"segmentation": {"decoder": UNET}}}
    step = make_step(network, {"supervised": {"weight": 0.0}, "entropy": {"weight": 1.0}}).train()
    streams = {"labelled": make_batch(1, "label"), "unlabelled": make_batch(2)}
    result = step(streams)
    assert list(result.terms) == ["supervised.segmentation", "entropy"]
    assert step.counts(streams)["entropy"] == result.terms["entropy"].count == 2 * 32 * 48
    learns(step, streams, "entropy")


def a_link() -> None:
    """Any output alone is that of both; gradients cross; other widths are refused in words."""
    network = build(validate(NetworkConfig, STITCHED)).eval()
    image = images(2, 64, 96)
    with torch.no_grad():
        whole = network(image)
        for task in network.tasks:
            assert_equal(network(image, [task]), {task: whole[task]})
    network(image)["segmentation"].square().sum().backward()
    assert {"links.shares.3", "links.shares.2", "decoders.depth.blocks.4.join.0.weight"} <= reached(network)
    step = make_step(STITCHED, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}).train()
    learns(step, {"labelled": make_batch(1, "label", "depth")}, "supervised.depth")
    wide = {**STITCHED["tasks"], "depth": {"decoder": {**UNET, "channels": [4, 4, 4, 8, 8]}}}
    with pytest.raises(FathomError, match=r"at level 2 branches have \{'segmentation': 8, 'depth': 4\} channels"):
        validate(NetworkConfig, {**STITCHED, "tasks": wide}).build(4)


def learns(step: Any, streams: Any, term: str) -> None:
    """A few steps of gradient descent lower the mean of the term."""
    torch.manual_seed(0)
    first = step(streams).terms[term]
    for _ in range(10):
        step.zero_grad()
        train(step, streams, lr=0.05)
    last = step(streams).terms[term]
    assert last.sum / last.count < first.sum / first.count


if __name__ == "__main__":
    a_task()
    an_objective()
    a_link()
    print(fathomseg.__file__)
