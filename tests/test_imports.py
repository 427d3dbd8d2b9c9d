"""The direction of imports: nothing imports upward, learners stay apart, the loop knows no segmentation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "fathomseg"

LEVELS = [
    {"errors", "config", "files"},
    {"types"},
    {"geometry", "trajectory"},
    {"data", "models", "losses", "mixing", "strong", "metrics", "depth_metrics", "draw", "film"},
    {"depth_files"},
    {
        "predictor",
        "depth_predictor",
        "scoring",
        "depth_scoring",
        "motion_scoring",
        "stored",
        "stored_depth",
        "learners",
        "engine",
        "depth_sources",
        "selection",
    },
    {"report", "study", "demo"},
    {"stages"},
    {"cli"},
]
"""Rooms from the ground up; a room may import its own level and those before it; docs/architecture.md draws them."""

LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


def imported(path: Path) -> set[str]:
    """Every fathomseg module a file imports, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: use absolute imports"
    return {name.removeprefix("fathomseg.") for name in names if name.startswith("fathomseg.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_imports_upward(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert room in LEVEL, f"{room} is in no level: add it to LEVELS and to docs/architecture.md"
    for name in imported(path):
        other = name.split(".")[0]
        if other in LEVEL:
            assert LEVEL[other] <= LEVEL[room], f"{path.name} ({room}) imports {name}, which lies above it"


SHARED = {"__init__", "base", "video", "consistency"}
"""Files of learners/ that hold no learner but what several of them are made of."""


def test_learners_do_not_import_each_other() -> None:
    files = {path.stem for path in (SOURCE / "learners").glob("*.py")} - SHARED
    for path in (SOURCE / "learners").glob("*.py"):
        if path.stem in files:
            others = {name.split(".")[1] for name in imported(path) if name.startswith("learners.")} & files
            assert others <= {path.stem}, f"{path.name} imports {others}"


def test_the_loop_knows_nothing_of_segmentation() -> None:
    for path in (SOURCE / "engine").glob("*.py"):
        rooms = {name.split(".")[0] for name in imported(path)}
        assert not rooms & {"losses", "models", "metrics", "mixing"}, path.name
        assert "learners.supervised" not in imported(path)
