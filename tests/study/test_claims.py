"""Claims: one owner at a time, takeover of what the dead have left, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fathomseg.study.claims import Claim, Claims


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path / "claims", beat_s=0.02, stale_s=100)


def taken(claims: Claims, name: str = "a-1-0") -> Claim:
    claim = claims.take(name)
    assert claim is not None
    return claim


def aged(claim: Claim, seconds: float) -> None:
    """As if its owner had not touched it for a while."""
    os.utime(claim.path, (time.time() - seconds,) * 2)


def test_one_owner_until_it_lets_go(claims: Claims) -> None:
    first = taken(claims)
    assert first.held
    assert claims.take("a-1-0") is None
    assert claims.take("a-1-00") is not None  # another cell, though its name begins alike
    first.release()
    second = taken(claims)
    assert second.path.name == "a-1-0.2"
    assert second.held
    assert not first.held


def test_who_it_is(claims: Claims) -> None:
    assert claims.owner("a-1-0") is None
    claim = taken(claims)
    assert claims.owner("a-1-0") == f"{os.uname().nodename}, process {os.getpid()}"
    claim.release()
    assert claims.owner("a-1-0") is None


@pytest.mark.parametrize(("age", "free"), [(95, False), (105, True)])
def test_a_claim_is_stale_after_its_time(claims: Claims, age: float, free: bool) -> None:
    claim = taken(claims)
    aged(claim, age)
    assert (claims.take("a-1-0") is not None) == free
    assert claim.held != free


def test_ages_are_told_by_the_clock_of_the_file_system(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(claims)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock is decades ahead
    assert claims.take("a-1-0") is None


def test_of_many_that_find_a_dead_claim_one_takes_over(claims: Claims) -> None:
    for round in range(20):
        name = f"a-{round}-0"
        aged(taken(claims, name), 1000)
        barrier = threading.Barrier(8)

        def rush(_: int, name: str = name, barrier: threading.Barrier = barrier) -> Claim | None:
            barrier.wait()
            return claims.take(name)

        with ThreadPoolExecutor(8) as pool:
            winners = [claim for claim in pool.map(rush, range(8)) if claim is not None]
        assert len(winners) == 1
        assert winners[0].held


def test_beats_keep_a_claim_alive_and_end_with_it(claims: Claims) -> None:
    claim = taken(claims)
    lost = threading.Event()
    with claim.kept(claims.beat_s, lost.set):
        aged(claim, 1000)
        wait_until(lambda: time.time() - claim.path.stat().st_mtime < 50)
        assert claims.take("a-1-0") is None
    assert not lost.is_set()
    aged(claim, 1000)
    time.sleep(0.1)
    assert claims.take("a-1-0") is not None


@pytest.mark.parametrize("how", ["taken over", "folder deleted"])
def test_an_owner_that_was_asleep_learns_that_it_has_lost(claims: Claims, how: str) -> None:
    claim = taken(claims)
    lost = threading.Event()
    if how == "taken over":
        aged(claim, 1000)
        newer = taken(claims)
    else:
        claim.path.unlink()
    with claim.kept(claims.beat_s, lost.set):
        assert lost.wait(10)
    assert not claim.held
    if how == "taken over":
        assert newer.held


def test_clearing_leaves_newer_claims_and_other_cells(claims: Claims) -> None:
    old = taken(claims)
    aged(old, 1000)
    middle = taken(claims)
    aged(middle, 1000)
    newest, other = taken(claims), taken(claims, "b-1-0")
    claims.clear(middle)
    assert not old.path.exists()
    assert not middle.path.exists()
    assert newest.held
    assert other.held
    assert taken(claims, "c-1-0").held


def test_ten_takeovers_are_counted_as_numbers(claims: Claims) -> None:
    for _ in range(11):
        taken(claims).release()
    assert taken(claims).path.name == "a-1-0.12"


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
