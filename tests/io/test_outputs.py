from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg import cli
from fathomseg.errors import DataError, FathomError, Problem, by_clip
from fathomseg.io import draw
from fathomseg.io.files import refuse_unwritable
from fathomseg.shell import errors


def test_a_folder_to_write_into_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path)
    refuse_unwritable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FathomError, match=r"file is a file; it must be a folder"):
        refuse_unwritable(file)
    with pytest.raises(FathomError, match=r"lies below .*file, which is a file; it must be a folder"):
        refuse_unwritable(file / "a" / "b", "--out")
    with pytest.raises(FathomError, match=r"it must be a folder\. Give another file\.$"):
        refuse_unwritable(file, "file")  # of `fathom export`
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FathomError, match="must be a folder"):
        refuse_unwritable(tmp_path / "gone" / "a")
    assert file.read_text() == "mine"


def test_where_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"Nothing can be written into /proc.* Give another --out"):
        refuse_unwritable(Path("/proc/self/task/here"))


def test_a_picture_that_cannot_be_encoded_leaves_no_file(tmp_path: Path) -> None:
    wide = np.zeros((1, 70_000, 3), np.uint8)
    with pytest.raises(DataError, match=r"a\.jpg: cannot be written: .*1 x 70000 .*end at 65500 pixels a side"):
        draw.write(tmp_path / "a.jpg", wide)
    assert list(tmp_path.iterdir()) == []
    draw.write(tmp_path / "a.png", wide)


@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied", "out/a"), OSError(28, "No space left")])
def test_what_the_system_says_is_no_traceback(
    fault: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise fault

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    expected = f"error: {fault.strerror}" + (f": {fault.filename}" if fault.filename else "")
    assert capsys.readouterr().err == f"{expected}\n"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_one_process_of_torchrun_speaks_first(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise FathomError("no data")

    waited: list[float] = []
    monkeypatch.setattr(cli, "app", fails)
    monkeypatch.setattr(errors.time, "sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(SystemExit):
        cli.main()
    assert bool(waited) == (rank == "1")


def test_a_lost_connection_is_told_in_words_only_under_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise RuntimeError("[gloo] Connection closed by peer")

    monkeypatch.setattr(cli, "app", fails)
    monkeypatch.setattr(errors.time, "sleep", lambda seconds: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(RuntimeError):
        cli.main()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        cli.main()
    assert "error: Another process of this run stopped" in capsys.readouterr().err


def test_the_frames_of_a_clip_are_told_in_one_line() -> None:
    many = [Problem(f"a.mkv frame {i}", "cannot be decoded") for i in range(40)]
    told = by_clip([*many, Problem("b.mkv frame 3", "cannot be decoded"), Problem("c.png", "is empty")])
    assert [str(one) for one in told] == [
        "a.mkv frames 0 to 39, 40 of them: cannot be decoded",
        "b.mkv frame 3: cannot be decoded",
        "c.png: is empty",
    ]
    assert str(DataError(many)).startswith("1 file cannot be used:\n  a.mkv frames 0 to 39")
