"""Where the numbers of a training go besides metrics.jsonl: Accelerate's trackers, by name."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from fathomseg.errors import FathomError
from fathomseg.io.files import write_text

Name = Literal["tensorboard", "wandb", "mlflow"]
BOARD, TRACKED = "tensorboard", "trackers.json"
_PROJECT: Final = "fathomseg"


def demand(names: Sequence[Name]) -> None:
    """Raises `FathomError` for a tracker whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise FathomError(
                f"train.trackers has {name!r}, whose package is not installed. Install it (pip install {name}), or "
                "leave it out: train.trackers=[tensorboard]."
            )


def start(names: Sequence[Name], folder: Path, first_step: int) -> list[Any]:
    """Accelerate's trackers at work for the run in `folder`; `first_step` > 0 resumes what was tracked before.

    What a server calls the run is kept in trackers.json for that. Where the server is, and who is logged in, is up to
    the tracker's own environment variables (WANDB_MODE=offline, MLFLOW_TRACKING_URI).
    """
    from accelerate import tracking  # here, as it takes long and no recipe is read by it

    path = folder / TRACKED
    known = json.loads(path.read_text(encoding="utf-8")) if first_step and path.exists() else {}
    trackers = [tracking.LOGGER_TYPE_TO_CLASS[name](**_settings(name, folder, first_step, known)) for name in names]
    for tracker in trackers:
        tracker.start()
    ids = {name: _id(name, tracker) for name, tracker in zip(names, trackers, strict=True) if name != "tensorboard"}
    if ids:
        write_text(path, json.dumps(ids) + "\n")
    return trackers


def _settings(name: Name, folder: Path, first_step: int, known: dict[str, str]) -> dict[str, Any]:
    if name == "tensorboard":  # steps after the checkpoint are trained again
        return {
            "run_name": BOARD,
            "logging_dir": folder,
            "purge_step": first_step + 1 if first_step else None,
        }
    if name == "wandb":
        again = {"id": known[name], "resume": "allow"} if name in known else {}
        return {"run_name": _PROJECT, "name": folder.name, "dir": str(folder), **again}
    return {"experiment_name": _PROJECT, "run_name": folder.name, "run_id": known.get(name)}


def _id(name: Name, tracker: Any) -> str:
    return str(tracker.tracker.id if name == "wandb" else tracker.tracker.info.run_id)
