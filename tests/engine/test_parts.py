"""Optimiser schedule, meter, guard and checkpoint, each by itself."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch

from fathomseg.engine.checkpoint import load_checkpoint, save_checkpoint
from fathomseg.engine.guard import FiniteGuard
from fathomseg.engine.loop import loader_processes
from fathomseg.engine.meter import Meter
from fathomseg.engine.optimiser import Optimiser
from fathomseg.errors import FathomError

CPU = torch.device("cpu")


def test_the_schedules_at_known_steps() -> None:
    poly = Optimiser(schedule="poly", warmup=0)
    assert [poly.factor(s, 100) for s in (0, 50)] == pytest.approx([1.0, 0.5**0.9])
    cosine = Optimiser(schedule="cosine", warmup=0)
    assert [cosine.factor(s, 100) for s in (0, 25, 50)] == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5])
    warm = Optimiser(schedule="constant", warmup=3)
    assert [warm.factor(s, 100) for s in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


@pytest.mark.parametrize(
    ("cores", "ranks", "streams", "wanted"),
    [(192, 8, 3, 8), (64, 8, 3, 2), (4, None, 3, 1), (4, None, 1, 4), (16, None, 1, 8), (2, 8, 3, 1)],
)
def test_loaders_share_the_cores_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, cores: int, ranks: int | None, streams: int, wanted: int
) -> None:
    """Not those of the machine: a job may have four of 192."""
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if ranks is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    monkeypatch.setattr(os, "cpu_count", lambda: 192)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert loader_processes(streams) == wanted
    monkeypatch.delattr(os, "sched_getaffinity")  # not on macOS and Windows
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert loader_processes(streams) == wanted


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_groups_get_their_own_rate_and_decay(name: str) -> None:
    weight, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    config = Optimiser(name=name, lr=0.1, weight_decay=0.5, warmup=0, schedule="constant")
    optimiser = config.build(
        [{"params": [weight], "lr_scale": 0.3, "decays": True}, {"params": [bias], "lr_scale": 1.0, "decays": False}]
    )
    assert config.set_lr(optimiser, 0, 10) == pytest.approx(0.1)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.03, 0.1])
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimiser.step()
    # With a zero gradient only decay moves: 1 - lr * decay in both optimisers at their first step.
    torch.testing.assert_close(weight.data, torch.full((2, 2), 1 - 0.03 * 0.5))
    torch.testing.assert_close(bias.data, torch.ones(2))


def test_the_meter_weighs_by_count_and_survives_a_checkpoint() -> None:
    meter = Meter(CPU)
    meter.add_term("loss", torch.tensor(6.0), torch.tensor(2.0))
    meter.add_step(0.5, 0.9, torch.tensor(1.0))
    resumed = Meter(CPU)
    resumed.load_state_dict(meter.state_dict())
    for m in (meter, resumed):
        m.add_term("loss", torch.tensor(4.0), torch.tensor(3.0))
        m.add_logs({"share": torch.tensor(0.25)})
        m.add_step(0.4, 0.9, torch.tensor(3.0))
        assert m.take() == {"loss": 2.0, "gradient_norm": 2.0, "share": 0.25, "lr": 0.4, "ema_decay": 0.9}
        assert m.take() == {}


def test_a_non_finite_gradient_forbids_the_checkpoint() -> None:
    meter = Meter(CPU)
    meter.add_step(0.1, 0.9, torch.tensor(2.0))
    meter.demand_finite(3)
    meter.add_step(0.1, 0.9, torch.tensor(float("nan")))
    with pytest.raises(FathomError, match="gradient became infinite or NaN before step 4"):
        meter.demand_finite(4)


def test_the_guard_stops_on_any_micro_batch_and_forgets_afterwards() -> None:
    guard = FiniteGuard(CPU)
    guard.note(torch.tensor(1.0))
    guard.demand(0)
    guard.note(torch.tensor(float("inf")))
    guard.note(torch.tensor(1.0))
    with pytest.raises(FathomError, match="in step 8, so training stopped before changing the weights"):
        guard.demand(7)


def test_a_checkpoint_comes_back_and_replaces_the_old_one(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step, "tensor": torch.full((3,), float(step))})
    state = load_checkpoint(tmp_path)
    assert state["step"] == 2
    assert state["tensor"].tolist() == [2, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"step": 1})
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_checkpoint(tmp_path, {"step": 2, "bad": (i for i in range(3))})  # cannot be written
    assert load_checkpoint(tmp_path)["step"] == 1


class Stranger:
    """What a malicious file might hold: an object whose loading runs code."""

    ran = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (setattr, (Stranger, "ran", True))


def test_a_strangers_pickle_is_not_executed(tmp_path: Path) -> None:
    torch.save({"format": 1, "step": Stranger()}, tmp_path / "checkpoint.pt")
    with pytest.raises(FathomError, match="cannot be read"):
        load_checkpoint(tmp_path)
    assert not Stranger.ran


def test_missing_and_damaged_checkpoints_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="stopped before its first checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(FathomError, match="damaged or not ours"):
        load_checkpoint(tmp_path)
    torch.save({"format": 99}, tmp_path / "checkpoint.pt")
    with pytest.raises(FathomError, match="format 1"):
        load_checkpoint(tmp_path)
