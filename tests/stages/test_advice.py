"""What is advised when memory runs out: only settings that are accepted, for every stream with a batch of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch

from fathomseg.engine.loop import Loop
from fathomseg.errors import FathomError
from fathomseg.stages.advice import memory_advice


def advised(loop: Loop, own_batch: Mapping[str, int] | None = None) -> dict[str, str]:
    with pytest.raises(FathomError) as error, memory_advice((64, 96), loop, "resnet50", own_batch):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")
    assert str(error.value).endswith("The device said: CUDA out of memory.")
    return dict(re.findall(r"^  ([\w.]+)=(\S+)", str(error.value), flags=re.M))


def test_every_setting_with_its_value() -> None:
    expected = {"train.accumulate": "2", "train.precision": "bf16", "learner.geometry.crop": "[48,72]"}
    assert advised(Loop(batch=4)) == {**expected, "train.batch": "2"}
    assert advised(Loop(batch=4), {"unlabelled": 14}) == {**expected, "train.batch": "2", "unlabelled.batch": "7"}


@pytest.mark.parametrize(
    ("batch", "accumulate", "own", "more"),
    [
        (6, 1, {}, "2"),
        (6, 2, {}, "3"),
        (6, 3, {}, "6"),
        (9, 1, {"clips": 6}, "3"),
        (4, 4, {}, None),
        (4, 1, {"clips": 3}, None),
    ],
)
def test_batches_are_cut_only_into_parts_that_all_can_be_cut_into(
    batch: int, accumulate: int, own: dict[str, int], more: str | None
) -> None:
    assert advised(Loop(batch=batch, accumulate=accumulate), own).get("train.accumulate") == more


def test_nothing_is_advised_that_cannot_be_halved() -> None:
    assert "train.batch" not in advised(Loop(batch=1))


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_advice((64, 96), Loop(), "resnet50"):
        raise RuntimeError("shapes do not fit")
    with pytest.raises(FathomError, match="Out of memory"), memory_advice((64, 96), Loop(), "resnet50"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
