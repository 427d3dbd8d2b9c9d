"""The notebook of docs/ runs from its first cell to its last, smaller than it is printed."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.markdown import DOCS, ROOT

NOTEBOOK = json.loads((DOCS / "first-steps.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SMALLER = {
    'RECIPES = "../recipes"': f"RECIPES = {str(ROOT / 'recipes')!r}",
    "SIZE = [128, 256]": "SIZE = [32, 64]",
    "STEPS = 100": "STEPS = 2",
    '"train_clips": 12, "val_clips": 2, "frames": 4': '"train_clips": 12, "val_clips": 1, "frames": 1',
}


def execute(cell: str, names: dict[str, object]) -> object:
    """Run a cell as a notebook does: the value of its last expression is what it shows."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "notebook", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "notebook", "eval"), names)


def test_it_is_stored_without_outputs() -> None:
    assert NOTEBOOK["nbformat"] == 4
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in NOTEBOOK["cells"])
    assert all(sum(old in cell for cell in CELLS) == 1 for old in SMALLER)


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    shown = []
    for cell in CELLS:
        for old, new in SMALLER.items():
            cell = cell.replace(old, new)
        shown.append(execute(cell, names))
    assert repr(shown[1]).startswith("Run(runs/first, Scores(streets val: segmentation miou 0.")
    assert "road" in shown[2]  # type: ignore[operator]
    assert isinstance(shown[3], Image.Image)
    assert shown[3].size == (64, 32)
    assert (tmp_path / "runs/first/seen/ids/image.png").is_file()
    assert repr(shown[5]).endswith("val-flip)")
    assert repr(shown[6]).startswith("Chosen(4 images: train/")
