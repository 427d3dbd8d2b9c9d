"""Disparity from a network for depth that `fathom train` or `fathom pretrain` has trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from pydantic import Field

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import Root
from fathomseg.depth_sources.base import DepthSource, NetworkReader
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, WEIGHTS, Weights, load_card
from fathomseg.inference.predictor import load
from fathomseg.inference.settings import Inference
from fathomseg.io.files import digest
from fathomseg.tasks.depth import Depth


class RunDepth(DepthSource):
    """The network of a run with the task depth, shown each image at as many pixels as it was trained at and in its own
    proportions, whatever the run's evaluation."""

    name: Literal["run"] = "run"
    run: Root
    """The run folder."""
    weights: Weights = "ema"
    """ema (averaged) or last."""
    batch: Annotated[int, Field(gt=0)] = 8
    """Images that go through the network at once."""

    @property
    def is_between_depths(self) -> bool:
        """Yes."""
        return True

    def depth_range(self) -> tuple[float, float] | None:
        """As the run's card says."""
        depth = load_card(self.run).tasks.get("depth")
        return None if depth is None else depth.depth_range

    def open(self, dataset: Dataset, device: torch.device | str | None = None) -> RunReader:
        """A reader with the network loaded. Raises `FathomError` if the run gives no depth."""
        return RunReader(self, dataset, device)


class RunReader(NetworkReader):
    """Shows images to the network of a run. Its disparity is 0..1 over the range of depth it was trained for."""

    def __init__(self, source: RunDepth, dataset: Dataset, device: torch.device | str | None) -> None:
        self.run = source.run
        self.predictor = load(source.run, source.weights, device, Inference(), tasks=("depth",))
        files = [source.run / CARD, source.run / WEIGHTS[source.weights]]
        depth = self.predictor.tasks["depth"]
        assert isinstance(depth, Depth), "the branch of depth is a depth"
        self.depth = depth
        kind = "run" if depth.output == "disparity" else "run|metres as disparity"
        super().__init__(dataset, f"{kind}|{digest(files)}", source.batch)

    def finish(self, loaded: Sequence[NDArray[Any]]) -> list[Float32[np.ndarray, "_ _"]]:
        """Disparity at the network's own finest resolution. Raises `FathomError` if it is not finite."""
        found = (self.depth.as_output(one["depth"][None]) for one in self.predictor.each(loaded))
        maps = [self.depth.disparity(one)[0, 0].cpu().numpy() for one in found]
        if not all(np.isfinite(one).all() for one in maps):
            raise FathomError(f"The network of {self.run} gives NaN: its weights are not finite. Train it anew.")
        return maps
