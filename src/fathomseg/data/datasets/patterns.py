"""Patterns that stand for several ids, as in a split or a list of a split."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards: `*`, `?` or `[...]`."""
    return any(mark in text for mark in "*?[")


def fitting(pattern: str, ids: Iterable[str]) -> list[str]:
    """The ids that a pattern fits, in their order; `*` is any text, with slashes, and large letters are not small."""
    fits = re.compile(fnmatch.translate(pattern)).match
    return [id for id in ids if fits(id)]
