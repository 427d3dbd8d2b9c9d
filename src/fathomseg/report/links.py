"""The section on links: how strong each one was while it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fathomseg.engine.step import LINKS
from fathomseg.io.chart import COLOURS, chart, svg
from fathomseg.report.section import Card, Section, number, percent

MEANING: Final = {
    "norm": "Euclidean norm of the weights of a link; 0 = closed",
    "share": "norm of what a link adds to a map, divided by that of the map; the mean over a batch of training",
}
_STYLES: Final = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True)
class Curve:
    """One link by the steps that were logged."""

    steps: Sequence[int]
    norms: Sequence[float]
    shares: Sequence[float]


def read_curves(log: Path) -> dict[str, Curve]:
    """By link what a run's log says of it; empty for a run without links between encoders and decoders."""
    if not log.is_file():
        return {}
    lines = [json.loads(text) for text in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["kind"] == "train"]
    names = dict.fromkeys(
        key for line in lines for key in line if key.startswith(f"{LINKS}.") and key.endswith(".norm")
    )
    curves = {}
    for key in names:
        name, having = key.removesuffix(".norm"), [line for line in lines if key in line]
        columns = ([line[column] for line in having] for column in ("step", key, f"{name}.share"))
        curves[name.removeprefix(f"{LINKS}.")] = Curve(*columns)
    return curves


def links_sections(log: Path) -> list[Section]:
    """The section of a run whose log tells of links, else none."""
    if not (curves := read_curves(log)):
        return []
    largest = max(curves, key=lambda name: curves[name].shares[-1])
    share, norm = curves[largest].shares[-1], max(curve.norms[-1] for curve in curves.values())
    return [
        Section(
            title="Links",
            template="links.html",
            headline=f"links up to {percent(share)} %",
            facts=[f"{len(curves)} links", f"{len(curves[largest].steps)} steps of the training's log"],
            cards=[
                Card("largest share at the end", percent(share), "%", f"{readable(largest)}; {MEANING['share']}"),
                Card("largest norm at the end", number(norm), "", MEANING["norm"]),
            ],
            meaning=MEANING,
            shown={"picture": picture(curves)},
        )
    ]


def readable(name: str) -> str:
    """`depth_to_segmentation.2` -> `depth to segmentation, map 2`."""
    pair, _, index = name.rpartition(".")
    return f"{pair.replace('_to_', ' to ')}, map {index}"


def picture(curves: Mapping[str, Curve]) -> str:
    """An SVG element: norm and share of every link over the steps; one colour for each pair, one style for each map."""
    pairs = list(dict.fromkeys(name.rpartition(".")[0] for name in curves))
    maps = list(dict.fromkeys(name.rpartition(".")[2] for name in curves))
    with chart(9, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        left.set(xlabel="step", ylabel="norm of the weights")
        right.set(xlabel="step", ylabel="share of the map (%)")
        for name, curve in curves.items():
            pair, _, index = name.rpartition(".")
            look = {
                "color": COLOURS[pairs.index(pair) % len(COLOURS)],
                "linestyle": _STYLES[maps.index(index) % len(_STYLES)],
                "marker": "o" if len(curve.steps) == 1 else None,
            }
            left.plot(curve.steps, curve.norms, **look, label=readable(name))
            right.plot(curve.steps, [100 * share for share in curve.shares], **look)
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        return svg(figure, inline=True)
