"""Which frames of a clip are neighbours in time, by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_NUMBER: Final = re.compile(r"\d+$")


def order_in_time(names: Sequence[str]) -> dict[str, int]:
    """Where each frame of one clip stands in time: frames are neighbours if their places differ by one.

    If the names end in numbers that mostly differ by the same step, the number counts and a jump is a gap in time.
    Otherwise (timestamps, no numbers) the frames simply follow each other, by number or by name.
    """
    numbers = {name: int(match[0]) for name in names if (match := _NUMBER.search(name))}
    if len(set(numbers.values())) < len(names):
        return {name: place for place, name in enumerate(sorted(names))}
    ordered = sorted(names, key=numbers.__getitem__)
    steps = [numbers[after] - numbers[before] for before, after in pairwise(ordered)]
    usual, often = Counter(steps).most_common(1)[0] if steps else (1, 0)
    even = 2 * often > len(steps)
    found, place = {}, 0
    for name, step in zip(ordered, [0, *steps], strict=True):
        if name != ordered[0]:
            place += 1 if step == usual or not even else max(2, -(-step // usual))
        found[name] = place
    return found
