"""Objectives: what a training step learns, one file each. The union below is the table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.objectives.contrastive import Contrastive
from fathomseg.objectives.feature_distance import FeatureDistance
from fathomseg.objectives.photometric import Photometric
from fathomseg.objectives.pseudo_labels import PseudoLabels
from fathomseg.objectives.scene_consistency import SceneConsistency
from fathomseg.objectives.semantic_guidance import SemanticGuidance
from fathomseg.objectives.supervised import Supervised

AnyObjective = Annotated[
    Supervised | PseudoLabels | Photometric | FeatureDistance | Contrastive | SceneConsistency | SemanticGuidance,
    Field(discriminator="name"),
]
"""Every objective there is. A new one is listed here and nowhere else."""
