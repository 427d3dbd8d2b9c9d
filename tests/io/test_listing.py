from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fathomseg.data.datasets.files import files_below
from fathomseg.errors import DataError
from fathomseg.io.listing import counted, missing, passed_over, walk


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_hidden_and_system_files_are_not_seen(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "a.png", ".hidden.png", "b/._2.png", "__MACOSX/a.png", "Thumbs.db", ".git/x.png")
    touch(tmp_path, "@eaDir/a.png/thumb.jpg", "desktop.ini", "b/.ipynb_checkpoints/c.png")
    assert [name for name, _ in walk(tmp_path)] == ["a.png", "b/2.png"]
    assert list(files_below(tmp_path)) == ["a", "b/2"]


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.png", "data/2.png")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "sub").mkdir()
    (tmp_path / "data" / "sub" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone").symlink_to(tmp_path / "nowhere")
    names = [name for name, path in walk(tmp_path / "data") if path.is_file()]
    assert names == ["2.png", "again/1.png", "linked/1.png"]


def test_what_is_passed_over_is_counted_by_ending(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.GIF", "c.gif", "d.npy", "e", ".x.gif")
    assert counted(passed_over(tmp_path, {".png"})) == "2 .GIF, 1 without an ending, 1 .npy"
    assert counted(passed_over(tmp_path / "none", {".png"})) == ""


def test_a_link_to_a_folder_above_the_start_is_not_followed(tmp_path: Path) -> None:
    """Where the start is a link itself, the way that was walked does not show it."""
    touch(tmp_path, "store/images/1.png", "store/labels/1.png")
    (tmp_path / "store/images/up").symlink_to("..")
    (tmp_path / "images").symlink_to("store/images")
    assert [name for name, _ in walk(tmp_path / "images")] == ["1.png"]


def test_a_file_that_is_gone_is_told_from_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/nowhere/a.png")
    assert missing(tmp_path / "a.png") == "is a link to /nowhere/a.png, which is not there; replace or remove it"
    assert missing(tmp_path / "b.png") == "there is no such file"


def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    assert list(walk(tmp_path / "none")) == list(walk(tmp_path / "a/1.png")) == []
    scandir = os.scandir

    def locked(path: Any) -> Any:
        if os.fspath(path) == str(tmp_path / "b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    for folder in (tmp_path, tmp_path / "b"):
        with pytest.raises(DataError, match=r"b: cannot be listed \(Permission denied\)"):
            list(walk(folder))
