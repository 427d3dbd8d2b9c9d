"""Whether an earlier run that a training begins with has learned from images that are held out now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fathomseg.config import load
from fathomseg.data.held_out import HeldOut
from fathomseg.data.video_stream import read_triplets
from fathomseg.errors import FathomError
from fathomseg.io.files import read_ids
from fathomseg.io.progress import say
from fathomseg.training.needed_runs import needed_runs
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import CONFIG, FRAMES, IDS


def tell_seen_before(recipe: Recipe) -> None:
    """Warn of earlier runs whose lists have images that are held out now: they were trained before it was said."""
    held = HeldOut.of(recipe.data, recipe.evaluation.split)
    for run in dict.fromkeys(run.absolute() for _, run in needed_runs([recipe])):
        if seen := seen_by(run, held):
            say(
                f"WARNING: {run} has learned from {len(seen)} images that are held out now, for example {seen[0]}, so "
                "that scores come out too good: train it again."
            )


def seen_by(run: Path, held: HeldOut) -> list[str]:
    """The images among those held out that a run lists as its own; none if it cannot be told, as its data has moved."""
    try:
        recipe = load(Recipe, run / CONFIG)
        found: dict[str, None] = {}
        for name in recipe.streams:
            ids, dataset = list(_listed(run, name)), recipe.dataset(name)
            kept = frozenset(held.without(dataset, ids))
            found |= dict.fromkeys(id for id in ids if id not in kept)
    except FathomError:
        return []
    return list(found)


def _listed(run: Path, stream: str) -> Iterator[str]:
    """What a run, or a phase of it, has written down of a stream."""
    for path in sorted(run.rglob(FRAMES.format(stream))):
        for triplet in read_triplets(path):
            yield from (triplet.target, triplet.before, triplet.after)
    for path in sorted(run.rglob(IDS.format(stream))):
        yield from read_ids(path)
