"""docs/depth-sources.md: its settings are valid, its Python runs, its own source works like the others."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.depth_sources import AnyDepthSource, prepare
from fathomseg.depth_sources.base import DepthSource
from tests.fakes import make_camvid
from tests.typecheck import unchecked

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "depth-sources.md").read_text(encoding="utf-8")
SETTINGS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_are_valid(text: str) -> None:
    adapter: TypeAdapter[DepthSource] = TypeAdapter(AnyDepthSource)
    assert adapter.validate_python(yaml.safe_load(text)).name in text


def test_the_example_runs() -> None:
    names: dict[str, object] = {}
    exec(compile(CODE[0], "docs", "exec", dont_inherit=True), names)
    disparity = names["disparity"]
    assert disparity.values.shape == (48, 96)  # type: ignore[attr-defined]
    assert disparity.values.max() == 1  # type: ignore[attr-defined]


def test_a_source_of_ones_own(tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "own_source"}
    exec(compile(CODE[1], "docs", "exec", dont_inherit=True), names)
    data = CamVid(root=make_camvid(tmp_path / "data"))
    id = data.ids("train")[0]
    with unchecked():
        values = prepare(names["LowerIsNearer"](), data, [id], (24, 32), tmp_path / "cache").read(id).values  # type: ignore[operator]
    assert (np.diff(values[:, 5]) >= 0).all()
    assert values[0].max() == 0
    assert values[-1].min() == 1
