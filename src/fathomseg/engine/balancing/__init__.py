"""How the losses of several tasks are balanced, one file each. The union below is the table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.engine.balancing.dwa import DynamicWeightAverage
from fathomseg.engine.balancing.fixed import Fixed
from fathomseg.engine.balancing.gradnorm import GradNorm
from fathomseg.engine.balancing.mgda import Mgda
from fathomseg.engine.balancing.pcgrad import PcGrad
from fathomseg.engine.balancing.uncertainty import Uncertainty

AnyBalancing = Annotated[
    Fixed | Uncertainty | DynamicWeightAverage | GradNorm | PcGrad | Mgda, Field(discriminator="name")
]
"""Every balancing there is. A new one is listed here and nowhere else."""
