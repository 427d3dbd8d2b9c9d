"""Scoring on one process or on many: who takes part, and what all of them found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

A = TypeVar("A")


def rank_and_world() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gathered(items: Sequence[A]) -> list[A]:
    """The items of all ranks, so that all of them go on or all of them stop."""
    if not dist.is_initialized():
        return list(items)
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, list(items))
    return [item for part in found for item in part]


@contextmanager
def processes(wanted: str = "auto") -> Iterator[torch.device]:
    """The device of this process, which joins the others if torchrun started several (and training has not).

    `wanted`: "cpu", or anything else for a GPU where there is one.
    """
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if wanted != "cpu" and torch.cuda.is_available() else torch.device("cpu")
    ours = world > 1 and not dist.is_initialized()
    if ours:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if ours:
            dist.destroy_process_group()
