"""Doing tasks: order, two at a time, going on after a stop, a kill or a failure. The processes are real."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fathomseg.demo.folder import DemoFolder
from fathomseg.demo.plan import Task
from fathomseg.demo.work import Standing, Work
from fathomseg.errors import FathomError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def task(name: str, *after: str, steps: int = 3) -> Task:
    return Task(name, f"do {name}", "train", 1.0, 0.0, steps=steps, after=after)


@contextmanager
def working(path: Path, tasks: list[Task], **how: dict[str, Any]) -> Iterator[Work]:
    """Work in an opened folder; `how` are the recipes of some tasks, by their name."""
    recipes = {one.name: json.dumps({"steps": one.steps, "pause": 0.01, **how.get(one.name, {})}) for one in tasks}
    folder = DemoFolder(path)
    with folder.opened({"minutes": 1}, tasks, recipes):
        yield Work(folder, tasks, "tests.demo.fake_fathom", poll_s=0.02)


def notes(path: Path) -> list[str]:
    return (path / "notes.txt").read_text().splitlines()


def quietly(_: object) -> None:
    pass


def test_everything_is_done_once_after_what_it_reads_and_two_at_a_time(tmp_path: Path) -> None:
    tasks = [task("a"), task("b"), task("c", "a"), task("d", "c", "b"), task("e", "a")]
    seen: list[list[Standing]] = []
    with working(tmp_path, tasks, a={"pause": 0.1}) as work:
        work.run(seen.append)
    lines = notes(tmp_path)
    assert sorted(lines) == sorted(f"{name} {what}" for name in "abcde" for what in ("from 0", "ended"))
    for one in tasks:
        for other in one.after:
            assert lines.index(f"{other} ended") < lines.index(f"{one.name} from 0")
    running = 0
    for line in lines:
        running += 1 if "from" in line else -1
        assert 0 <= running <= 2
    assert max(sum(one.running for one in standings) for standings in seen) == 2
    assert [one.done for one in work.standings()] == [True] * 5
    assert [one.step for one in work.standings()] == [3] * 5
    assert not list(tmp_path.glob("runs/*/checkpoint.pt"))
    steps = [next(one.step for one in standings if one.task.name == "a") for standings in seen]
    assert steps == sorted(steps)
    assert len(set(steps)) > 1  # it can be watched


def test_what_is_done_is_not_done_again_and_what_has_gone_is(tmp_path: Path) -> None:
    tasks = [task("a"), task("b", "a")]
    for _ in range(2):
        with working(tmp_path, tasks) as work:
            work.run(quietly)
    assert len(notes(tmp_path)) == 4
    (tmp_path / "runs" / "b" / "metrics.jsonl").unlink()
    (tmp_path / "runs" / "b").rmdir()
    with working(tmp_path, tasks) as work:
        work.run(quietly)
    assert notes(tmp_path)[4:] == ["b from 0", "b ended"]


def test_a_stopped_task_goes_on_and_its_time_adds_up(tmp_path: Path) -> None:
    tasks = [task("a", steps=40), task("b", "a")]
    with working(tmp_path, tasks, a={"pause": 0.05}) as work:

        def stop(standings: list[Standing]) -> None:
            if standings[0].step >= 3:
                work.stop()

        work.run(stop)
    assert notes(tmp_path) == ["a from 0", "a ended"]
    spent = work.folder.spent("a")
    assert not spent.done
    assert spent.minutes > 0
    stopped = int((tmp_path / "runs" / "a" / "checkpoint.pt").read_text())
    assert 3 <= stopped < 40
    with working(tmp_path, tasks, a={"pause": 0.05}) as work:
        work.run(quietly)
    assert notes(tmp_path)[2:] == [f"a from {stopped}", "a ended", "b from 0", "b ended"]
    assert work.folder.spent("a").done
    assert work.folder.spent("a").minutes > spent.minutes


def test_a_killed_task_is_told_and_goes_on_next_time(tmp_path: Path) -> None:
    tasks = [task("a", steps=30)]
    with working(tmp_path, tasks, a={"pause": 0.05}) as work:
        killed: list[int] = []

        def kill(standings: list[Standing]) -> None:
            if standings[0].step >= 3 and not killed:
                killed.append(work._running["a"][0]._process.pid)
                os.kill(killed[0], signal.SIGKILL)

        with pytest.raises(FathomError, match=r"do a \(killed by SIGKILL\)"):
            work.run(kill)
    stopped = int((tmp_path / "runs" / "a" / "checkpoint.pt").read_text())
    with working(tmp_path, tasks, a={"pause": 0.05}) as work:
        work.run(quietly)
    assert notes(tmp_path)[1:] == [f"a from {stopped}", "a ended"]
    assert stopped >= 3


def test_a_failure_shows_the_last_words_and_the_log_and_lets_the_other_task_save(tmp_path: Path) -> None:
    tasks = [task("slow", steps=1000), task("bad", "ready"), task("ready")]
    how = {"bad": {"how": "fail"}, "slow": {"pause": 0.05}}
    with working(tmp_path, tasks, **how) as work, pytest.raises(FathomError) as error:
        work.run(quietly)
    text = str(error.value)
    assert "do bad (exit code 2)" in text
    assert "  all was well\n  error: the images are too green\n" in text
    assert str(tmp_path / "logs" / "bad.log") in text
    assert "slow ended" in notes(tmp_path)
    assert [one.done for one in work.standings()] == [False, False, True]
    assert not any(one.running for one in work.standings())


def test_a_crash_before_the_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    tasks = [task("a")]
    with working(tmp_path, tasks, a={"how": "crash"}) as work, pytest.raises(FathomError, match="and then"):
        work.run(quietly)
    (tmp_path / "recipes" / "a.yaml").write_text(json.dumps({"steps": 3, "pause": 0}))
    Work(DemoFolder(tmp_path), tasks, "tests.demo.fake_fathom").run(quietly)
    assert notes(tmp_path) == ["a from 0", "a from 0", "a ended"]


def test_nothing_begins_after_a_stop(tmp_path: Path) -> None:
    with working(tmp_path, [task("a")]) as work:
        work.stop()
        work.run(quietly)
    assert not (tmp_path / "notes.txt").exists()
    assert threading.active_count() < 20
