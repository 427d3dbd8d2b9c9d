"""The scene model: whether a depth map and a segmentation show the same scene. The union below lists its towers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.models.scene.towers import TimmTower, Vit

AnyTower = Annotated[Vit | TimmTower, Field(discriminator="name")]
"""Every tower there is."""
