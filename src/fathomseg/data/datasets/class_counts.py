"""Whether a class list fits the labels: which classes have pixels, and what it most likely means if too few do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Int64

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError
from fathomseg.io.label_images import read_values
from fathomseg.types import IGNORE

Counts = Int64[np.ndarray, " 256"]
"""How many pixels have each class index; 255 = ignored."""

_LOOKED_AT: Final = 20
"""Labels whose stored values are looked at, to explain what is wrong."""


def contradiction(names: Sequence[str], counts: Counts, dataset: Dataset, ids: Sequence[str]) -> str | None:
    """Why labels in which fewer than two classes have pixels cannot be learned from; None if at least two have.

    `ids`: samples that have a label, whose stored values are told.
    """
    present = [name for name, count in zip(names, counts, strict=False) if count]
    if len(present) > 1:
        return None
    ignored = int(counts[IGNORE])
    found = f"only the class {present[0]!r} has pixels" if present else "every pixel is ignored"
    lines = [f"Of the {len(names)} classes ({', '.join(names[:5])}{' ...' if len(names) > 5 else ''}) {found}."]
    if stored := stored_values(dataset, ids):
        lines.append(f"Pixel values in the label files: {stored}.")
    if ignored and present:
        share = 100 * ignored / int(counts.sum())
        lines.append(
            f"{share:.0f} % of the pixels are ignored. In masks of 0 and 255 the value 255 is often a class: give "
            "every class its id (`{name: NAME, id: 255}`) and say `ignore: []` in dataset.yaml."
        )
    lines.append(
        "Other likely causes: ids in the files that do not begin at 0 as the class list does (give `id` for each "
        "class), or a background that nobody painted (make it a class, and paint it)."
    )
    return " ".join(lines)


def absences(names: Sequence[str], counts: Counts, stored: bool = True) -> str | None:
    """A warning that names the classes without a pixel; None if there are none.

    `stored`: ignored pixels have a value in a file, which may have been meant as a class.
    """
    absent = [name for name, count in zip(names, counts, strict=False) if not count]
    if not absent:
        return None
    shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
    ignored = 100 * int(counts[IGNORE]) / max(1, int(counts.sum()))
    hint = (
        f" {ignored:.0f} % of the pixels are ignored: should their value be one of these?"
        if stored and ignored > 5
        else ""
    )
    return f"no pixel has the class {shown}; nothing can be learned of it.{hint}"


def much_ignored(ignored: int, pixels: int) -> str | None:
    """A note that more than a third of the pixels of labelled images is ignored; None if it is not so."""
    if 3 * ignored <= pixels:
        return None
    return (
        f"{100 * ignored / pixels:.0f} % of the pixels of labelled images are ignored: nothing is learned or scored "
        "there. If they are what nobody painted, give them a class: `unpainted: NAME` in dataset.yaml (for masks that "
        "store a value there, give that value to the class, and take it out of `ignore`)."
    )


def stored_values(dataset: Dataset, ids: Sequence[str]) -> str:
    """The values in some label files as they are stored, the most frequent first ("0 (70 %), 255 (30 %)")."""
    found: Counter[int] = Counter()
    for id in ids[:: max(1, len(ids) // _LOOKED_AT)][:_LOOKED_AT]:
        files = dataset.files(id)
        if files is None or files.label is None:
            continue
        try:
            values, counts = np.unique(read_values(files.label), return_counts=True)
        except DataError:  # colours
            continue
        found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    total = found.total()
    return ", ".join(f"{value} ({100 * count / total:.3g} %)" for value, count in found.most_common(8))
