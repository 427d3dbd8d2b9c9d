"""Which folder of a run's `evaluation/` scores go to: scores of another kind never take the place of the run's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.errors import FathomError
from fathomseg.inference.card import load_card
from fathomseg.inference.settings import Inference, trained_inference
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.training.run_folder import own_data


def elsewhere(folder: Path, dataset: Dataset) -> list[str]:
    """A word for data that is not the run's own."""
    tree = dataset.model_dump(mode="json")
    try:
        own = resolve_dataset(own_data(folder)).model_dump(mode="json")
    except FathomError:  # an exported file without its run
        own = None
    if tree == own:
        return []
    root = getattr(dataset, "root", None)
    name = root.name if isinstance(root, Path) and root.name else dataset.name
    return [f"on-{name}-{hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:6]}"]


def of_baseline(
    run: Path, split: str, dataset: Dataset, first: list[str], inference: Inference | None, protocol: DepthProtocol
) -> str:
    """The folder in which a baseline has the scores that compare with those of a run: of the same images, taken in the
    same way as far as that concerns its tasks. `inference`: None = as the baseline itself predicts."""
    tasks, usual = load_card(run).tasks.values(), trained_inference(run)
    free = {"links", *([] if any(task.windowed for task in tasks) else ["mode", "window"])}
    same = usual if inference is None else inference.model_copy(update={key: getattr(usual, key) for key in free})
    how = [*same.differences(usual), *(protocol.differences() if any(task.depth_range for task in tasks) else [])]
    return "-".join([split, *elsewhere(run, dataset), *first, *how])
