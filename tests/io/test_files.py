"""Files that are whole or not there, and JSON files of a stated format."""

from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg.errors import FathomError
from fathomseg.io.files import read_json, write_bytes, write_text


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "été\n")
    assert path.read_bytes() == "été\n".encode()
    write_bytes(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


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
