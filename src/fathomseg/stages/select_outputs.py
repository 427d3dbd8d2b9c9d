"""What `fathom select` writes beside the list of ids: images, imports of annotation tools, the page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.description import NoClasses
from fathomseg.data.datasets.several import ClassesDiffer
from fathomseg.depth_sources import AnyDepthSource, DisparityMaps, RunDepth, prepare
from fathomseg.errors import FathomError
from fathomseg.inference.predictor import load
from fathomseg.io import draw
from fathomseg.io.files import write_text
from fathomseg.io.owned import own, remove_own
from fathomseg.io.progress import named, say
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
    """The folder of images, the imports of annotation tools, and the page, as far as they are wanted. Without classes
    there is nothing to annotate with, which is said."""
    if recipe.copy_images != "none":
        write_images(recipe.data, selection, folder, link=recipe.copy_images == "link")
    if recipe.annotation and _has_classes(recipe.data):
        run, tasks = recipe.prelabels, ("segmentation",)
        prelabels = None if run is None else load(run, device=pool.place, tasks=tasks)
        export(selection, recipe.data, _annotation_folder(folder, selection), prelabels)
    if recipe.report:
        matrix = None if answer.features is None else answer.features.matrix
        page = render_selection(selection, recipe.data, matrix, _depth(recipe, pool, selection), pool.ids)
        write_text(folder / PAGE, page)


def _has_classes(dataset: Dataset) -> bool:
    try:
        return bool(dataset.classes.names)
    except (NoClasses, ClassesDiffer) as error:
        say(f"{ANNOTATION}/ is left out; --resume writes it when there are classes. {error}")
        return False


def _depth(recipe: SelectRecipe, pool: Pool, selection: Selection) -> DisparityMaps | None:
    """Depth of the chosen images to look at, if the criterion knows any."""
    source: AnyDepthSource | None = getattr(recipe.criterion, "teacher", None)
    features = getattr(recipe.criterion, "features", None)
    if source is None and isinstance(features, DepthFeatures):
        source = RunDepth(run=features.run, weights=features.weights)
    if source is None:
        return None
    return prepare(
        source, pool.dataset, selection.ids, pool.size, device=pool.place, progress=named(pool.progress, "depth maps")
    )


def _annotation_folder(folder: Path, selection: Selection) -> Path:
    """annotation/, or another name beside it if that holds the selection of another budget."""
    plain = folder / ANNOTATION
    images = plain / IMAGES
    same = not images.is_dir() or len(list(images.iterdir())) == len(selection.chosen)
    return plain if same else folder / f"{ANNOTATION}-{len(selection.chosen)}"


def write_images(dataset: Dataset, selection: Selection, out: Path, link: bool) -> None:
    """`images/`: the chosen images as links or copies named `0001_<id>`; what is no file of its own as PNG.

    Those of an earlier budget make way. Raises `FathomError` if a name is taken by a file of someone else.
    """
    folder = out / IMAGES
    remove_own(out, IMAGES)
    names = {choice.id: f"{choice.rank:04d}_{choice.id.replace('/', '_')}" for choice in selection.chosen}
    files = {id: dataset.files(id) for id in names}
    endings = {id: ".png" if one is None or one.frame is not None else one.image.suffix for id, one in files.items()}
    places = {id: folder / f"{name}{endings[id]}" for id, name in names.items()}
    if taken := [place for place in places.values() if place.exists() or place.is_symlink()]:
        raise FathomError(f"{taken[0]} is there, and was not written by `fathom select`. Move it away and start again.")
    folder.mkdir(parents=True, exist_ok=True)
    for id, place in places.items():
        one = files[id]
        if one is None or one.frame is not None:
            draw.write(place, dataset.image(id))
        elif link:
            place.symlink_to(one.image)
        else:
            shutil.copy2(one.image, place)
    own(out, [f"{IMAGES}/{place.name}" for place in places.values()])
