"""Learners: one whole training step each. The union below is the table of them."""

from __future__ import annotations

from fathomseg.learners.supervised import Supervised

AnyLearner = Supervised

__all__ = ["AnyLearner", "Supervised"]
