"""How many actors a Ray cluster has room for, told by its nodes; no cluster is started."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fathomseg.parallel import open_engine, open_team

CPU_NODE, GPU_NODE = {"CPU": 3.0}, {"CPU": 4.0, "GPU": 2.0}
GONE = {"CPU": 64.0, "GPU": 8.0}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, float]]:
    """The nodes of the cluster this process is connected to, which has lost another one."""
    ray = pytest.importorskip("ray", reason="needs the extra cluster")
    found: list[Mapping[str, float]] = []

    def total() -> dict[str, float]:
        return {kind: sum(node.get(kind, 0) for node in found) for kind in ("CPU", "GPU")}

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", total)
    living = {"Alive": True}
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"Resources": GONE, "Alive": False}, *({"Resources": one, **living} for one in found)]
    )
    return found


def test_a_cluster_of_this_machine_that_nobody_names_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra cluster")
    asked: list[str | None] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    for address in (None, "first:6379"):
        if address is None:
            monkeypatch.delenv("RAY_ADDRESS", raising=False)
        else:
            monkeypatch.setenv("RAY_ADDRESS", address)
        with open_engine("ray"):
            pass
    assert asked == ["local", "first:6379"]


@pytest.mark.parametrize(
    ("there", "room"),
    [
        ([CPU_NODE], {1: 1, 3: 3, 8: 3}),
        ([CPU_NODE, CPU_NODE], {8: 6}),
        ([GPU_NODE], {2: 2, 3: 3, 8: 4}),  # two share a GPU, and its processors are used up
        ([GPU_NODE, CPU_NODE], {7: 4}),  # none may be where no GPU is
        ([{"CPU": 64.0, "GPU": 4.0}], {6: 6, 24: 24}),
        ([{"GPU": 1.0}], {4: 1}),
    ],
)
def test_the_room_of_a_cluster(
    nodes: list[Mapping[str, float]], there: list[Mapping[str, float]], room: Mapping[int, int]
) -> None:
    nodes += there
    with open_engine("ray") as engine:
        assert {count: engine.crew_size(count) for count in room} == room


def test_no_job_of_a_cluster_is_on_two_gpus(nodes: list[Mapping[str, float]]) -> None:
    nodes += [{"CPU": 10.0, "GPU": 4.0}]
    with open_engine("ray") as engine:
        assert [engine.room(share) for share in (0, 0.3, 0.5, 0.75, 1)] == [10, 10, 8, 4, 4]


def test_a_team_is_no_larger_and_this_is_told(
    nodes: list[Mapping[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    nodes += [CPU_NODE]
    for workers, size, told in ((8, 3, "--workers 8: the cluster has room for 3"), (2, 2, "")):
        with open_team("ray", workers) as team:
            assert team is not None
            assert team.size == size
        said = capsys.readouterr().err
        assert told in said
        assert bool(said) == bool(told)
