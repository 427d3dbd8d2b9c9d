"""The studies in results/ are whole: no training was lost between the run and the commit, and means are theirs."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "results"


def studies() -> dict[str, dict[str, Any]]:
    """results/*.json that `fathom study` wrote, by name."""
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    return {name: tree for name, tree in read.items() if "cells_wanted" in tree}


STUDIES = studies()

GOING_ON = {
    "adapt_streets_camvid": 13,
    "adapt_streets_camvid_1600_steps": 10,
    "adapt_streets_dusk": 5,
    "depth_semantics_streets": 9,
    "sync_streets": 23,
    "sync_nyuv2": 2,
    "camvid_1600_steps": 28,
    "nyuv2_asymmetric": 16,
    "nyuv2_few_labels": 5,
}
"""Studies that are not finished yet, and how many of their trainings are; docs/results.md says so in their titles."""


@pytest.mark.parametrize("name", STUDIES)
def test_every_training_is_there_or_shown_as_failed(name: str) -> None:
    tree = STUDIES[name]
    done = {(cell["arm"], cell["budget"], cell["seed"]) for cell in tree["cells"]}
    assert len(done) == len(tree["cells"])
    assert len(done) + len(tree["failed"]) == GOING_ON.get(name, tree["cells_wanted"])
    assert name not in GOING_ON or len(done) < tree["cells_wanted"], f"{name} is finished: take it out of GOING_ON"


@pytest.mark.parametrize("name", STUDIES)
def test_the_table_is_that_of_the_trainings(name: str) -> None:
    for row in STUDIES[name]["rows"]:
        cells = [c for c in STUDIES[name]["cells"] if (c["arm"], c["budget"]) == (row["arm"], row["budget"])]
        known = [cell["miou"] for cell in cells if cell["miou"] is not None]  # not of depth alone
        assert (row["score"]["n"] if row["score"] else 0) == len(known)
        assert not known or row["score"]["mean"] == pytest.approx(statistics.mean(known), abs=1e-3)
