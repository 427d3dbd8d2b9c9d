"""Which frames of a clip are neighbours in time, by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_NUMBER: Final = re.compile(r"\d+$")
_DIGITS: Final = re.compile(r"(\d+)")


def order_in_time(names: Sequence[str]) -> dict[str, int]:
    """Where each frame of one clip stands in time: frames are neighbours if their places differ by one.

    If the names end in numbers that mostly differ by the same step, the number counts and a jump is a gap in time.
    Otherwise (timestamps, no numbers) the frames simply follow each other, by number or by name, in which "(9)" comes
    before "(10)". So do those whose last number begins anew where one before it grows: seconds and their parts.
    """
    numbers = {name: int(match[0]) for name in names if (match := _NUMBER.search(name))}
    ordered = sorted(names, key=_spelling)
    if len(set(numbers.values())) < len(names):
        return {name: place for place, name in enumerate(ordered)}
    by_number = sorted(names, key=numbers.__getitem__)
    if by_number != ordered and len({_DIGITS.sub("0", name) for name in names}) == 1:
        return {name: place for place, name in enumerate(ordered)}
    ordered = by_number
    steps = [numbers[after] - numbers[before] for before, after in pairwise(ordered)]
    usual, often = Counter(steps).most_common(1)[0] if steps else (1, 0)
    even = 2 * often > len(steps)
    found, place = {}, 0
    for name, step in zip(ordered, [0, *steps], strict=True):
        if name != ordered[0]:
            place += 1 if step == usual or not even else max(2, -(-step // usual))
        found[name] = place
    return found


def _spelling(name: str) -> tuple[list[str | int], str]:
    """By which names are sorted as people sort them: numbers in them by their value."""
    parts = _DIGITS.split(name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
