"""The section on depth: errors under each alignment of the scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from rich.table import Table

from fathomseg.data.datasets.base import Dataset
from fathomseg.io import draw
from fathomseg.io.images import resize_image
from fathomseg.metrics.depth import MEANING, DepthProtocol, scale_and_shift
from fathomseg.report.depth_colours import metric_scale
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
from fathomseg.types import Size

ERRORS: Final = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel (m)",
    "rmse": "RMSE (m)",
    "rmse_log": "RMSE log",
    "delta1": "δ < 1.25",
    "delta2": "δ < 1.25²",
    "delta3": "δ < 1.25³",
}
ALIGNMENTS: Final = {"median": "median-scaled", "none": "unscaled", "scale_shift": "fitted in 1 / depth"}
"""In the order they are shown."""


def depth_section(
    scores: Mapping[str, Mapping[str, Any]], dataset: Dataset, examples: Examples = NO_EXAMPLES
) -> Section:
    """The section of `DepthScores.result()` by weights, the first ones in front; the dataset adds nothing."""
    first = next(iter(scores.values()))
    settings = first["settings"]
    how = settings.get("alignment") or "median"
    scaled, words = first[how], ALIGNMENTS[how]
    span, crop = f"{settings['min_depth']:g} to {settings['max_depth']:g} m", settings["crop"]
    without = first["images_without_truth"]
    left_out = f"; {without} more have a depth map without a pixel that counts" if without else ""
    scale = f"{number(first['scale_median'])} metres per predicted unit (median over images)"
    unscaled = Card("AbsRel, unscaled", number(first["none"]["abs_rel"]), "", f"{MEANING['abs_rel']}, as predicted")
    return Section(
        title="Depth",
        template="depth.html",
        headline=f"AbsRel {number(scaled['abs_rel'])}",
        facts=[f"{thousands(first['images'])} images", f"{thousands(first['pixels'])} pixels with a true depth"],
        cards=[
            Card(f"AbsRel, {words}", number(scaled["abs_rel"]), "", MEANING["abs_rel"]),
            *([] if how == "none" else [unscaled]),
            Card(f"RMSE, {words}", number(scaled["rmse"], 2), "m", MEANING["rmse"].removesuffix("; metres")),
            Card(f"δ < 1.25, {words}", percent(scaled["delta1"]), "%", MEANING["delta1"]),
            Card("spread of the scale", percent(first["scale_std"]), "%", MEANING["scale_std"]),
        ],
        meaning=MEANING,
        shown={
            "all": scores,
            "errors": ERRORS,
            "alignments": ALIGNMENTS,
            "scale": metric_scale() if examples.worst else None,
            "error_ramp": _error_ramp(),
        },
        settings=[
            ("true depth that counts", f"{span}; predictions are clamped to it after scaling"),
            ("crop", crop),
            ("alignment of each image", f"{words}: {MEANING[how]}"),
            ("images with depth", f"{first['images']}{left_out}"),
            ("scale of depth", f"{scale}, spread {percent(first['scale_std'])} %"),
        ],
        figures=figures(examples, lambda example: _figure(example, DepthProtocol(**settings))),
        tables=[_table(scores)],
        notes=[f"Means over {first['images']} images with a true depth of {span} (crop: {crop})."],
    )


def _table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    first = next(iter(scores.values()))["settings"].get("alignment")
    shown = ("scale_shift", "median") if first == "scale_shift" else ("median", "none")
    columns = [(name, how) for name in scores for how in shown]
    rows = [[text, *(number(scores[name][how][key]) for name, how in columns)] for key, text in ERRORS.items()]
    return table("error", (f"{WEIGHTS[name]}\n{ALIGNMENTS[how]}" for name, how in columns), rows, "depth")


def _figure(example: Example, protocol: DepthProtocol) -> Figure:
    """The prediction is shown after the alignment to look at first, the error where a true depth counts."""
    size, truth, how = page_size(example.truth.shape), example.truth, protocol.alignment or "median"
    valid = protocol.valid(torch.tensor(truth)).numpy()
    prediction, counted = _aligned(example, valid, protocol), _sampled(valid, size)
    wrong = draw.depth_error_picture(
        _taken(prediction, counted, size), _taken(truth, counted, size), (counted >= 0).reshape(size)
    )
    pictures = [
        ("image", uri(resize_image(example.image, size), ".jpg")),
        (
            "predicted depth" if how == "none" else "predicted depth, scaled",
            uri(draw.depth_picture(_shrunk(prediction, size)), ".png"),
        ),
        ("truth", uri(draw.depth_picture(_shrunk(truth, size)), ".png")),
        ("error", uri(wrong, ".png")),
    ]
    return Figure(example.id, f"AbsRel {number(example.row[how]['abs_rel'])}", pictures)


def _aligned(example: Example, valid: Bool[np.ndarray, "h w"], protocol: DepthProtocol) -> Float32[np.ndarray, "h w"]:
    """The predicted depth as `DepthScores` compares it with the truth."""
    depth: Float32[np.ndarray, "h w"] = example.prediction["depth"]
    if protocol.alignment == "none":
        return depth
    if protocol.alignment != "scale_shift":
        return depth * np.float32(example.row["image"]["scale"])
    inverse, true = (torch.from_numpy(one.astype(np.float64)).reciprocal() for one in (depth, example.truth))
    inside = torch.from_numpy(valid)
    scale, shift = scale_and_shift(inverse[inside], true[inside])
    return (1 / (scale * inverse + shift).clamp(min=1 / protocol.max_depth)).float().numpy()


def _shrunk(depth: Float32[np.ndarray, "h w"], size: Size) -> Float32[np.ndarray, "h2 w2"]:
    """Depth at a smaller size; a cell with any known pixel shows one, so that the sparse dots of a laser stay."""
    return _taken(depth, _sampled(depth > 0, size), size)


def _sampled(valid: Bool[np.ndarray, "h w"], size: Size) -> Int64[np.ndarray, " cells"]:
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


def _error_ramp() -> str:
    ratios = np.geomspace(1 / 1.5, 1.5, 256)
    return uri(draw.depth_error_picture(ratios[None], np.ones((1, 256))), ".png")
