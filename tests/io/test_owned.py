"""Only what the program has written, and nobody has changed since, is its own."""

from __future__ import annotations

from pathlib import Path

from fathomseg.io.owned import clear, foreign, own, remove_own


def make(folder: Path) -> Path:
    """A folder with two files and a link of the program, one of them in a folder, and a log that grows."""
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "deep" / "b").write_text("b")
    (folder / "link").symlink_to("/nowhere/at/all")
    own(folder, ["a", "deep/b", "link"])
    own(folder, ["log", "board/*"], grows=True)
    return folder


def test_what_was_written_is_removed_and_the_folder_too(tmp_path: Path) -> None:
    folder = make(tmp_path / "x")
    (folder / "board").mkdir()
    (folder / "board" / "events.1").write_text("1")
    (folder / "log").write_text("1")
    (folder / "log").write_text("12")
    assert foreign(folder) == []
    assert remove_own(folder) == []
    assert not folder.exists()


def test_what_was_changed_or_added_stays(tmp_path: Path) -> None:
    folder = make(tmp_path / "x")
    (folder / "a").write_text("mine")
    (folder / "deep" / "c").write_text("c")
    (folder / "link").unlink()
    (folder / "link").symlink_to("/somewhere")
    kept = [folder / "a", folder / "deep" / "c", folder / "link"]
    assert foreign(folder) == kept
    assert remove_own(folder) == kept
    assert (folder / "a").read_text() == "mine"
    assert not (folder / "deep" / "b").exists()


def test_a_folder_without_a_list_is_all_the_users(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("x")
    (tmp_path / "empty").mkdir()
    assert remove_own(tmp_path) == [tmp_path / "config.yaml"]
    assert (tmp_path / "empty").is_dir()


def test_clearing_moves_the_users_files_aside(tmp_path: Path) -> None:
    for number in (1, 2):
        (make(tmp_path / "x") / "notes").write_text(f"mine {number}")
        clear(tmp_path / "x")
        assert not (tmp_path / "x").exists()
        assert (tmp_path / f"x.old-{number}" / "notes").read_text() == f"mine {number}"
    clear(tmp_path / "nowhere")
