"""Scoring on one process or on many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


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
