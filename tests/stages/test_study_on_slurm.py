"""A study through Slurm ends with the table of one on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fathomseg.stages import study as stage
from tests.parallel import fake_slurm
from tests.stages.runs import same_run


@pytest.mark.long
def test_the_table_is_that_of_local(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="needs the extra cluster")
    fake_slurm.install(tmp_path, monkeypatch)
    recipe, file = tmp_path / "tiny.yaml", tmp_path / "study.yaml"
    recipe.write_text(yaml.safe_dump(settings(streams={"labelled": {"labels": {"count": 4}}})))
    arms = {"plain": {"recipe": str(recipe)}, "quick": {"recipe": str(recipe), "settings": {"optimiser": {"lr": 0.1}}}}
    file.write_text(yaml.safe_dump({"arms": arms, "budgets": [4], "seeds": [0]}))
    for engine in ("local", "slurm"):
        assert stage.run(file, [], tmp_path / engine, None, [], False, False, engine=engine, gpus=0) == 0
    local, slurm = (cells(tmp_path / engine) for engine in ("local", "slurm"))
    assert len(local) == 2
    assert slurm == local
    assert len(list((tmp_path / "slurm" / "submitit").glob("*_result.pkl"))) == 2
    for name in ("plain-4-0", "quick-4-0"):
        same_run(tmp_path / "local" / "runs" / name, tmp_path / "slurm" / "runs" / name)


def cells(folder: Path) -> list[dict[str, Any]]:
    found = json.loads((folder / "results.json").read_text())["cells"]
    own = ("minutes", "cpu_minutes", "date", "commit")  # of each time it is trained
    return [{key: value for key, value in cell.items() if key not in own} for cell in found]
