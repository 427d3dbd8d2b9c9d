"""Charts by matplotlib, which is imported when the first one is drawn, and without a window or any state of its own."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK: Final = "#1d2129"
GREY: Final = "#667085"
PALE: Final = "#e3e4e0"
ACCENT: Final = "#0d6c7e"
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#7f7f7f")
"""Of curves: Okabe and Ito's, which most colour-blind people can tell apart; black is the ink of the page."""
_VARIABLES: Final = {INK: "var(--ink)", GREY: "var(--faint)", PALE: "var(--line)", ACCENT: "rgb(var(--accent))"}
"""The colours of light pages, and what style.css calls them, so that charts in a page are dark where it is."""

_STYLE: Final[dict[str, Any]] = {
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 1,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "lines.markersize": 5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fathomseg",
}


_DRAWING: Final = threading.RLock()
"""The style of matplotlib is one for all threads."""


@contextmanager
def chart(width: float = 5.6, height: float = 3.4) -> Iterator[Figure]:
    """An empty figure, in inches: a point of its fonts is a pixel where it is shown 400 pixels wide."""
    import matplotlib
    from matplotlib.figure import Figure

    with _DRAWING, matplotlib.rc_context(_STYLE):
        yield Figure((width, height), layout="constrained")


def svg(figure: Figure, inline: bool = False) -> str:
    """A document without any reference outside; `inline`: an element for a page, in the colours of style.css."""
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    text = _saved(figure, format="svg", transparent=inline, metadata=nothing).decode()
    text = text[text.index("<svg") :]
    if inline:  # what belongs to a document alone: name spaces, names of groups, a style for all elements
        text = re.sub(r'<svg.*?( viewBox="[^"]*")[^>]*>', r"<svg\1>", text, count=1, flags=re.S)
        text = re.sub(r'(?<=<g) id="[^"]*"|<defs>\s*<style.*?</style>\s*</defs>', "", text, flags=re.S)
        for colour, variable in _VARIABLES.items():
            text = text.replace(colour, variable)
    return text


def png(figure: Figure) -> bytes:
    """A PNG file, 1120 pixels wide where `chart` was given no width."""
    return _saved(figure, format="png", dpi=200)


def _saved(figure: Figure, **options: Any) -> bytes:
    import matplotlib

    file = io.BytesIO()
    with _DRAWING, matplotlib.rc_context(_STYLE):
        figure.savefig(file, **options)
    return file.getvalue()
