"""The report of a depth run: one self-contained HTML file, readable on a telephone too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from fathomseg.evaluation.motion import Drive
from fathomseg.geometry.trajectory import SNIPPET
from fathomseg.io import draw
from fathomseg.io.files import write_text
from fathomseg.io.images import resize_image
from fathomseg.report.depth_examples import DepthExample
from fathomseg.report.depth_scores import ALIGNMENT_NAMES, ERROR_NAMES, MOTION_NAMES
from fathomseg.report.html import environment, page_size, read_text, uri
from fathomseg.report.plan import plan
from fathomseg.report.scores import NAMES, number, percent
from fathomseg.types import Size

_PLANS: Final = 6
"""Trajectories that are drawn at most: the longest."""
_TICKS_M: Final = (2, 5, 10, 20, 40, 80)
"""Depths named at the scale of colours."""


def write_depth_page(
    folder: Path,
    result: Mapping[str, Any],
    drives: Sequence[Drive],
    best: Sequence[DepthExample],
    worst: Sequence[DepthExample],
    configuration: Path,
) -> Path:
    """Write report.html beside scores.json; `configuration` is the run's file, shown if there is one."""
    path = folder / "report.html"
    write_text(path, render_depth(result, drives, best, worst, read_text(configuration)))
    return path


def render_depth(
    result: Mapping[str, Any],
    drives: Sequence[Drive] = (),
    best: Sequence[DepthExample] = (),
    worst: Sequence[DepthExample] = (),
    configuration: str | None = None,
) -> str:
    """The page as text. `result` is what scores.json holds; all text from outside is escaped."""
    longest = sorted((one for one in drives if len(one.ids) >= SNIPPET), key=lambda one: -len(one.ids))[:_PLANS]
    groups = [("Worst images", worst), ("Best images", best)]
    scores = next(iter(result["scores"].values()), None)
    motion = result["motion"]["all"] if result["motion"] else None
    return (
        environment()
        .get_template("depth.html")
        .render(
            result=result,
            scores=scores,
            motion=motion,
            title=Path(result["against"] or result["run"]).name,
            cards=_cards(scores, motion, result["meaning"]),
            names=NAMES,
            errors=ERROR_NAMES,
            alignments=ALIGNMENT_NAMES,
            measures=MOTION_NAMES,
            plans=[plan(drive) for drive in longest],
            groups=[(name, [_pictures(one) for one in group]) for name, group in groups if group],
            scale=_scale(),
            configuration=configuration,
        )
    )


@dataclass(frozen=True, slots=True)
class _Card:
    """A headline number and what it means."""

    name: str
    value: str
    unit: str
    meaning: str


def _cards(
    scores: Mapping[str, Any] | None, motion: Mapping[str, Any] | None, meaning: Mapping[str, str]
) -> list[_Card]:
    """The numbers to look at first, the most usual one in front."""
    cards = []
    if scores is not None:
        scaled, plain = scores["median"], scores["none"]
        cards += [
            _Card("AbsRel, median-scaled", number(scaled["abs_rel"]), "", meaning["abs_rel"]),
            _Card("AbsRel, unscaled", number(plain["abs_rel"]), "", f"{meaning['abs_rel']}, as predicted"),
            _Card("RMSE, median-scaled", number(scaled["rmse"], 2), "m", meaning["rmse"].removesuffix("; metres")),
            _Card("δ < 1.25, median-scaled", percent(scaled["delta1"]), "%", meaning["delta1"]),
            _Card("spread of the scale", percent(scores["scale_std"]), "%", meaning["scale_std"]),
        ]
    if motion is not None:
        cards += [
            _Card("ATE of 5 frames", number(motion["ate_m"], 3), "m", meaning["ate_m"]),
            _Card("rotation error", number(motion["rotation_deg"], 3), "°", meaning["rotation_deg"]),
            _Card("direction of travel error", number(motion["direction_deg"], 1), "°", meaning["direction_deg"]),
        ]
    return cards


@dataclass(frozen=True, slots=True)
class _Pictures:
    id: str
    abs_rel: float
    pictures: list[tuple[str, str]]
    """What it shows, and the picture as a data URI."""


def _pictures(example: DepthExample) -> _Pictures:
    size = page_size(example.truth.shape)
    prediction, truth = _shrunk(example.prediction, example.prediction > 0, size), example.truth
    counted = _sampled(example.counted, size)
    wrong = draw.depth_error_picture(
        _taken(example.prediction, counted, size), _taken(truth, counted, size), (counted >= 0).reshape(size)
    )
    shown = {
        "image": resize_image(example.image, size),
        "predicted disparity, scaled": draw.depth_picture(prediction),
        "truth": draw.depth_picture(_shrunk(truth, truth > 0, size)),
        "error": wrong,
    }
    kinds = {"image": ".jpg"}
    pictures = [(what, uri(picture, kinds.get(what, ".png"))) for what, picture in shown.items()]
    return _Pictures(example.id, example.abs_rel, pictures)


def _shrunk(
    depth: Float32[np.ndarray, "h w"], valid: UInt8[np.ndarray, "h w"] | np.ndarray, size: Size
) -> Float32[np.ndarray, "h2 w2"]:
    """Depth at a smaller size; a cell with any valid pixel shows one, so that the sparse dots of a laser stay."""
    return _taken(depth, _sampled(valid, size), size)


def _sampled(valid: np.ndarray, size: Size) -> Int64[np.ndarray, " cells"]:
    """The index of a valid pixel for every cell of a map of `size`; -1 where a cell has none."""
    chosen = np.full(size[0] * size[1], -1)
    pixels = np.flatnonzero(valid)
    rows, columns = np.divmod(pixels, valid.shape[1])
    chosen[rows * size[0] // valid.shape[0] * size[1] + columns * size[1] // valid.shape[1]] = pixels
    return chosen


def _taken(
    values: Float[np.ndarray, "h w"], chosen: Int64[np.ndarray, " cells"], size: Size
) -> Float[np.ndarray, "h2 w2"]:
    """The values at the chosen pixels, 0 where there is none."""
    return np.where(chosen >= 0, values.reshape(-1)[chosen], 0).astype(values.dtype).reshape(size)


@dataclass(frozen=True, slots=True)
class _Scale:
    """The colours of depth and of errors, as pictures, and where along them some depths lie."""

    depth: str
    error: str
    ticks: list[tuple[int, float]]
    """Metres, and per cent of the width."""


def _scale() -> _Scale:
    metres = np.geomspace(_TICKS_M[0], _TICKS_M[-1], 256)
    ratios = np.geomspace(1 / 1.5, 1.5, 256)
    ticks = [(tick, 100 * float(np.log(tick / metres[0]) / np.log(metres[-1] / metres[0]))) for tick in _TICKS_M]
    depth, error = draw.depth_picture(metres[None]), draw.depth_error_picture(ratios[None], np.ones((1, 256)))
    return _Scale(uri(depth, ".png"), uri(error, ".png"), ticks)
