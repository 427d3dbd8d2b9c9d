"""The scene model: a depth map and a segmentation -> unit vectors that point the same way if they belong together."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.models.scene import AnyTower
from fathomseg.models.scene.inputs import nearness
from fathomseg.models.scene.towers import Tower, Vit


class SceneEncoder(Part):
    """The settings of a scene model."""

    towers: Literal["shared", "two"] = "shared"
    """shared: one tower and one projection see both kinds of maps (as published). two: each kind has its own."""
    tower: AnyTower = Vit()
    """What turns a map into features."""
    embedding: Annotated[int, Field(gt=0)] = 128
    """Length of the vectors that are compared."""

    def build(self, pretrained: bool = True) -> SceneModel:
        """The model; `pretrained=False` fetches no weights (a saved file brings them)."""
        kinds = ("depth", "segmentation")[: 1 if self.towers == "shared" else 2]
        return SceneModel(nn.ModuleDict({kind: Embedding(self, pretrained) for kind in kinds}))


class Embedding(nn.Module):
    """A tower, a linear projection without bias, and the L2 norm."""

    def __init__(self, config: SceneEncoder, pretrained: bool) -> None:
        super().__init__()
        self.tower: Tower = config.tower.build(pretrained)
        self.projection = nn.Linear(self.tower.width, config.embedding, bias=False)

    def forward(self, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Unit vectors, float32."""
        return F.normalize(self.projection(self.tower(picture)).float(), dim=1)


class SceneModel(nn.Module):
    """The embedding of each kind of map, perhaps one for both."""

    def __init__(self, embeddings: nn.ModuleDict) -> None:
        super().__init__()
        self.embeddings = embeddings

    def depth(self, inverse_depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b e"]:
        """Unit vectors of inverse depths of any unit and size, 0 = infinitely far or not known."""
        found: Tensor = self.embeddings["depth"](nearness(inverse_depth))
        return found

    def segmentation(self, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Unit vectors of segmentations painted in the class colours, 0..1, of any size."""
        own = "segmentation" if "segmentation" in self.embeddings else "depth"
        found: Tensor = self.embeddings[own](picture)
        return found

    def forward(
        self, inverse_depth: Float[Tensor, "b 1 h w"], picture: Float[Tensor, "b 3 h2 w2"]
    ) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b e"]]:
        """Both; their scalar product is the similarity, -1..1."""
        return self.depth(inverse_depth), self.segmentation(picture)
