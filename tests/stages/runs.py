"""How runs are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The log without the times, which no two runs share."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.endswith("seconds")} for line in lines]


def same_run(one: Path, other: Path) -> None:
    """Both runs ended in the same weights and logged the same numbers, to the last bit."""
    for file in ("model.safetensors", "last.safetensors"):
        first, second = load_file(one / file), load_file(other / file)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert metrics(one) == metrics(other)


def nearly_the_same_run(one: Path, other: Path) -> None:
    """Equal up to the order in which sums were rounded."""
    first, second = load_file(one / "last.safetensors"), load_file(other / "last.safetensors")
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    for a, b in zip(metrics(one), metrics(other), strict=True):
        assert b.pop("kind") == a.pop("kind")
        assert b == pytest.approx(a, rel=1e-5)
