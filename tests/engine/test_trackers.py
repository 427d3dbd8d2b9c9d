"""Numbers reach TensorBoard and any other tracker, and a resumed run goes on in the place of the first."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import tracking

from fathomseg.engine.logging import Log
from fathomseg.engine.loop import Loop, accelerator
from fathomseg.engine.trackers import BOARD, TRACKED, demand
from fathomseg.errors import FathomError


class Fake(tracking.GeneralTracker):
    """A server that remembers how it was asked, and calls every new run after their number."""

    name, requires_logging_directory, made = "wandb", False, []

    def __init__(self, run_name: str, **settings: Any) -> None:
        self.settings, self.seen, self.finished = {"project": run_name, **settings}, [], False
        self.made.append(self)

    def start(self) -> None:
        self.tracker = SimpleNamespace(id=self.settings.get("id", f"run{len(self.made)}"))

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.seen.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(Fake, "made", [])
    return Fake.made


def train(folder: Path, first: int, *steps: int, by: Any = ("wandb",)) -> None:
    log = Log(folder, 9, first, tracked_by=by)
    for step in steps:
        log.write(step, "train", {"loss": step / 2, "note": "words"})
    log.close()


def test_every_line_reaches_the_tracker_as_numbers(tmp_path: Path, made: list[Any]) -> None:
    train(tmp_path, 0, 2, 4)
    (tracker,) = made
    assert tracker.seen == [(2, {"train/loss": 1.0}), (4, {"train/loss": 2.0})]
    assert tracker.finished
    assert tracker.settings["name"] == tmp_path.name


def test_a_resumed_run_is_the_same_run_to_the_server_and_a_new_one_is_not(tmp_path: Path, made: list[Any]) -> None:
    train(tmp_path, 0, 2)
    train(tmp_path, 2, 4)
    train(tmp_path, 0, 2)
    assert [(t.settings.get("id"), t.settings.get("resume")) for t in made] == [
        (None, None),
        ("run1", "allow"),
        (None, None),
    ]
    assert json.loads((tmp_path / TRACKED).read_text()) == {"wandb": "run3"}


def test_tensorboard_goes_on_after_the_checkpoint(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, 0, 2, 4, 5, by=("tensorboard",))
    train(tmp_path, 4, 6, by=("tensorboard",))
    found = EventAccumulator(str(tmp_path / BOARD))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(2, 1.0), (4, 2.0), (6, 3.0)]
    assert not (tmp_path / TRACKED).exists()


def test_none_at_all(tmp_path: Path) -> None:
    train(tmp_path, 0, 2, by=())
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_missing_package_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FathomError, match=r"train\.trackers has 'mlflow'.*pip install mlflow"):
        accelerator(Loop(trackers=("mlflow",), device="cpu"))
    demand(())
