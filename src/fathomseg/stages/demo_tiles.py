"""What the criterion of a demo measures of the images it chose, and of as many random ones."""

from __future__ import annotations

from collections.abc import Sequence

from fathomseg.config import load
from fathomseg.errors import FathomError
from fathomseg.io.files import CONFIG
from fathomseg.report.demo_page import Tiles
from fathomseg.selection.cells import StrangestCell
from fathomseg.selection.criteria import Diversity
from fathomseg.selection.features import DepthFeatures
from fathomseg.stages.select import build_pool, pool_ids
from fathomseg.stages.select_recipe import SelectRecipe
from fathomseg.study.folder import JobFolder


def tiles(folder: JobFolder, chosen: Sequence[str], random: Sequence[str]) -> tuple[Tiles, Tiles]:
    """How new each image is beside those before it, and what they leave of the pool; the features were made before."""
    recipe = load(SelectRecipe, folder.run("select") / CONFIG)
    criterion = recipe.criterion
    if not isinstance(criterion, Diversity) or not isinstance(criterion.features, DepthFeatures):
        raise FathomError(f"The demo chooses by diversity of depth features, not by {criterion.name!r}.")
    features = criterion.features.model_copy(update={"run": folder.run("depth")})  # paths begin in the demo's folder
    ids, already = pool_ids(recipe)
    pool, _ = build_pool(recipe, ids, already, folder.run("select"), None)
    criterion = criterion.model_copy(update={"features": features})
    matrix = criterion.extracted(pool).matrix

    def measured(some: Sequence[str]) -> Tiles:
        picker = StrangestCell(matrix, criterion.cells)
        picks = picker.take(pool.rows(some))
        return Tiles([pick.distance for pick in picks], float(picker.distances.max()))

    return measured(chosen), measured(random)
