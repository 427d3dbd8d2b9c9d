"""Averages of what is logged, and that they keep broken weights out of checkpoints."""

from __future__ import annotations

import pytest
import torch

from fathomseg.engine.meter import Meter
from fathomseg.errors import FathomError


@pytest.mark.parametrize("logged", [False, True])
def test_a_broken_gradient_keeps_its_checkpoint_from_being_written(logged: bool) -> None:
    """Whether it came right before a line of the log, which starts the averages anew, or after."""
    meter = Meter(torch.device("cpu"))
    meter.add_step(0.1, 0.9, torch.tensor(2.0))
    assert meter.take()["gradient_norm"] == 2.0
    meter.demand_finite(1)
    meter.add_step(0.1, 0.9, torch.tensor(torch.nan))
    if logged:
        meter.take()
    with pytest.raises(FathomError, match="gradient became infinite or NaN before step 2"):
        meter.demand_finite(2)
