"""Trainings that are worked off once, by several processes, through failures, kills and requests to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fathomseg.study.folder import StudyFolder
from tests.study.fake_study import STEPS, cells, work

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _where_the_fake_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def notes(folder: Path) -> list[str]:
    path = folder / "runs" / "notes.txt"
    return path.read_text().splitlines() if path.exists() else []


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@contextmanager
def process(folder: Path, count: int, stale_s: float, pause: float) -> Iterator[subprocess.Popen[bytes]]:
    words = [str(folder), str(count), str(stale_s), str(pause)]
    with subprocess.Popen([sys.executable, "-m", "tests.study.fake_study", *words], cwd=ROOT) as started:
        try:
            yield started
        finally:
            started.kill()


def test_three_processes_do_every_cell_once(tmp_path: Path) -> None:
    count = 9
    with ExitStack() as stack:
        started = [stack.enter_context(process(tmp_path, count, stale_s=60, pause=0.02)) for _ in range(3)]
        assert [one.wait(60) for one in started] == [0, 0, 0]
    assert Counter(notes(tmp_path)) == Counter(f"{cell} {text}" for cell in cells(count) for text in ("from 0", "done"))
    folder = StudyFolder(tmp_path)
    records = folder.records(cells(count))
    assert [record["images"] for record in records.values()] == list(range(1, count + 1))
    assert all(record["minutes"] > record["cpu_minutes"] > 0 for record in records.values())
    assert not list((tmp_path / "claims").iterdir())
    assert not list((tmp_path / "runs").glob("*/checkpoint.pt"))


def test_what_a_killed_process_has_begun_is_gone_on_with_by_another(tmp_path: Path) -> None:
    (cell,) = cells(1)
    checkpoint = StudyFolder(tmp_path).run(cell) / "checkpoint.pt"
    with process(tmp_path, 1, stale_s=4, pause=0.5) as first:
        until(lambda: checkpoint.exists() and checkpoint.read_text() >= "1")
        first.kill()
        first.wait()
        with process(tmp_path, 1, stale_s=4, pause=0.01) as second:
            assert second.wait(60) == 0
    begun, *others = notes(tmp_path)
    assert begun == f"{cell} from 0"
    assert others[0] in [f"{cell} from {step}" for step in range(1, STEPS)]  # from its checkpoint
    assert others[1:] == [f"{cell} done"]  # the first training ended with its process, and did not get there
    assert StudyFolder(tmp_path).record(cell) is not None


def test_a_request_to_stop_frees_the_cells_at_once(tmp_path: Path) -> None:
    (cell,) = cells(1)
    checkpoint = StudyFolder(tmp_path).run(cell) / "checkpoint.pt"
    with process(tmp_path, 1, stale_s=1000, pause=0.3) as first:
        until(checkpoint.exists)
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
    folder = StudyFolder(tmp_path)
    assert not folder.settled(cell)
    doing = work(tmp_path, 1, stale_s=1000, pause=0.0)
    finish(doing)
    assert notes(tmp_path)[1].split()[-1] != "0"
    spent = folder.spent(cell)
    assert spent is not None
    assert spent[0] > 0.3 / 60  # both attempts, of which the first took a step at least
    assert len((tmp_path / "cells" / f"{cell}.minutes.jsonl").read_text().splitlines()) == 2


def finish(doing: object, workers: int = 1) -> None:
    doing.start(workers)  # type: ignore[attr-defined]
    until(lambda: doing.wait(0.05))  # type: ignore[attr-defined]


def test_failures_are_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    good, green, killed, silent = cells(4)
    doing = work(tmp_path, 4, 60, 0.0, {green: "fail", killed: "crash", silent: "silent"})
    finish(doing, workers=2)
    folder = StudyFolder(tmp_path)
    assert list(folder.records(cells(4))) == [good]
    assert folder.failures(cells(4)) == {
        green: "the images are too green",
        killed: folder.failure(killed),
        silent: "the training ended well, but left no scores",
    }
    assert str(folder.failure(killed)).startswith("killed by SIGKILL after: ")
    assert "advice that goes on" in folder.log(green).read_text()

    before = len(notes(tmp_path))
    finish(work(tmp_path, 4, 60, 0.0))  # as it would not fail now: it is not tried all the same
    assert len(notes(tmp_path)) == before
    folder.forgive(green)
    finish(work(tmp_path, 4, 60, 0.0))
    assert notes(tmp_path)[before:] == [f"{green} from 0", f"{green} done"]
    assert list(folder.records(cells(4))) == [good, green]


def test_a_run_that_ended_before_it_was_recorded_is_not_trained_again(tmp_path: Path) -> None:
    (cell,) = cells(1)
    finish(work(tmp_path, 1, 60, 0.0))
    (tmp_path / "cells" / f"{cell}.json").unlink()
    (tmp_path / "cells" / f"{cell}.minutes.jsonl").unlink()
    finish(work(tmp_path, 1, 60, 0.0))
    assert notes(tmp_path) == [f"{cell} from 0", f"{cell} done"]
    record = StudyFolder(tmp_path).record(cell)
    assert record is not None
    assert record["miou"] == 50 + STEPS
    assert record["minutes"] is None  # not known, and not said to be 0


def test_a_mistake_of_ours_stops_everything_and_is_told(tmp_path: Path) -> None:
    doing = work(tmp_path, 3, 60, 0.0)

    def broken(cell: object) -> list[str]:
        raise OSError("no space left on device")

    doing._command = broken
    doing.start(2)
    with pytest.raises(OSError, match="no space left"):
        until(lambda: doing.wait(0.05))
    assert doing.claims.owner(str(cells(1)[0])) is None
