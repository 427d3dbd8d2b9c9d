"""The direction of imports: a room imports only from the rooms below it, and the loop knows no segmentation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "fathomseg"

ROOMS = (
    "__main__",
    "cli",
    "shell",
    "stages",
    "training",
    "report",
    "demo",
    "study",
    "selection",
    "distillation",
    "depth_sources",
    "evaluation",
    "inference",
    "engine",
    "objectives",
    "tasks",
    "models",
    "augment",
    "mixing",
    "losses",
    "data",
    "metrics",
    "parallel",
    "io",
    "geometry",
    "settings",
)
"""From the top down. docs/architecture.md says what is in them."""

EVERYWHERE = ("types", "config", "errors", "text", "version", "named_recipes")
"""May be imported from anywhere and import only each other."""

PENDING: set[tuple[str, str]] = set()
"""Files and the rooms above them that they still import; each is removed with the file."""

HEIGHT = {room: height for height, room in enumerate(reversed(ROOMS), start=1)} | dict.fromkeys(EVERYWHERE, 0)
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


def imported(path: Path) -> set[str]:
    """Every fathomseg module a file imports, at the top or inside a function; "" is the package itself."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: use absolute imports"
            assert node.level == 0, f"{path}: use absolute imports"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inside if node.module == "fathomseg" else {node.module, *inside}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix("fathomseg").removeprefix(".") for name in names if name.split(".")[0] == "fathomseg"}


def room_of(path: Path) -> str:
    """The room a file lies in; a loose module is one of its own."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def upward(path: Path) -> set[str]:
    """The rooms a file imports although they do not lie below its own."""
    own = room_of(path)
    others = {name.split(".")[0] for name in imported(path)} - {own}
    unknown = others - HEIGHT.keys()
    assert not unknown, f"{path} imports {unknown}: nothing may import the package itself"
    return {room for room in others if HEIGHT[room] >= max(1, HEIGHT[own])}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_imports_upward(path: Path) -> None:
    assert room_of(path) in HEIGHT, f"{room_of(path)} is no room: add it to ROOMS and to docs/architecture.md"
    name = path.relative_to(SOURCE).as_posix()
    pending = {room for file, room in PENDING if file == name}
    assert upward(path) == pending, f"{name} may import only from rooms below {room_of(path)}"


def test_pending_files_exist() -> None:
    assert {file for file, _ in PENDING} <= {path.relative_to(SOURCE).as_posix() for path in FILES}


def test_objectives_do_not_import_each_other() -> None:
    files = {path.stem for path in (SOURCE / "objectives").glob("*.py") if "(Objective):" in path.read_text()}
    assert "supervised" in files
    for path in (SOURCE / "objectives").glob("*.py"):
        if path.stem in files:
            others = {name.split(".")[1] for name in imported(path) if name.startswith("objectives.")} & files
            assert others <= {path.stem}, f"{path.name} imports {others}"


def test_the_engine_and_the_network_know_no_task() -> None:
    for path in [*(SOURCE / "engine").glob("*.py"), *(SOURCE / "models").rglob("*.py")]:
        rooms = {name.split(".")[0] for name in imported(path)}
        assert not rooms & {"tasks", "metrics", "mixing"}, path.name
    for path in (SOURCE / "engine").glob("*.py"):
        assert "segmentation" not in path.read_text(encoding="utf-8").lower(), path.name
