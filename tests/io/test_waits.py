from __future__ import annotations

import pytest

from fathomseg.io import progress
from fathomseg.io.progress import Waits, doing, named, preparing
from fathomseg.io.spoken import ProgressLines


def test_each_wait_has_its_own_name_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time of the first does not enter the estimate of the second."""
    now = [0.0]
    monkeypatch.setattr(progress, "ProgressLines", lambda what: ProgressLines(what, lambda: now[0]))
    with preparing(active=True) as waits:
        for done in range(1, 4):
            now[0] = 100.0 * done
            waits(done, 4)
        depth = waits.of("clips: depth")
        for now[0], done in ((400.0, 5), (420.0, 6)):
            depth(done, 10)
    assert capsys.readouterr().err.splitlines() == [
        "preparing images: 1 of 4",
        "preparing images: 2 of 4, about 3 min left",
        "preparing images: 3 of 4, about 2 min left",
        "clips: depth: 5 of 10",
        "clips: depth: 6 of 10, about 80 s left",
    ]


def test_a_plain_function_has_no_names() -> None:
    def tell(done: int, total: int) -> None:
        raise AssertionError

    assert named(tell, "depth") is tell
    assert named(None, "depth") is None
    with preparing(active=False) as waits:
        assert isinstance(waits, Waits)
        assert named(waits, "depth") is not waits


def test_a_wait_of_unknown_length_says_that_it_has_begun(capsys: pytest.CaptureFixture[str]) -> None:
    with doing("exporting depth"):
        assert capsys.readouterr().err == "exporting depth ...\n"
    assert capsys.readouterr().err == ""
