"""What `fathom select` writes beside the list of ids: images, imports of annotation tools, the page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import FileDataset
from fathomseg.depth_sources import AnyDepthSource, DisparityMaps, RunDepth, prepare
from fathomseg.inference.predictor import load
from fathomseg.io import draw
from fathomseg.io.files import write_text
from fathomseg.report.selection_page import PAGE, render_selection
from fathomseg.selection.annotation import export
from fathomseg.selection.base import Answer
from fathomseg.selection.features import DepthFeatures
from fathomseg.selection.pool import Pool
from fathomseg.selection.result import Selection
from fathomseg.stages.select_recipe import SelectRecipe

IMAGES: Final = "images"
ANNOTATION: Final = "annotation"


def write_all(recipe: SelectRecipe, folder: Path, pool: Pool, selection: Selection, answer: Answer) -> None:
    """The folder of images, the imports of annotation tools, and the page, as far as they are wanted."""
    if recipe.copy_images != "none":
        write_images(recipe.data, selection, folder / IMAGES, link=recipe.copy_images == "link")
    if recipe.annotation:
        run, tasks = recipe.prelabels, ("segmentation",)
        prelabels = None if run is None else load(run, device=pool.place, tasks=tasks)
        export(selection, recipe.data, _annotation_folder(folder, selection), prelabels)
    if recipe.report:
        matrix = None if answer.features is None else answer.features.matrix
        page = render_selection(selection, recipe.data, matrix, _depth(recipe, pool, selection), pool.ids)
        write_text(folder / PAGE, page)


def _depth(recipe: SelectRecipe, pool: Pool, selection: Selection) -> DisparityMaps | None:
    """Depth of the chosen images to look at, if the criterion knows any."""
    source: AnyDepthSource | None = getattr(recipe.criterion, "teacher", None)
    features = getattr(recipe.criterion, "features", None)
    if source is None and isinstance(features, DepthFeatures):
        source = RunDepth(run=features.run, weights=features.weights)
    if source is None:
        return None
    return prepare(source, pool.dataset, selection.ids, pool.size, device=pool.place, progress=pool.progress)


def _annotation_folder(folder: Path, selection: Selection) -> Path:
    """annotation/, or another name beside it if that holds the answer for another budget."""
    plain = folder / ANNOTATION
    images = plain / IMAGES
    same = not images.is_dir() or len(list(images.iterdir())) == len(selection.chosen)
    return plain if same else folder / f"{ANNOTATION}-{len(selection.chosen)}"


def write_images(dataset: Dataset, selection: Selection, folder: Path, link: bool) -> None:
    """The chosen images as links or copies named `0001_<id>`; what is no file of its own is written as PNG."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for choice in selection.chosen:
        name = f"{choice.rank:04d}_{choice.id.replace('/', '_')}"
        files = dataset.files(choice.id) if isinstance(dataset, FileDataset) else None
        if files is None or files.frame is not None:
            draw.write(folder / f"{name}.png", dataset.image(choice.id))
        elif link:
            (folder / f"{name}{files.image.suffix}").symlink_to(files.image)
        else:
            shutil.copy2(files.image, folder / f"{name}{files.image.suffix}")
