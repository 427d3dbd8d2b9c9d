"""A teacher writes what a dataset lacks: who it is, how its predictions are stored, how a training reads them."""

from fathomseg.distillation.targets import DistilledFolder

__all__ = ["DistilledFolder"]
