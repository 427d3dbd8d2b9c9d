"""The processes of one command: which this one is, and what all of them found. PyTorch is imported where needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

A = TypeVar("A")


def is_first() -> bool:
    """Whether this process is the first of those that torchrun started, or the only one; known before any joins."""
    return os.environ.get("RANK", "0") == "0"


def rank_and_world() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    import torch.distributed as dist

    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gathered(items: Sequence[A]) -> list[A]:
    """The items of all ranks, in their order, on every rank; all of them must call it."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return list(items)
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, list(items))
    return [item for part in found for item in part]
