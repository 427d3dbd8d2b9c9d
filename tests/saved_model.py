"""A model as a training leaves it: the card and one weight file, without a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fathomseg.inference.card import WEIGHTS, ModelCard, save_card
from fathomseg.models.saved import save_weights


def save_model(folder: Path, card: ModelCard, state: Mapping[str, Tensor], file: str = WEIGHTS["ema"]) -> None:
    """Write both into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / file, state)
    save_card(folder, card)
