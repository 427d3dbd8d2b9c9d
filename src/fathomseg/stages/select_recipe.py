"""A recipe of `fathom select`: everything one choice of images depends on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fathomseg.config import Part
from fathomseg.data.datasets import AnyDataset
from fathomseg.data.datasets.files import Root
from fathomseg.data.transforms import PositiveSize
from fathomseg.selection import AnyCriterion


class SelectRecipe(Part):
    """One choice of the images to label."""

    data: AnyDataset
    """Where the images are."""
    split: str = "train"
    """The pool: all images of this split, or of a pattern (`clips/town/*`), that are not held out; `val`: those that
    are, to choose which of them are labelled and scored on. No label is opened."""
    size: PositiveSize
    """Working (height, width): images are prepared at this size once. Encoders and depth students see this size; the
    network of a depth run sees the size it was trained at."""
    criterion: AnyCriterion
    """By what images are chosen."""
    budget: Annotated[int, Field(ge=1)] = 50
    """How many are chosen. Budgets nest: the first 25 of 50 are the selection of 25."""
    already: Literal["labelled"] | Root | None = None
    """Images that are labelled already, so that the new ones differ from them: a text file of one sample id a line, or
    `labelled`: all images of the pool that have a label."""
    copy_images: Literal["link", "copy", "none"] = "link"
    """images/ with the chosen images named by rank and id: links to the files, copies of them, or no such folder. Video
    frames and generated images are always written as PNG."""
    annotation: bool = True
    """annotation/ with ready imports for CVAT and Label Studio (docs/annotation.md)."""
    prelabels: Root | None = None
    """A run of `fathom train` whose predictions are in annotation/ to be corrected, instead of drawing from scratch."""
    report: bool = True
    """Write selection.html."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random choice is a function of this number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto = the GPU if there is one."""
    threads: Annotated[int, Field(gt=0)] | None = None
    """CPU threads of this process; nothing = PyTorch's choice."""
