"""Checkpoints that are never half-written and never execute what they load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fathomseg.errors import FathomError
from fathomseg.io.files import writing

FORMAT = 1
FILE = "checkpoint.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the whole training state (tensors, numbers, strings only) to `folder/checkpoint.pt`.

    The old checkpoint is replaced in one move after the new one is on disk, so a crash leaves one of the two whole.
    """
    with writing(folder / FILE, durable=True) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read `folder/checkpoint.pt` onto the CPU. Raises `FathomError` if it is missing, damaged or of another format."""
    path = folder / FILE
    if not path.is_file():
        raise FathomError(f"{folder} has no {FILE}: the run was stopped before its first checkpoint; start it anew.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FathomError(
            f"{path} cannot be read ({type(error).__name__}: {error}); it is damaged or not ours."
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise FathomError(f"{path} is not a checkpoint of format {FORMAT}; train with the version that wrote it.")
    return state
