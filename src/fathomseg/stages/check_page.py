"""The page of `fathom check`, and what it asks to be looked at beside the problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fathomseg.data.datasets.base import Dataset
from fathomseg.io.files import write_text
from fathomseg.io.progress import say
from fathomseg.report.check_page import name_of, render_check
from fathomseg.training.run_folder import origin

if TYPE_CHECKING:
    from fathomseg.stages.check import CheckReport

_RARE: Final = 1e-3
"""The share of the labelled pixels below which a class is called rare."""


def page_path(dataset: Dataset) -> Path:
    """Where the page goes unless said: runs/check/NAME.html, by the folder of the data or the dataset's name."""
    return Path("runs") / "check" / f"{name_of(dataset)}.html"


def write_check_page(path: Path, report: CheckReport, dataset: Dataset) -> None:
    """Write the page. A folder that cannot be written to is told, and is no reason for a check to fail."""
    text = render_check(dataclasses.asdict(report), dataset, list(warnings(report)), origin())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        say(f"The page {path} cannot be written: {error.strerror}.")
    else:
        say(f"Page: {path}")


def warnings(report: CheckReport) -> Iterator[str]:
    """What is no mistake in a file and may still spoil a training."""
    splits = report.splits
    labelled = any(split.labelled for split in splits.values())
    for name, split in splits.items():
        if not split.images:
            yield f"Split {name!r} is empty: nothing is trained or scored on it."
        elif labelled and not split.labelled and name in {"train", "val"}:
            what = "learned from it with labels" if name == "train" else "scored on it"
            yield f"Split {name!r} has {split.images} images and no label, so that nothing is {what}."
    largest = sorted(splits.items(), key=lambda one: -one[1].images)  # splits may share images: each is told once
    for name, split in sorted(splits.items(), key=lambda one: (-one[1].with_neighbours, one[1].images)):
        if split.with_neighbours and split.cameras < split.images:
            yield (
                f"Split {name!r}: {split.images - split.cameras} of {split.images} images have no known camera. "
                "Learning depth from video then assumes a field of view or learns the focal length; a camera.yaml "
                "beside the frames is better."
            )
            break
    if (mixed := next(((n, s) for n, s in largest if len(s.sizes) > 1), None)) is not None:
        yield f"Split {mixed[0]!r} has images of {len(mixed[1].sizes)} sizes; all are resized to the working size."
    train, val = splits.get("train"), splits.get("val")
    if train is None or not train.labelled_pixels:
        return
    rare = [name for name, pixels in train.pixels.items() if 0 < pixels < _RARE * train.labelled_pixels]
    if rare:
        yield f"Rare in train, below 0.1 % of the labelled pixels: {', '.join(rare)}."
    if val is not None and (unseen := [name for name, n in val.pixels.items() if n and not train.pixels.get(name)]):
        yield f"In val but never in train, so that their IoU stays 0: {', '.join(unseen)}."
