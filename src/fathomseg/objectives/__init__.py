"""Objectives: what a training step learns, one file each. The union below is the table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.objectives.feature_distance import FeatureDistance
from fathomseg.objectives.photometric import Photometric
from fathomseg.objectives.pseudo_labels import PseudoLabels
from fathomseg.objectives.supervised import Supervised

AnyObjective = Annotated[Supervised | PseudoLabels | Photometric | FeatureDistance, Field(discriminator="name")]
"""Every objective there is. A new one is listed here and nowhere else."""
