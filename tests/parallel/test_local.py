"""Actors in processes of this machine: they answer, fail with the words of their object, and come back when killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fathomseg.errors import DataError, FathomError
from fathomseg.parallel import open_engine
from fathomseg.parallel.base import LostError, all_of, spread
from fathomseg.parallel.local import LocalEngine
from tests.parallel.things import Thing, lives
from tests.parallel.torch_things import Threads


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine() as engine:
        yield engine


@pytest.mark.slow
def test_work_is_spread_over_processes(engine: LocalEngine) -> None:
    with engine.crew(2, Thing, 100) as actors:
        found = dict(spread(actors, "plus", range(20)))
        processes = set(all_of(actors, "process"))
    assert found == {number: number + 100 for number in range(20)}
    assert len(processes) == 2
    assert os.getpid() not in processes


@pytest.mark.slow
def test_processors_are_shared_out_to_what_brings_pytorch_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    with LocalEngine() as engine, engine.crew(2, Threads) as actors:
        assert all_of(actors, "count") == [3, 3]


@pytest.mark.slow
def test_errors_of_the_object_arrive_as_they_are(engine: LocalEngine, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="less than 0"):
        engine.actor(Thing, -1)("plus", 1)
    actor = engine.actor(Thing)
    with pytest.raises(DataError) as error:
        actor("bad", "a.png")
    assert error.value.problems[0].where == "a.png"
    assert actor("plus", 1) == 1  # it goes on


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_its_call_made_again(engine: LocalEngine, tmp_path: Path) -> None:
    actor = engine.actor(Thing, 1, lives(tmp_path / "two", 2))
    first = actor("process")
    assert actor("plus", 1) == 2
    assert actor("process") != first
    fragile = engine.actor(Thing, 1, lives(tmp_path / "one", 1), retries=0)
    with pytest.raises(LostError, match="has died"):
        fragile("plus", 1)


def test_gpus_are_shared_out_to_those_with_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    seen: list[dict[str, str]] = []

    def make(environment: dict[str, str]) -> object:
        seen.append(environment)
        return object()

    with LocalEngine() as engine:
        assert engine.gpus == 2
        assert [engine.room(share) for share in (0, 0.3, 0.5, 0.75, 1)] == [1, 6, 4, 2, 2]  # no job is on two GPUs
        assert [engine.share(count) for count in (1, 2, 4)] == [1, 1, 0.5]
        assert [engine.share(count) for count in (3, 5, 12)] == [0.5, 0.3333, 0.1666]  # each is on one GPU
        assert engine.crew_size(12) == 12
        first, *_ = [engine.job(make, gpus=1) for _ in range(3)]
        first.close()
        first.close()
        engine.job(make, gpus=0.5)
        engine.job(make, gpus=0)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in seen] == ["4", "7", "4", "4", ""]


def test_a_training_gets_one_gpu_or_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with LocalEngine() as engine:
        assert [engine.job_share(asked) for asked in (None, 0, 0.5, 1)] == [1, 0, 0.5, 1]
        with pytest.raises(FathomError, match=r"--gpus 2: a training of a study uses one GPU"):
            engine.job_share(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with LocalEngine() as engine:
        assert engine.job_share(None) == 0
        assert engine.share(3) == 0


def test_an_unknown_engine_is_told() -> None:
    with pytest.raises(FathomError, match=r"no engine 'spark'; choose from local, ray, slurm"):
        open_engine("spark")
