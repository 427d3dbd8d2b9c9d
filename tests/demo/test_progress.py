"""How far a demo is, and how long it will still take, with numbers worked by hand."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fathomseg.demo import display
from fathomseg.demo.display import clock, done_s, left_s, line, share, shown
from fathomseg.demo.plan import REPORT_S, Task
from fathomseg.demo.work import Standing

A = Task("a", "learn depth", "pretrain", 20.0, 0.0, steps=100, step_s=0.8)  # 100 s
B = Task("b", "choose", "select", 50.0, 0.0, after=("a",))


def test_what_is_done() -> None:
    assert done_s(Standing(A)) == 0
    assert done_s(Standing(A, running=True, elapsed_s=4)) == 4
    assert done_s(Standing(A, running=True, elapsed_s=400)) == 10  # half of the start
    assert done_s(Standing(A, running=True, step=50, elapsed_s=3)) == 50
    assert done_s(Standing(A, done=True)) == 100
    assert done_s(Standing(B, running=True, elapsed_s=20)) == 20
    assert done_s(Standing(B, running=True, elapsed_s=100)) == 45
    assert share([Standing(A, running=True, step=50), Standing(B)]) == pytest.approx(50 / 150)


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


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (247, "4:07"), (3600, "60:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_line_tells_what_runs() -> None:
    text = line([Standing(A, running=True, step=50, elapsed_s=50), Standing(B)])
    assert text == " 33 %  about 2:00 left  learn depth 50/100"


def test_without_a_terminal_a_line_comes_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with shown(Console(file=io.StringIO())) as show:
        for _ in range(40):
            show([Standing(A, running=True, step=50), Standing(B)])
            now[0] += 1
    assert len(capsys.readouterr().err.splitlines()) == 3  # at 0, 15 and 30 s


def test_on_a_terminal_every_task_has_a_bar() -> None:
    file = io.StringIO()
    with shown(Console(file=file, force_terminal=True, width=120)) as show:
        show([Standing(A, running=True, step=50), Standing(B)])
        show([Standing(A, done=True, elapsed_s=75), Standing(B, running=True)])
    text = file.getvalue()
    for part in ("learn depth", "done in 1:15", "choose", "running", "the whole demo", "left"):
        assert part in text
