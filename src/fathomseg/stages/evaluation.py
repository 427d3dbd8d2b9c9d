"""What the evaluations of all kinds of runs share: which data, and where the results go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist
import yaml

from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, WEIGHTS, load_card
from fathomseg.stages.run_folder import CONFIG


def is_depth_run(folder: Path) -> bool:
    """Whether the folder holds a network that gives depth and no classes."""
    return (folder / CARD).is_file() and not load_card(folder).segments


def own_data(folder: Path) -> str:
    """The configuration that says which data a run was trained on. Raises `FathomError` if there is none."""
    if not (folder / CONFIG).is_file():
        raise FathomError(
            f"{folder} holds no {CONFIG} that says which data it was trained on. Give the folder of a run, or --data."
        )
    return str(folder / CONFIG)


def own_device(folder: Path) -> str:
    """`train.device` of a run; "auto" for a folder that does not say."""
    path = folder / CONFIG
    tree = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return str(tree.get("train", {}).get("device", "auto"))


def result_name(split: str, against: Path | None, limit: int | None, how: Sequence[str]) -> str:
    """The folder of the results: scores of something else, or taken in another way (`how`, a word for each difference
    from the run's own), never take the place of the run's own."""
    parts = [split]
    parts += [against.resolve().name] if against else []
    parts += [f"first{limit}"] if limit is not None else []
    return "-".join([*parts, *how])


def check_flip(flip: bool, against: Path | None) -> None:
    """Raise `FathomError` if stored predictions are to be averaged with those of mirrored images."""
    if flip and against is not None:
        raise FathomError(f"The predictions in {against} are scored as they are; leave out --flip.")


def check_weights(weights: str) -> None:
    """Raise `FathomError` for weights there are not."""
    if weights not in {*WEIGHTS, "both"}:
        raise FathomError(f"There are no weights {weights!r}; choose from {', '.join(WEIGHTS)}, both.")


def check_limit(limit: int | None) -> None:
    """Raise `FathomError` for a limit below 1."""
    if limit is not None and limit < 1:
        raise FathomError(f"--limit is {limit}; give the number of images to score, at least 1.")


def is_main() -> bool:
    """Whether this process is the one that prints and writes."""
    return not dist.is_initialized() or dist.get_rank() == 0
