"""No link: branches share an encoder, or nothing at all."""

from __future__ import annotations

from typing import Literal

from fathomseg.models.links.base import LinkPart, Widths


class NoLinks(LinkPart):
    """Branches do not exchange features."""

    name: Literal["none"] = "none"

    def build(self, widths: Widths) -> None:
        """Nothing."""
