"""Files that are whole or not there, and JSON files of a stated format."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fathomseg.errors import FathomError
from fathomseg.io.files import read_json, write_bytes, write_text, writing

SOURCE = Path(__file__).resolve().parents[2] / "src" / "fathomseg"


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "été\n")
    assert path.read_bytes() == "été\n".encode()
    write_bytes(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 123 + "b.txt")
    assert len(path.name.encode()) == 251
    write_text(path, "a")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["a"]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def broken() -> None:
        with writing(path, durable=True) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        broken()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_threads_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = [bytes([i]) * 100_000 for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_bytes(path, content), contents))
    assert path.read_bytes() in contents
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def of_its_own(path: Path) -> list[str]:
    """The lines in which a file makes a temporary file or moves one to its name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ".tmp" in node.value:
            found.append(f"{path.name} line {node.lineno}: {node.value!r}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            # replacing text takes two arguments, and the fields of a dataclass keywords
            moves = name == "replace" and len(node.args) == 1 and not node.keywords
            if moves or name in {"rename", "NamedTemporaryFile", "mkstemp", "mktemp"}:
                found.append(f"{path.name} line {node.lineno}: {name}")
    return found


def test_there_is_one_atomic_writer() -> None:
    writer, mover = (
        SOURCE / "io" / name for name in ("files.py", "owned.py")
    )  # the latter moves folders out of the way
    assert of_its_own(writer), "the search finds what it looks for"
    others = [path for path in sorted(SOURCE.rglob("*.py")) if path not in {writer, mover}]
    assert not [line for path in others for line in of_its_own(path)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no .*a.json. Make one."),
        ("{", "cannot be read as JSON"),
        ("[1]", "is not a list of a format"),
        ('{"format": 2}', "is not a list of a format"),
    ],
)
def test_what_is_no_such_json_is_told(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FathomError, match=message):
        read_json(path, "a list", "Make one.")


def test_json_of_the_format_is_read(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", '{"format": 1, "x": [2]}')
    assert read_json(tmp_path / "a.json", "a list", "")["x"] == [2]
