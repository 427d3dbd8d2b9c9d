"""docs/selection.md: its settings are valid, its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from fathomseg.selection import AnyCriterion, Random
from fathomseg.selection.base import Criterion

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "selection.md").read_text(encoding="utf-8")
SETTINGS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
ADAPTER: TypeAdapter[Criterion] = TypeAdapter(AnyCriterion)


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_are_valid(text: str) -> None:
    assert ADAPTER.validate_python(yaml.safe_load(text)).name in text


def test_the_settings_of_both_are_the_defaults() -> None:
    tree = yaml.safe_load(next(text for text in SETTINGS if "name: diversity_and_difficulty" in text))
    short = {key: tree[key] for key in ("name", "features", "teacher")}
    assert ADAPTER.validate_python(tree) == ADAPTER.validate_python(short)


def test_the_example_runs() -> None:
    names: dict[str, object] = {}
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code[0], "docs", "exec", dont_inherit=True), names)
    chosen = names["chosen"]
    assert isinstance(chosen, list)
    assert len(set(chosen)) == 2


def test_the_table_names_every_criterion() -> None:
    schema = ADAPTER.json_schema()["discriminator"]["mapping"]
    assert Random().name in schema
    assert all(f"`{name}`" in TEXT for name in schema)
