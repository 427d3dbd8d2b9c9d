"""Jobs that run once, after what they read, through failures, kills and requests to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fathomseg.study.attempt import checkpoints
from fathomseg.study.folder import JobFolder, Spent
from fathomseg.study.runner import Runner
from fathomseg.study.terminal import last_step
from tests.study.fake_study import STEPS, cells, job, runner

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
def process(folder: Path, count: int, pause: float) -> Iterator[subprocess.Popen[bytes]]:
    words = [str(folder), str(count), str(pause)]
    with subprocess.Popen([sys.executable, "-m", "tests.study.fake_study", *words], cwd=ROOT) as started:
        try:
            yield started
        finally:
            started.kill()


def test_every_cell_is_done_once(tmp_path: Path) -> None:
    doing, folder = runner(tmp_path, 5, 0.02), JobFolder(tmp_path)
    finish(doing, workers=2)
    assert Counter(notes(tmp_path)) == Counter(f"{cell} {text}" for cell in cells(5) for text in ("from 0", "done"))
    records = folder.records(cells(5))
    assert len(records) == 5
    assert all(record["minutes"] > record["cpu_minutes"] > 0 for record in records.values())
    assert not list((tmp_path / "runs").glob("*/checkpoint.pt"))
    assert doing.running() == set()


def test_checkpoints_of_finished_trainings_are_kept_if_asked_for(tmp_path: Path) -> None:
    (cell,) = cells(1)
    finish(runner(tmp_path, 1, pause=0.0, keep_checkpoints=True))
    assert checkpoints(JobFolder(tmp_path).run(cell)) == [JobFolder(tmp_path).run(cell) / "checkpoint.pt"]


@pytest.mark.slow
def test_what_a_killed_process_has_begun_is_gone_on_with_by_another(tmp_path: Path) -> None:
    (cell,) = cells(1)
    checkpoint = JobFolder(tmp_path).run(cell) / "checkpoint.pt"
    with process(tmp_path, 1, pause=0.5) as first:
        until(lambda: checkpoint.exists() and checkpoint.read_text() >= "1")
        first.kill()
        first.wait()
        with process(tmp_path, 1, pause=0.01) as second:
            assert second.wait(60) == 0
    begun, *others = notes(tmp_path)
    assert begun == f"{cell} from 0"
    assert others[0] in [f"{cell} from {step}" for step in range(1, STEPS)]  # from its checkpoint
    assert others[1:] == [f"{cell} done"]  # the first training ended with its process, and did not get there
    assert JobFolder(tmp_path).record(cell) is not None


def test_a_run_stopped_in_a_phase_is_resumed(tmp_path: Path) -> None:
    """Its checkpoints lie in the folders of its phases, and are gone at its end."""
    (cell,) = cells(1)
    run = JobFolder(tmp_path).run(cell)
    (run / "first").mkdir(parents=True)
    (run / "first" / "checkpoint.pt").write_text("3")
    finish(runner(tmp_path, 1, pause=0.0))
    assert notes(tmp_path) == [f"{cell} from 3", f"{cell} done"]
    assert checkpoints(run) == []


@pytest.mark.slow
def test_a_request_to_stop_frees_the_cells_at_once(tmp_path: Path) -> None:
    (cell,) = cells(1)
    checkpoint = JobFolder(tmp_path).run(cell) / "checkpoint.pt"
    with process(tmp_path, 1, pause=0.3) as first:
        until(checkpoint.exists)
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
    folder = JobFolder(tmp_path)
    assert not folder.settled(cell)
    doing = runner(tmp_path, 1, pause=0.0)
    finish(doing)
    assert notes(tmp_path)[1].split()[-1] != "0"
    spent = folder.spent(cell)
    assert spent is not None
    assert spent.minutes > 0.3 / 60  # both attempts, of which the first took a step at least
    assert len((tmp_path / "cells" / f"{cell}.minutes.jsonl").read_text().splitlines()) == 2


def test_a_job_is_claimed_as_long_as_its_training_lives(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    with folder.claimed("a") as log:
        assert log is not None
        with folder.claimed("a") as second, folder.claimed("b") as other:
            assert second is None
            assert other is not None
        with subprocess.Popen(["sleep", "60"], stdout=log) as training:
            log.close()
            with folder.claimed("a") as second:  # as long as the training whose output it is
                assert second is None
            training.kill()
            training.wait()
    with folder.claimed("a") as log:
        assert log is not None


def finish(doing: Runner, workers: int = 1) -> None:
    doing.start(workers)
    until(doing.wait)


def test_failures_are_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    good, green, killed, silent = cells(4)
    doing = runner(tmp_path, 4, 0.0, {green: "fail", killed: "crash", silent: "silent"})
    finish(doing, workers=2)
    folder = JobFolder(tmp_path)
    assert list(folder.records(cells(4))) == [good]
    assert folder.failures(cells(4)) == {
        green: "the images are too green\n  label them again",
        killed: folder.failure(killed),
        silent: "it ended well, but left no result",
    }
    assert str(folder.failure(killed)).startswith("killed by SIGKILL after: ")
    assert "all was well" in folder.log(green).read_text()

    before = len(notes(tmp_path))
    finish(runner(tmp_path, 4, 0.0))  # as it would not fail now: it is not tried all the same
    assert len(notes(tmp_path)) == before
    folder.forgive(green)
    finish(runner(tmp_path, 4, 0.0))
    assert notes(tmp_path)[before:] == [f"{green} from 0", f"{green} done"]
    assert list(folder.records(cells(4))) == [good, green]


def test_a_run_that_ended_before_it_was_recorded_is_not_trained_again(tmp_path: Path) -> None:
    (cell,) = cells(1)
    finish(runner(tmp_path, 1, 0.0))
    (tmp_path / "cells" / f"{cell}.json").unlink()
    (tmp_path / "cells" / f"{cell}.minutes.jsonl").unlink()
    finish(runner(tmp_path, 1, 0.0))
    assert notes(tmp_path) == [f"{cell} from 0", f"{cell} done"]
    record = JobFolder(tmp_path).record(cell)
    assert record is not None
    assert record["miou"] == 50 + STEPS
    assert record["minutes"] is None  # not known, and not said to be 0


def test_a_mistake_of_ours_stops_everything_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doing = runner(tmp_path, 3, 0.0)

    def broken(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("fathomseg.study.attempt.Child", broken)
    doing.start(2)
    with pytest.raises(OSError, match="no space left"):
        until(doing.wait)
    assert doing.running() == set()


def graph(folder: JobFolder, how: dict[str, str], stop_at_failure: bool = False, pause: float = 0.01) -> Runner:
    """Five jobs, of which three read others."""
    after = {"a": "", "b": "", "c": "a", "d": "cb", "e": "a"}
    jobs = [job(folder, name, pause, how.get(name, ""), *after[name]) for name in after]
    return Runner(folder, jobs, stop_at_failure=stop_at_failure, poll_s=0.02, program="tests.study.fake_train")


def test_jobs_start_after_what_they_read_and_no_more_than_there_are_workers(tmp_path: Path) -> None:
    doing = graph(JobFolder(tmp_path, "logs"), {}, pause=0.05)
    doing.start(2)
    steps, most = [], 0
    while not doing.wait():
        most = max(most, len(doing.running()))
        steps.append(last_step(doing.folder.run("a") / "metrics.jsonl"))
    lines = notes(tmp_path)
    assert sorted(lines) == sorted(f"{name} {what}" for name in "abcde" for what in ("from 0", "done"))
    for one in doing.jobs:
        for other in one.after:
            assert lines.index(f"{other} done") < lines.index(f"{one.name} from 0")
    assert most == 2
    assert steps == sorted(steps)
    assert len(set(steps)) > 1  # it can be watched
    assert 0 < doing.minutes("a") < 1


def test_what_reads_a_failed_job_is_left_and_the_rest_is_done(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path, "logs")
    finish(graph(folder, {"c": "fail"}), workers=2)
    assert set(folder.records("abcde")) == {"a", "b", "e"}
    assert set(folder.failures("abcde")) == {"c"}
    folder.forgive("c")
    finish(graph(folder, {}))
    assert notes(tmp_path)[-4:] == ["c from 0", "c done", "d from 0", "d done"]


def test_a_failure_can_stop_all_others_which_save(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path, "logs")
    long = job(folder, "long", 0.02, steps=1000)
    bad, never = job(folder, "bad", 0.0, "fail", "first"), job(folder, "never", 0.0)
    jobs = [long, job(folder, "first", 0.02), bad, never]
    doing = Runner(folder, jobs, stop_at_failure=True, poll_s=0.02, program="tests.study.fake_train")
    finish(doing, workers=2)
    assert set(folder.failures(job.name for job in jobs)) == {"bad"}
    assert (folder.run("long") / "checkpoint.pt").exists()
    assert "never from 0" not in notes(tmp_path)
    assert doing.running() == set()


def test_nothing_starts_after_a_stop(tmp_path: Path) -> None:
    doing = runner(tmp_path, 1, 0.0)
    doing.stop()
    finish(doing)
    assert notes(tmp_path) == []


def test_costs_add_up_until_the_job_is_forgotten(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert folder.spent("a") is None
    folder.spend("a", Spent(1.5, 0.5))
    folder.spend("a", Spent(2.0, 0.25))
    assert folder.spent("a") == Spent(3.5, 0.75)
    folder.finish("a", {})
    folder.forget("a")
    assert folder.spent("a") is folder.record("a") is None
