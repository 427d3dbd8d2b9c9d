"""Scoring a scene model: is the segmentation of a depth map found among those of other scenes, and the other way?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.places import places, spread
from fathomseg.errors import DataError, Problem
from fathomseg.io.ranks import gathered, rank_and_world
from fathomseg.metrics.retrieval import scores
from fathomseg.models.scene.inputs import inverse_of, painted_label, palette
from fathomseg.models.scene.model import SceneModel
from fathomseg.models.scene.saved import SceneCard


@dataclass(frozen=True, slots=True)
class Pool:
    """The samples among which partners are looked for."""

    ids: tuple[str, ...]
    """No two of one clip lie near each other."""
    left_out: int
    """Samples with label and depth that lie too near one of these."""


def pool_of(dataset: Dataset, ids: Sequence[str], apart: int, limit: int | None = None) -> Pool:
    """Those of the samples that have a label and a depth, without near duplicates; of the first `limit` of them.

    Depths are read of the pool alone, so that it is quickly known.
    """
    having = (id for id in ids if dataset.has_label(id) and dataset.fingerprint(id, "depth") is not None)
    known = list(islice(having, limit))
    chosen = spread(places(dataset, known), known, apart, dataset.has_depth)
    return Pool(tuple(chosen), len(known) - len(chosen))


@torch.inference_mode()
def retrieval_scores(
    scene: SceneModel,
    card: SceneCard,
    dataset: Dataset,
    pool: Pool,
    device: torch.device | str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Retrieval from depth to segmentation and back over the pool, on whole maps at their stored size.

    `scene` is in eval mode on `device`. In a distributed run every rank must call it, and all return the same. Raises
    one `DataError` naming every file that cannot be read.
    """
    rank, world = rank_and_world()
    colours = palette(card.colours, device)
    found: list[tuple[str, Float32[np.ndarray, "2 e"]]] = []
    problems: list[Problem] = []
    for id in pool.ids[rank::world]:
        try:
            label, depth = dataset.label(id), dataset.depth(id)
        except DataError as error:
            problems += error.problems
            continue
        assert label is not None, "of the pool"
        assert depth is not None, "of the pool"
        metres = torch.tensor(depth, device=device)[None, None]
        both = scene(inverse_of(metres), painted_label(torch.tensor(label, device=device)[None], colours))
        found.append((id, torch.cat(both).cpu().numpy()))
        tick()
    if problems := gathered(problems):
        raise DataError(problems)
    by_id = dict(gathered(found))
    vectors: Tensor = torch.from_numpy(np.stack([by_id[id] for id in pool.ids]))
    return scores(vectors[:, 0], vectors[:, 1], pool.left_out, card.apart)
