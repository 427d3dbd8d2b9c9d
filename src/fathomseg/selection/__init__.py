"""Which images of a pool should be labelled: features of images, criteria, picking, and what was chosen and why."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.selection.criteria import Coverage, Difficulty, Diversity, DiversityAndDifficulty, Random
from fathomseg.selection.uncertainty import Entropy, Margin

AnyCriterion = Annotated[
    Random | Diversity | Coverage | Difficulty | DiversityAndDifficulty | Entropy | Margin, Field(discriminator="name")
]
"""Every criterion there is, told apart by `name`. A new one is listed here and nowhere else."""
