"""A run with a source beside its target: killed and resumed, it is the same run bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fathomseg.engine.checkpoint import load_checkpoint
from fathomseg.stages.train import train
from fathomseg.training import streams as streams_module
from tests.stages import tiny_semi
from tests.stages.runs import metrics, same_run
from tests.stages.tiny_semi import CROP, killed_and_resumed, recipe


def tree(count: int) -> dict[str, Any]:
    """Day -> dusk with everything that has to survive: an endless source, norms of its own, rare classes."""
    source = {"data": {**tiny_semi.STREETS, "endless": True}, "batch_norm": "own", **CROP}
    labelled = {"labels": {"count": count}, **CROP}
    rare = {"sampling": {"name": "rare_classes", "temperature": 0.1}} if count else {}
    return tiny_semi.settings(
        data={**tiny_semi.STREETS, "domain": "dusk"},
        streams={"source": source, "labelled": {**labelled, **rare}, "unlabelled": CROP},
        objectives={
            "supervised": {"stream": ["source", "labelled"]},
            "pseudo_labels": {"weighting": {"name": "none"}},
        },
        train={**tiny_semi.LOOP, "steps": 4},
    )


def paired() -> dict[str, Any]:
    """Day -> dusk with everything that pairs: matched geometry, DepthMix of both domains and of one, masked blocks, two
    depth heads that are compared."""
    deep = {"depth": {"name": "dataset"}, **CROP}
    matching = {"sampling": {"name": "matching_geometry", "candidates": 3}}
    depthmix = {"name": "pseudo_labels", "weighting": {"name": "none"}, "mixing": {"name": "depthmix"}}
    across = {"partner": "source", "mixing": {"name": "depthmix", "either_sign": True}, "depth_agreement": {}}
    heads = {"depth": {"decoder": "shared"}, "source_depth": {"decoder": "shared"}}
    disparity = {"target": "disparity", "weight": 0.01}
    return tiny_semi.settings(
        data={**tiny_semi.STREETS, "domain": "dusk"},
        network={
            "encoder": tiny_semi.ENCODER,
            "tasks": {"segmentation": {"decoder": {"name": "fpn", "channels": 8}, "dropout": 0.2}, **heads},
        },
        streams={"source": {"data": tiny_semi.STREETS, **deep, **matching}, "unlabelled": deep},
        objectives={
            "supervised": {"stream": "source"},
            "there": {"name": "supervised", "stream": "source", "losses": {"source_depth": disparity}},
            "here": {"name": "supervised", "stream": "unlabelled", "losses": {"depth": disparity}},
            "across": {**depthmix, **across},
            "within": {**depthmix, "masking": {}, "ego_vehicle": {"bottom": 0.2}},
        },
        train={**tiny_semi.LOOP, "steps": 4},
    )


@pytest.mark.slow
def test_a_killed_run_of_pairs_resumes_bit_for_bit(tmp_path: Path) -> None:
    train(recipe(paired()), tmp_path / "whole", resume=False)
    same_run(tmp_path / "whole", killed_and_resumed(paired(), tmp_path / "killed", 3))
    last = metrics(tmp_path / "whole")[-1]
    assert {"supervised.segmentation", "there.source_depth", "here.depth", "across", "within"} <= last.keys()
    assert last["across"] != last["within"]
    scores = json.loads((tmp_path / "whole" / "evaluation" / "val" / "scores.json").read_text())["scores"]["ema"]
    assert list(scores) == ["segmentation", "depth"], "source_depth is for training alone"


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 3])
def test_a_killed_run_resumes_bit_for_bit(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "_COUNTED", 2)
    train(recipe(tree(count)), tmp_path / "whole", resume=False)
    same_run(tmp_path / "whole", killed_and_resumed(tree(count), tmp_path / "killed", 3))
    last = metrics(tmp_path / "whole")[-1]
    assert last["supervised@source.segmentation"] > 0
    assert ("supervised@labelled.segmentation" in last) == (count > 0)
    state = load_checkpoint(tmp_path / "whole")["step_module"]
    own = {name for name in state if name.startswith("own_norms.source.")}
    assert bool(own), "without target labels the pseudo-labels still run the target through the network"
