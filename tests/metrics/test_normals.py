"""Angles between normals, by hand and pooled over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fathomseg.metrics.normals import MEANING, NormalScores, angles


def turned(degrees: list[float]) -> torch.Tensor:
    """A row of unit vectors at these angles from (0, 0, -1)."""
    a = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([a.sin(), torch.zeros_like(a), -a.cos()], dim=-1).float()[None]


def test_by_hand() -> None:
    scores = NormalScores()
    scores.update("a", turned([0.0, 10.0, 20.0, 29.0, 90.0]), turned([0.0] * 5))
    scores.update("b", turned([180.0, 77.0]), torch.cat([turned([0.0]), torch.zeros(1, 1, 3)], dim=1))
    scores.update("c", turned([5.0]), torch.zeros(1, 1, 3))
    result = scores.result()
    assert result["mean"] == pytest.approx((0 + 10 + 20 + 29 + 90 + 180) / 6, abs=1e-4)
    assert result["median"] == pytest.approx(20, abs=0.011)
    assert [result[f"within_{limit}"] for limit in ("11.25", "22.5", "30")] == pytest.approx([2 / 6, 3 / 6, 4 / 6])
    assert (result["images"], result["pixels"]) == (2, 6)
    assert scores.images["b"]["mean"] == pytest.approx(180, abs=1e-4)
    assert set(scores.images) == {"a", "b"}
    assert set(result) == set(MEANING)


def test_nothing_is_null() -> None:
    result = NormalScores().result()
    assert result["mean"] is result["median"] is result["within_30"] is None
    assert set(result) == set(MEANING)


def test_small_angles_are_precise() -> None:
    a, b = turned([0.0])[0].double(), turned([1e-3])[0].double()
    assert angles(a, b).item() == pytest.approx(1e-3, rel=1e-3)
    assert angles(3 * a, -a).item() == pytest.approx(180)


def test_an_oracle_on_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    p, t = (torch.nn.functional.normalize(torch.randn(30, 40, 3, generator=generator), dim=2) for _ in range(2))
    scores = NormalScores()
    scores.update("a", p, t)
    oracle = np.degrees(np.arccos(np.clip((p.double() * t.double()).sum(2).numpy(), -1, 1)))
    result = scores.result()
    assert result["mean"] == pytest.approx(oracle.mean(), abs=1e-4)
    assert result["median"] == pytest.approx(np.median(oracle), abs=0.2)
    assert result["within_30"] == pytest.approx((oracle < 30).mean(), abs=1e-3)
    assert not math.isnan(result["within_11.25"])
