"""What a dataset without a split of its own holds out: chosen by names alone, so no list has to be kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def by_hash(key: str, percent: int) -> bool:
    """Whether a sample or sequence belongs to the hold-out: decided by its own name alone, on every machine alike."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100 < percent


def hold_out_by_hash(keys: Iterable[str], percent: int) -> set[str]:
    """The keys that `by_hash` says belong to the hold-out, but at least one of several, and never all."""
    ordered = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    val = {key for key in ordered if by_hash(key, percent)}
    if not val and len(ordered) > 1:
        val = {ordered[0]}
    return val - set(ordered[-1:]) if len(val) == len(ordered) else val
