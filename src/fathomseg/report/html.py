"""What all reports share: the templates, the filters they use, and pictures as text."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined

from fathomseg.io import draw
from fathomseg.report.section import number, percent, thousands
from fathomseg.types import Size

_WIDTH: Final = 480
"""Pixels across a picture in the page."""


def environment() -> Environment:
    """The templates of this folder; all text from outside is escaped, a name that is missing is an error."""
    found = Environment(
        loader=PackageLoader("fathomseg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(percent=percent, number=number, shell=shlex.join, colour=_colour, thousands=thousands)
    return found


def page_size(size: Size) -> Size:
    """The (height, width) at which a picture of `size` is shown."""
    height, width = size
    return (max(1, round(height * _WIDTH / width)), _WIDTH) if width > _WIDTH else (height, width)


def uri(picture: UInt8[np.ndarray, "h w 3"], suffix: str, *quality: int) -> str:
    """A picture as a data URI, so that the page needs no other file; the quality of a JPEG may be given."""
    kind = {".jpg": "jpeg", ".png": "png"}[suffix]
    return f"data:image/{kind};base64,{base64.b64encode(draw.encode(picture, suffix, *quality)).decode()}"


def _colour(rgb: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
