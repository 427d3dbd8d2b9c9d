"""Disparity maps on disk: 16-bit PNGs, and a `depth.json` beside them that says what their numbers mean.

A PNG holds round(65535 disparity) of a disparity 0..1, 1 = nearest. By the range in depth.json,
1 / depth = 1 / farthest + (1 / nearest - 1 / farthest) disparity, in the network's own unit of length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import PositiveFloat

from fathomseg.config import Part, validate
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io import draw
from fathomseg.io.files import read_tree, write_text
from fathomseg.io.label_images import read_values

SCALE: Final = "depth.json"
_LEVELS: Final = 65535

DepthUnit = Literal["metres", "relative"]
"""What predicted depth is measured in. relative: up to a factor that is one number for all images of a network."""


class DisparityScale(Part):
    """What the numbers in a folder of disparity PNGs mean; the content of depth.json."""

    nearest: PositiveFloat
    """Depth of disparity 1, in `unit`."""
    farthest: PositiveFloat
    """Depth of disparity 0, in `unit`."""
    unit: DepthUnit = "relative"
    """Unit of length of the depth. relative: the network's own; metres only if its training knew the scale."""
    disparity: str = f"PNG value / {_LEVELS}: 0 = farthest, 1 = nearest"
    """How a stored number becomes a disparity."""
    depth: str = "1 / (1 / farthest + (1 / nearest - 1 / farthest) * disparity)"
    """How a disparity becomes a z-depth."""
    run: str | None = None
    """The run whose network made the maps."""


def write_disparity(path: Path, disparity: Float32[np.ndarray, "h w"]) -> None:
    """Write disparity 0..1 as a 16-bit grey PNG, exact to half a level (8e-6). Appears only when complete.

    Raises `FathomError` for values that are not within 0..1.
    """
    if not ((disparity >= 0) & (disparity <= 1)).all():  # which NaN fails as well
        raise FathomError(
            f"{path}: a disparity map holds values from 0 to 1, but these run from {disparity.min()} to "
            f"{disparity.max()}."
        )
    draw.write(path, np.rint(disparity.astype(np.float64) * _LEVELS).astype(np.uint16))


def read_disparity(path: str | Path) -> Float32[np.ndarray, "h w"]:
    """The disparity 0..1 that `write_disparity` stored. Raises `DataError` if it is no 16-bit grey image."""
    stored = read_values(Path(path))
    if stored.dtype != np.uint16:
        reason = f"has pixels of type {stored.dtype}; expected a disparity map of 16 bits, as `fathom predict` writes"
        raise DataError([Problem(str(path), reason)])
    return (stored / np.float32(_LEVELS)).astype(np.float32)


def write_scale(
    folder: Path, depth_range: tuple[float, float], unit: DepthUnit = "relative", run: str | None = None
) -> Path:
    """Write depth.json; `depth_range` is the depth of disparity 1 and of disparity 0, in `unit`."""
    scale = DisparityScale(nearest=depth_range[0], farthest=depth_range[1], unit=unit, run=run)
    path = folder / SCALE
    write_text(path, scale.model_dump_json(indent=1) + "\n")
    return path


def read_scale(folder: str | Path) -> tuple[float, float] | None:
    """The depth of disparity 1 and of 0 by the depth.json in `folder` or the folder above it; None if there is none.

    Raises `FathomError` if the file says something else.
    """
    places = (Path(folder), Path(folder).parent)
    path = next((place / SCALE for place in places if (place / SCALE).is_file()), None)
    if path is None:
        return None
    tree = read_tree(path)
    if not isinstance(tree, dict):
        raise FathomError(f"{path} holds no JSON object; `fathom predict` writes one beside its maps.")
    scale = validate(DisparityScale, tree, str(path))
    return scale.nearest, scale.farthest
