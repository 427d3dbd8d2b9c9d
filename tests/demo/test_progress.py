"""How far a demo is, and how long it will still take, with numbers worked by hand."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fathomseg.demo.plan import REPORT_S, Standing, Task, left_s, status
from fathomseg.study import terminal
from fathomseg.study.terminal import shown

A = Task("a", "learn depth", "pretrain", 20.0, 0.0, steps=100, step_s=0.8)  # 100 s
B = Task("b", "choose", "select", 50.0, 0.0, after=("a",))


def test_what_is_done() -> None:
    assert Standing(A).done_s == 0
    assert Standing(A, running=True, elapsed_s=4).done_s == 4
    assert Standing(A, running=True, elapsed_s=400).done_s == 10  # half of the start
    assert Standing(A, running=True, step=50, elapsed_s=3).done_s == 50
    assert Standing(A, done=True).done_s == 100
    assert Standing(B, running=True, elapsed_s=20).done_s == 20
    assert Standing(B, running=True, elapsed_s=100).done_s == 45


def test_time_left_goes_by_how_fast_the_machine_is() -> None:
    assert left_s([Standing(A), Standing(B)]) == 150 + REPORT_S
    fast = [Standing(A, running=True, step=50, elapsed_s=25), Standing(B)]  # 50 s of work in 25
    assert left_s(fast) == pytest.approx(25 + 25 + REPORT_S / 2)
    slow = [Standing(A, done=True, elapsed_s=300), Standing(B)]
    assert left_s(slow) == pytest.approx(150 + 3 * REPORT_S)
    too_early = [Standing(A, running=True, step=1, elapsed_s=100), Standing(B)]
    assert left_s(too_early) == pytest.approx(89.2 + 50 + REPORT_S)


def test_what_runs_keeps_its_place() -> None:
    first, second, third = (Task(name, name, "train", 10.0, 0.0) for name in "xyz")
    standings = [Standing(first), Standing(second, running=True, elapsed_s=5), Standing(third, running=True)]
    # y has 5 s left, z 10; x begins when y ends.
    assert left_s(standings) == pytest.approx(15 + REPORT_S)


def test_what_runs_in_words() -> None:
    done, words = status([Standing(A, running=True, step=50, elapsed_s=50), Standing(B)])
    assert (done, words) == (0, "learn depth 50/100, about 2 min left")
    assert status([Standing(A, done=True, elapsed_s=100), Standing(B, running=True)])[0] == 1


def test_without_a_terminal_a_line_comes_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with shown(2, "commands", 15.0, Console(file=io.StringIO())) as show:
        for second in range(40):
            show(int(second >= 20), "depth")
            now[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["0 of 2 commands done, depth"] * 2 + ["1 of 2 commands done, depth"] * 2  # at 0, 15, 20 and 35 s


def test_on_a_terminal_there_is_a_bar() -> None:
    file = io.StringIO()
    with shown(2, "commands", 15.0, Console(file=file, force_terminal=True, width=120)) as show:
        show(0, "depth")
        show(1, "joint")
    for part in ("commands", "1/2", "joint"):
        assert part in file.getvalue()
