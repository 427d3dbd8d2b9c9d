"""The plan: what runs beside what, worked by hand, and how many steps fit into a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.demo.plan import DRIVES, FRAMES, LABELS, LEAST, REPORT_S, ROWS, TASKS, Task, plan, seconds, startable
from fathomseg.errors import FathomError
from fathomseg.study.folder import JobFolder
from tests.demo.fake_demo import notes


def task(name: str, takes: float, *after: str) -> Task:
    return Task(name, name, "train", takes, 0.0, after=after)


def test_time_of_a_task() -> None:
    one = Task("a", "A", "train", 4.0, 0.5, drives=10, steps=20, step_s=0.25)
    assert one.fixed_s == 9.0
    assert one.seconds == 14.0
    assert one.command == ("train", "recipes/a.yaml", "--out", "runs/a")


@pytest.mark.parametrize(
    ("verb", "last"), [("train", "evaluation/val/scores.json"), ("select", "selection.html")], ids=["train", "select"]
)
def test_a_task_has_a_result_when_its_last_file_is_there(verb: str, last: str, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    job = Task("a", "A", verb, 1.0, 0.0, after=("b",)).job(folder)  # type: ignore[arg-type]
    assert (job.name, job.start[0], job.resume, job.after) == ("a", verb, (verb, "--resume", "runs/a"), ("b",))
    assert job.result() is None
    path = folder.run("a") / last
    path.parent.mkdir(parents=True)
    path.touch()
    assert job.result() == {}


def test_what_predicts_labels_has_a_result_when_all_are_there(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    one = Task("a", "A", "distill", 1.0, 0.0, drives=2, words=("runs/b", "data"))
    job = one.job(folder)
    assert job.start == job.resume == ("distill", "runs/b", "data", "--out", "runs/a")
    assert job.result() is None
    every = 2 * FRAMES - LABELS
    for images in (every - 1, every):
        notes(images).write(folder.run("a"))
        assert job.result() == ({} if images == every else None)


@pytest.mark.parametrize(
    ("tasks", "at_once", "expected"),
    [
        ([], 2, 0),
        ([task("a", 3), task("b", 5), task("c", 4)], 1, 12),
        ([task("a", 3), task("b", 5), task("c", 4)], 2, 7),  # a 0-3, b 0-5, c 3-7
        ([task("a", 3), task("b", 5), task("c", 4)], 3, 5),
        ([task("a", 3), task("b", 5, "a"), task("c", 4)], 2, 8),  # a 0-3, c 0-4, b 3-8
        ([task("a", 3), task("b", 5, "a", "c"), task("c", 4)], 2, 9),  # a 0-3, c 0-4, b 4-9
        ([task("a", 3), task("b", 2, "a"), task("c", 2, "b")], 2, 7),
    ],
)
def test_time_of_a_schedule(tasks: list[Task], at_once: int, expected: float) -> None:
    assert seconds(tasks, at_once=at_once) == expected


def test_time_that_is_left() -> None:
    tasks = [task("a", 9), task("b", 9, "a"), task("c", 9, "a")]
    assert seconds(tasks, {"a": 0, "b": 2, "c": 7}) == 7
    assert seconds(tasks, {"a": 1, "b": 2, "c": 7}) == 8


def test_what_can_be_begun() -> None:
    tasks = [task("b", 1, "a"), task("c", 1), task("d", 1), task("e", 1, "a")]
    assert [one.name for one in startable(tasks, set(), 5)] == ["c", "d"]
    assert [one.name for one in startable(tasks, {"a"}, 2)] == ["b", "c"]
    assert startable(tasks, {"a"}, 0) == []


def slow(tasks: list[Task], at_once: int) -> float:
    """The same schedule, in steps of one second."""
    left: dict[str, float] = {one.name: one.seconds for one in tasks}
    running: list[str] = []
    for now in itertools.count():
        running = [name for name in running if left[name] > 0]
        done = {name for name, rest in left.items() if rest == 0 and name not in running}
        if len(done) == len(tasks):
            return now
        for one in tasks:
            ready = left[one.name] > 0 and one.name not in running and set(one.after) <= done
            if ready and len(running) < at_once:
                running.append(one.name)
        for name in running:
            left[name] -= 1
    raise AssertionError


@given(st.lists(st.tuples(st.integers(1, 9), st.sets(st.integers(0, 7), max_size=3)), max_size=8), st.integers(1, 3))
def test_a_schedule_is_that_of_a_slow_loop(given_tasks: list[tuple[int, set[int]]], at_once: int) -> None:
    tasks = [
        task(str(number), takes, *(str(other) for other in after if other < number))
        for number, (takes, after) in enumerate(given_tasks)
    ]
    assert seconds(tasks, at_once=at_once) == slow(tasks, at_once)


@pytest.mark.parametrize("minutes", [2, 3, 5, 10, 12.5, 30])
def test_a_plan_fills_its_time(minutes: float) -> None:
    tasks = plan(minutes)
    assert 0.95 * 60 * minutes <= seconds(tasks) + REPORT_S <= 60 * minutes
    assert [one.name for one in tasks] == [one.name for one in TASKS]
    assert DRIVES[0] <= tasks[0].drives <= DRIVES[1]
    rows = {one.name: one.steps for one in tasks if one.name in {row.task for row in ROWS}}
    assert len(set(rows.values())) == 1  # all rows alike
    assert min(rows.values()) >= LEAST


def test_more_time_is_more_steps_in_the_same_proportions() -> None:
    def steps(minutes: float) -> Mapping[str, int]:
        return {one.name: one.steps for one in plan(minutes)}

    short, long = steps(10), steps(20)
    assert long["depth"] > 1.9 * short["depth"] > 0
    assert long["depth"] / long["joint"] == pytest.approx(short["depth"] / short["joint"], rel=0.02)
    assert short["select"] == long["select"] == 0


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_minutes_must_be_positive(minutes: float) -> None:
    with pytest.raises(FathomError, match="give a positive number"):
        plan(minutes)


def test_too_little_time_says_how_much_is_needed() -> None:
    with pytest.raises(FathomError, match=r"all four rows take at least (\d+\.\d) minutes") as error:
        plan(0.5)
    least = float(str(error.value).split()[-2])
    assert plan(least + 0.05)
    with pytest.raises(FathomError):
        plan(least - 0.2)


def test_every_task_comes_after_what_it_reads() -> None:
    names = [one.name for one in TASKS]
    for one in TASKS:
        assert set(one.after) <= set(names[: names.index(one.name)])
    assert {row.task for row in ROWS} <= set(names)
