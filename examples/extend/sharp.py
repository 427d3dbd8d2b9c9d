# src/fathomseg/selection/sharp.py
"""The sharpest images of a pool, by the variance of the Laplacian (Pech-Pacheco et al. 2000)."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from fathomseg.selection.base import Answer, Criterion, highest, times_the_median
from fathomseg.selection.pool import Pool
from fathomseg.selection.result import Choice


class Sharp(Criterion):
    """The images with the strongest fine detail, the sharpest first."""

    name: Literal["sharp"] = "sharp"

    def _choose(self, pool: Pool, budget: int) -> Answer:
        scores = np.array([sharpness(image) for id in pool.ids for image in pool.read([id])])
        choices = []
        for rank, row in enumerate(highest(scores, pool.rows(pool.already), budget), 1):
            score = float(scores[row])
            reason = f"Its sharpness is {score:.0f}, {times_the_median(score, scores)}."
            choices.append(Choice(id=pool.ids[row], rank=rank, scores={"sharp": score}, reason=reason))
        return Answer(tuple(choices))


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of the grey image, in squared grey levels."""
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
