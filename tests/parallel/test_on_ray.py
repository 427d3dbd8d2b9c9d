"""The same on a Ray cluster of two nodes, of which one is killed at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fathomseg.errors import DataError, FathomError
from fathomseg.parallel import open_engine, open_team
from fathomseg.parallel.base import Engine, spread
from fathomseg.selection.farthest_first import FarthestFirst
from fathomseg.selection.shard import cut, load_shard
from tests.parallel.clusters import MEMORY, two_nodes
from tests.parallel.things import Thing, lives
from tests.selection.test_farthest_first import clouds

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Any, Any]]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture
def engine(cluster: tuple[Any, Any]) -> Iterator[Engine]:
    with open_engine("ray") as engine:
        yield engine


def test_actors_answer_fail_and_come_back(engine: Engine, tmp_path: Path) -> None:
    assert engine.gpus == 0
    assert engine.room(0) == 3
    with engine.crew(2, Thing, 100) as actors:
        assert dict(spread(actors, "plus", range(20))) == {number: number + 100 for number in range(20)}
    broken = engine.actor(Thing, -1)
    with pytest.raises(FathomError, match="less than 0"):
        broken("plus", 1)
    broken.close()
    mortal = engine.actor(Thing, 1, lives(tmp_path / "lives", 1))
    with pytest.raises(DataError) as error:
        mortal("bad", "a.png")
    assert error.value.problems[0].where == "a.png"
    assert mortal("plus", 1) == 2


def test_no_more_actors_than_there_is_room_for(cluster: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with open_team("ray", 8) as team:
        assert team is not None
        assert team.size == 3
        assert "--workers 8: the cluster has room for 3" in capsys.readouterr().err
        with team.of(Thing, 100) as actors:
            assert dict(spread(actors, "plus", range(20))) == {number: number + 100 for number in range(20)}


def test_farthest_points_over_two_nodes_are_those_of_one_process(engine: Engine, tmp_path: Path) -> None:
    features = clouds(3, 900, 12, clusters=9).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    alone = FarthestFirst(features)
    shards = [engine.actor(load_shard, tmp_path / "features.npy", part, 100, "cpu") for part in cut(900, 100, 2)]
    spread_out = FarthestFirst(np.load(tmp_path / "features.npy", mmap_mode="r"), shards=shards)
    assert spread_out.central() == alone.central()
    bonus = np.random.default_rng(0).random(900)
    for picker in (alone, spread_out):
        picker.take([alone.central(), 5])
    assert spread_out.pick(60) == alone.pick(60)
    assert spread_out.pick(60, bonus) == alone.pick(60, bonus)


def test_a_node_that_dies_costs_its_calls_a_second_try(cluster: tuple[Any, Any], engine: Engine) -> None:
    nodes, second = cluster
    actors = [engine.actor(Thing, 1) for _ in range(3)]
    calls = [actor.call("slow", 3.0) for actor in actors]
    while not all(actor.begun for actor in actors):
        time.sleep(0.05)
    nodes.remove_node(second, allow_graceful=False)
    nodes.add_node(num_cpus=2, object_store_memory=MEMORY)
    assert [call.result(timeout=120) for call in calls] == [3.0, 3.0, 3.0]
