"""A drawing of lines, dots and text, as SVG that needs no other file, and as pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
"""(x, y) in units of the drawing, from the upper left corner."""

_FINE: Final = 4
"""Pixels a unit while drawing, halved at the end, which makes smooth edges."""

_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; `dash`: units drawn, then left out."""

    points: Sequence[Point]
    colour: str
    width: float = 1.0
    dash: float = 0.0

    def svg(self) -> str:
        """The element."""
        dash = f' stroke-dasharray="{self.dash:g}"' if self.dash else ""
        return (
            f'<polyline points="{_listed(self.points)}" fill="none" stroke="{self.colour}" '
            f'stroke-width="{self.width:g}" stroke-linejoin="round"{dash}/>'
        )

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        """Onto pixels."""
        width = round(self.width * _FINE)
        pieces = _dashes(self.points, self.dash) if self.dash else [self.points]
        for piece in pieces:
            draw.line(_fine(piece), fill=self.colour, width=width, joint="curve")


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc, or a ring."""

    at: Point
    radius: float
    colour: str
    hollow: bool = False

    def svg(self) -> str:
        """The element."""
        fill = "#ffffff" if self.hollow else self.colour
        return (
            f'<circle cx="{self.at[0]:.2f}" cy="{self.at[1]:.2f}" r="{self.radius:g}" fill="{fill}" '
            f'stroke="{self.colour}"/>'
        )

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        """Onto pixels."""
        ((x, y),) = _fine([self.at])
        radius = self.radius * _FINE
        fill = "#ffffff" if self.hollow else self.colour
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=self.colour, width=_FINE)


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text on its base line."""

    at: Point
    text: str
    colour: str = "#333333"
    size: float = 13.0
    anchor: Literal["start", "middle", "end"] = "start"

    def svg(self) -> str:
        """The element."""
        return (
            f'<text x="{self.at[0]:.2f}" y="{self.at[1]:.2f}" font-size="{self.size:g}" fill="{self.colour}" '
            f'text-anchor="{self.anchor}">{escape(self.text)}</text>'
        )

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        """Onto pixels."""
        font = ImageFont.load_default(self.size * _FINE)
        draw.text(_fine([self.at])[0], self.text, fill=self.colour, font=font, anchor=_ANCHORS[self.anchor])


Shape = Line | Dot | Text


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on white, the later ones above."""

    width: int
    height: int
    title: str
    """What is to be seen, for those who cannot see it."""
    shapes: Sequence[Shape]

    def svg(self) -> str:
        """A whole SVG document without any reference outside."""
        elements = "\n".join(shape.svg() for shape in self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" font-family="Helvetica, Arial, sans-serif">\n'
            f"<title>{escape(self.title)}</title>\n"
            f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>\n{elements}\n</svg>\n'
        )

    def png(self) -> bytes:
        """A PNG file of twice as many pixels as units."""
        fine = Image.new("RGB", (self.width * _FINE, self.height * _FINE), "#ffffff")
        draw = ImageDraw.Draw(fine)
        for shape in self.shapes:
            shape.paint(draw)
        file = io.BytesIO()
        fine.resize((self.width * 2, self.height * 2), Image.Resampling.BOX).save(file, "png", optimize=True)
        return file.getvalue()


def _listed(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _fine(points: Sequence[Point]) -> list[Point]:
    return [(x * _FINE, y * _FINE) for x, y in points]


def _dashes(points: Sequence[Point], length: float) -> list[list[Point]]:
    """Straight pieces of the first straight line through `points`, as long as the gaps between them."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    whole = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    starts = [2 * length * i for i in range(int(whole / (2 * length)) + 1)]

    def at(distance: float) -> Point:
        part = min(1.0, distance / whole)
        return x0 + part * (x1 - x0), y0 + part * (y1 - y0)

    return [[at(start), at(start + length)] for start in starts]
