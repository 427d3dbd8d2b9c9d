"""Seeing the samples of all processes in a loss that compares samples with each other."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


def of_all_ranks(own: Shaped[Tensor, "b *n"]) -> Shaped[Tensor, "world_b *n"]:
    """The rows of all processes, in the order of their ranks, which is that of one process; equally many on each.

    For a loss that every rank computes whole. A gradient reaches this rank's own rows alone, multiplied by the number
    of ranks: these average their gradients, and what they average must add up to the gradient of one process.
    Parameters of the loss itself (a temperature) get the same gradient on every rank, which averaging leaves alone.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return own
    world = dist.get_world_size()
    rows = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(world)]
    dist.all_gather(rows, own.detach().contiguous())
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * world)
    rows[dist.get_rank()] = own
    return torch.cat(rows)
