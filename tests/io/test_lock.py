"""A second command is kept out of a folder and told who is there; the lock goes with its process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fathomseg.errors import FathomError
from fathomseg.io.lock import alone_in

HOLD = """
import sys, time
from pathlib import Path
from fathomseg.io.lock import alone_in
with alone_in(Path(sys.argv[1]), "fathom study other.yaml"):
    print("here", flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_who_is_there_and_comes_in_when_that_one_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        with pytest.raises(FathomError, match="in use by") as error, alone_in(tmp_path, "fathom study"):
            pass
        for part in ("`fathom study other.yaml`", f"process {other.pid}", f"on {socket.gethostname()}", str(tmp_path)):
            assert part in str(error.value)
        other.kill()
        other.wait()
    with alone_in(tmp_path, "fathom study"):
        assert f'"process": {os.getpid()}' in (tmp_path / ".fathom-lock.json").read_text()
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_free(tmp_path: Path) -> None:
    with alone_in(tmp_path / "a", "one"), alone_in(tmp_path / "b", "two"):
        pass


def test_a_command_that_writes_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path / "a" / "b", "one"):
        pass
    with alone_in(tmp_path / "c", "two"):
        (tmp_path / "c" / "result").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_one_process_of_torchrun_holds_it_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone_in(tmp_path, "first"):
        monkeypatch.setenv("RANK", "1")
        with alone_in(tmp_path, "second"):
            pass
