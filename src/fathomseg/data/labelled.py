"""Which training images count as labelled: the label budget. Labels of all other images are never opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from fathomseg.config import Part
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.held_out import NOTHING, HeldOut
from fathomseg.errors import FathomError
from fathomseg.io.files import read_ids


class Labels(Part):
    """The label budget: all images that have a label, a random number of them, or the ids listed in a file."""

    count: Annotated[int, Field(ge=0)] | None = None
    """How many random labelled images to use; nothing = all. Budgets nest: 25 are the first 25 of 100. 0 = none: a
    stream that needs labels gives nothing, and its objectives learn from their other streams."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the random choice; nothing = the seed of the run."""
    file: Path | None = None
    """Text file with one sample id a line. With `count`, only its first `count` ids are used."""

    @model_validator(mode="after")
    def _one_way(self) -> Labels:
        if self.file is not None and self.seed is not None:
            raise ValueError("give either a file of ids or a seed for a random choice, not both")
        return self

    def choose(
        self, dataset: Dataset, split: str, seed: int, held_out: HeldOut = NOTHING, ids: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """The ids of the labelled images of a split that are not held out, sorted. Only the existence of labels is
        looked at, no label is opened. `ids`: the images of the split, if it has others here than in the dataset.

        Raises `FathomError` if fewer images have a label than were requested, or a listed id does not exist.
        """
        if self.count == 0:
            return ()
        if self.file is not None:
            return tuple(sorted(self._listed(dataset, split, held_out, ids)))
        labelled = [id for id in (dataset.ids(split) if ids is None else ids) if dataset.has_label(id)]
        having = held_out.without(dataset, labelled)
        if labelled and not having:
            raise FathomError(
                f"All {len(labelled)} images of split {split!r} of {dataset.name} that have a label are held out to be "
                f"scored on: label others, or say otherwise which images are val ({_which_val(dataset)})."
            )
        if not having:
            raise FathomError(f"No image of split {split!r} of {dataset.name} has a label; label a few, then train.")
        if self.count is None:
            return tuple(sorted(having))
        if self.count > len(having):
            raise FathomError(f"labels.count is {self.count}, but only {len(having)} images of {split!r} have a label.")
        order = np.random.default_rng(seed if self.seed is None else self.seed).permutation(len(having))
        return tuple(sorted(having[i] for i in order[: self.count]))

    def _listed(self, dataset: Dataset, split: str, held_out: HeldOut, ids: Sequence[str] | None) -> Sequence[str]:
        assert self.file is not None
        known = set(dataset.ids(split) if ids is None else ids)
        listed = read_ids(self.file, known)
        if unknown := [id for id in listed if id not in known]:
            elsewhere = [name for name in dataset.splits if name != "all" and unknown[0] in dataset.ids(name)]
            hint = f"its own ids look like {next(iter(sorted(known)), '(none)')!r}"
            if elsewhere:
                hint = f"that one is in {elsewhere[0]!r}. Leave such ids out, or say otherwise which images are val"
            raise FathomError(
                f"{self.file} lists {len(unknown)} ids that split {split!r} of {dataset.name} does not have,"
                f" for example {unknown[0]!r}; {hint}."
            )
        if away := sorted(set(listed) - set(held_out.without(dataset, listed))):
            raise FathomError(
                f"{self.file} lists {len(away)} images that are held out to be scored on, for example {away[0]!r}. "
                "Leave such ids out, or say otherwise which images are val."
            )
        if unlabelled := [id for id in listed if not dataset.has_label(id)]:
            raise FathomError(
                f"{self.file} lists {len(unlabelled)} images without a label, for example {unlabelled[0]!r}."
            )
        if self.count is not None and self.count > len(listed):
            raise FathomError(f"labels.count is {self.count}, but {self.file} lists only {len(listed)} ids.")
        return listed[: self.count]


def _which_val(dataset: Dataset) -> str:
    """The settings by which images to score on are chosen."""
    return "evaluation.split, and data.val=[...]" if "val" in type(dataset).model_fields else "evaluation.split"
