"""What `fathom check` found, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fathomseg.data.datasets.scan import DepthRange
from fathomseg.errors import Problem, by_clip

_RARE: Final = 1e-3
"""The share of the labelled pixels below which a class is called rare."""


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What one split holds. Only samples that can be read are counted in `sizes`, `cameras` and `pixels`."""

    images: int
    labelled: int
    """Images that have a label file."""
    with_neighbours: int
    """Images with a video frame on either side, as learning depth needs."""
    clips: int
    """Runs of consecutive video frames."""
    cameras: int
    """Images whose camera is known."""
    sizes: Mapping[str, int]
    """How many images are "height x width"."""
    pixels: Mapping[str, int]
    """Labelled pixels of every class, by its name."""
    ignored: int
    """Pixels labelled 255."""
    depths: int = 0
    """Images that have a readable depth map."""
    depth: DepthRange | None = None
    """Over these maps: the least and the largest depth, the median of the medians, the mean share of valid pixels."""

    @property
    def labelled_pixels(self) -> int:
        """Pixels of all classes together, without the ignored ones."""
        return sum(self.pixels.values())


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a scan found."""

    dataset: str
    splits: Mapping[str, SplitReport]
    absent_classes: tuple[str, ...]
    """Classes no readable label shows, in any split that was scanned; none if no label could be read."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    images: int = 0
    """How many were scanned; splits may share some."""


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
    largest = sorted(splits.items(), key=lambda one: -one[1].images)  # splits may share images: each is reported once
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


def show(report: CheckReport, console: Console | None = None) -> None:
    """Print a report for people."""
    console = console or Console()
    if report.splits:
        console.print(_splits_table(report))
    if any(split.labelled_pixels for split in report.splits.values()):
        console.print(_classes_table(report))
    for line in _remarks(report):
        console.print(escape(line), soft_wrap=True)


def _splits_table(report: CheckReport) -> Table:
    table = Table(title=f"{report.dataset}: images")
    columns = ("split", "images", "labelled", "clips", "with neighbours", "with camera", "height x width")
    for column in columns:
        table.add_column(column, justify="left" if column in {columns[0], columns[-1]} else "right")
    for name, split in report.splits.items():
        counts = (split.images, split.labelled, split.clips, split.with_neighbours, split.cameras)
        table.add_row(name, *map(str, counts), _sizes(split.sizes))
    return table


def _sizes(sizes: Mapping[str, int], shown: int = 3) -> str:
    if len(sizes) == 1:
        return next(iter(sizes))
    parts = [f"{size} ({count})" for size, count in list(sizes.items())[:shown]]
    return ", ".join(parts) + (f" and {len(sizes) - shown} more" if len(sizes) > shown else "")


def _classes_table(report: CheckReport) -> Table:
    """The share of every class among the labelled pixels, and what part of all pixels is ignored."""
    splits = {name: split for name, split in report.splits.items() if split.labelled_pixels}
    table = Table(title=f"{report.dataset}: share of the labelled pixels")
    table.add_column("class")
    for name in splits:
        table.add_column(name, justify="right")
    for name in next(iter(splits.values())).pixels:
        table.add_row(name, *(_percent(split.pixels[name], split.labelled_pixels) for split in splits.values()))
    table.add_section()
    ignored = (_percent(split.ignored, split.ignored + split.labelled_pixels) for split in splits.values())
    table.add_row("ignored, of all pixels", *ignored)
    return table


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return "-" if part == 0 else "< 0.01 %" if share < 0.01 else f"{share:.2f} %"


def _remarks(report: CheckReport) -> Iterator[str]:
    for name, split in report.splits.items():
        if split.depth is not None:
            depth = split.depth
            yield (
                f"Depth of {split.depths} images of {name}: {depth.least:.2f} to {depth.largest:.2f} m, median "
                f"{depth.median:.2f} m, known for {100 * depth.valid:.0f} % of the pixels."
            )
        elif split.depths:
            yield f"Depth of {split.depths} images of {name}: no pixel is known."
    yield from (f"Note: {note}" for note in (*report.notes, *warnings(report)))
    if report.absent_classes:
        yield f"Note: these classes never occur: {', '.join(report.absent_classes)}."
    problems = by_clip(report.problems)
    count = len(problems)
    yield f"{count} {'problem' if count == 1 else 'problems'}:" if count else "No problems found."
    yield from (f"  {problem}" for problem in problems)
