"""How geometry and photometric losses compute: in full precision, and in blocks that fit the processor's cache."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.types import Size

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` without autocast, with half and bfloat16 tensor arguments raised to float32; float64 stays.

    Near 640, neighbouring numbers lie 0.5 apart in half precision and 4 apart in bfloat16: useless as pixel positions.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        with without_autocast(device):
            return function(*map(_raised, args), **{name: _raised(value) for name, value in kwargs.items()})

    return wrapped


def without_autocast(kind: str) -> AbstractContextManager[Any]:
    """Autocast off on a kind of device; nothing on "meta", which has no values and no autocast."""
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def product(A: Float[Tensor, "*#b i j"], B: Float[Tensor, "*#b j k"]) -> Float[Tensor, "*b i k"]:
    """A @ B for tiny matrices; never in TF32 (10 bits), which a user may have switched on for the networks."""
    return (A[..., :, :, None] * B[..., None, :, :]).sum(-2)


def blocks(tensor: Tensor, dims: int) -> Iterator[tuple[slice, ...]]:
    """Indices that cut the first `dims` dimensions to length 1 on the CPU; elsewhere one index for everything.

    A chain of elementwise operations on one image plane stays in the cache and reuses its memory, which is several
    times faster on a CPU than the same chain on a batch. A GPU wants few large calls.
    """
    if tensor.device.type != "cpu":
        yield (slice(None),) * dims
        return
    for index in itertools.product(*(range(n) for n in tensor.shape[:dims])):
        yield tuple(slice(i, i + 1) for i in index)


def size_of(image: Tensor) -> Size:
    """Height and width of the last two dimensions."""
    return image.shape[-2], image.shape[-1]


def _raised(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    return type(value)(map(_raised, value)) if isinstance(value, list | tuple) else value
