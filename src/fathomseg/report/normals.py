"""The section on surface normals: angles between predicted and true ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table

from fathomseg.data.datasets.base import Dataset
from fathomseg.io.images import resize_image
from fathomseg.io.normal_maps import normals_picture
from fathomseg.metrics.normals import MEANING, WITHIN
from fathomseg.report.html import page_size, uri
from fathomseg.report.section import (
    NO_EXAMPLES,
    WEIGHTS,
    Card,
    Example,
    Examples,
    Figure,
    Section,
    figures,
    number,
    percent,
    table,
    thousands,
)

SHARES: Final = {f"within_{limit:g}": f"below {limit:g}°" for limit in WITHIN}
ANGLES: Final = {"mean": "mean angle", "median": "median angle"}


def normals_section(
    scores: Mapping[str, Mapping[str, Any]], dataset: Dataset, examples: Examples = NO_EXAMPLES
) -> Section:
    """The section of `NormalScores.result()` by weights, the first ones in front; the dataset adds nothing."""
    first = next(iter(scores.values()))
    return Section(
        title="Surface normals",
        template="normals.html",
        headline=f"mean angle {number(first['mean'], 1)}°",
        facts=[f"{thousands(first['images'])} images", f"{thousands(first['pixels'])} pixels with a true normal"],
        cards=[
            *(Card(text, number(first[key], 1), "°", MEANING[key]) for key, text in ANGLES.items()),
            *(Card(text, percent(first[key]), "%", MEANING[key]) for key, text in SHARES.items()),
        ],
        meaning=MEANING,
        shown={"all": scores, "angles": ANGLES, "shares": SHARES},
        figures=figures(examples, _figure),
        tables=[_table(scores)],
        notes=[f"Over {thousands(first['pixels'])} pixels of {first['images']} images."],
    )


def _table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [[f"{text} (°)", *(number(one[key], 1) for one in scores.values())] for key, text in ANGLES.items()]
    rows += [[f"{text} (%)", *(percent(one[key]) for one in scores.values())] for key, text in SHARES.items()]
    return table("angle", (WEIGHTS[name] for name in scores), rows, "normals")


def _figure(example: Example) -> Figure:
    size = page_size((example.truth.shape[0], example.truth.shape[1]))
    predicted, truth = (normals_picture(vectors) for vectors in (example.prediction["normals"], example.truth))
    pictures = [
        ("image", uri(resize_image(example.image, size), ".jpg")),
        ("prediction", uri(resize_image(predicted, size), ".png")),
        ("truth", uri(resize_image(truth, size), ".png")),
    ]
    return Figure(example.id, f"mean angle {number(example.row['mean'], 1)}°", pictures)
