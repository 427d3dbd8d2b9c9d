"""A study on a Ray cluster that loses a node ends with the numbers of trainings that were never disturbed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fathomseg.config import load
from fathomseg.stages import study as stage
from fathomseg.stages.study_config import Study
from fathomseg.stages.train import train
from fathomseg.training.recipe import Recipe
from tests.parallel.clusters import two_nodes
from tests.stages.runs import same_run


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_six_cells_while_a_node_is_killed(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    recipe, file, out = tmp_path / "tiny.yaml", tmp_path / "study.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(settings(streams={"labelled": {"labels": {"count": 4}}})))
    arms = {"plain": {"recipe": str(recipe)}, "quick": {"recipe": str(recipe), "settings": {"optimiser": {"lr": 0.1}}}}
    file.write_text(yaml.safe_dump({"arms": arms, "budgets": [4], "settings": {"train": {"save_every": 1}}}))
    killed = threading.Event()

    with two_nodes() as (cluster, second):

        def kill() -> None:
            end = time.monotonic() + 200
            while len(list(out.glob("runs/*/checkpoint.pt"))) < 2 and time.monotonic() < end:
                time.sleep(0.01)
            cluster.remove_node(second, allow_graceful=False)
            killed.set()

        killer = threading.Thread(target=kill)
        killer.start()
        code = stage.run(file, [], out, None, [], False, False, engine="ray")
        killer.join()
    assert killed.is_set()
    assert code == 0
    cells = json.loads((out / "results.json").read_text())["cells"]
    assert len(cells) == 6
    resumed = [path for path in (out / "cells").glob("*.log") if "--resume" in path.read_text()]
    assert resumed, "no training was on the node that was killed"
    study = load(Study, file)
    for cell in study.cells():
        if any(path.stem == str(cell) for path in resumed) or cell.seed == 2:  # the rest would only cost time
            alone = tmp_path / "alone" / str(cell)
            train(load(Recipe, recipe, study.overrides(cell)), alone, resume=False)
            same_run(out / "runs" / str(cell), alone)
