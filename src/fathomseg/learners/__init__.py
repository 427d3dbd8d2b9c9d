"""Learners: one whole training step each. The union below is the table of those that segment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Tag

from fathomseg.config import by_name
from fathomseg.learners.semi import SemiSupervised
from fathomseg.learners.supervised import Supervised

AnyLearner = Annotated[
    Annotated[Supervised, Tag("supervised")] | Annotated[SemiSupervised, Tag("semi")], by_name("supervised")
]

__all__ = ["AnyLearner", "SemiSupervised", "Supervised"]
