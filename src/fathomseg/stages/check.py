"""`fathom check`: decode a whole dataset once, count what is in it, and list every file that cannot be used."""

from __future__ import annotations

import dataclasses
import json as json_format
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.class_counts import contradiction, much_ignored
from fathomseg.data.datasets.description import NoClasses
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.data.datasets.scan import DepthRange, Found, scan
from fathomseg.data.datasets.several import ClassesDiffer
from fathomseg.data.held_out import VAL, HeldOut, shared_clips, warning
from fathomseg.errors import DataError, Problem
from fathomseg.io.files import write_text
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import preparing, say
from fathomseg.io.shapes import same_shape
from fathomseg.report.check_page import name_of, render_check
from fathomseg.stages.check_report import CheckReport, SplitReport, show, warnings
from fathomseg.training.run_folder import origin
from fathomseg.types import IGNORE


def checked(data: str, overrides: Sequence[str] = (), json: bool = False, report: bool = True) -> CheckReport:
    """Check the dataset `data` names, print what was found and write its page (`report`)."""
    dataset = resolve_dataset(data, overrides)
    with preparing(active=True, what="checking files") as progress:
        found = check(dataset, None, progress)
    if json:
        print(json_format.dumps(dataclasses.asdict(found), indent=2))
    else:
        show(found)
        if report:
            write_check_page(page_path(dataset), found, dataset)
    problems = f"{len(found.problems)} problems" if found.problems else "no problem"
    conclude(f"{found.dataset}: {found.images} images in {len(found.splits)} splits, {problems}")
    return found


def page_path(dataset: Dataset) -> Path:
    """Where the page goes unless said: runs/check/NAME.html, by the folder of the data or the dataset's name."""
    return Path("runs") / "check" / f"{name_of(dataset)}.html"


def write_check_page(path: Path, report: CheckReport, dataset: Dataset) -> None:
    """Write the page. A folder that cannot be written to is reported, and is no reason for a check to fail."""
    text = render_check(dataclasses.asdict(report), dataset, list(warnings(report)), origin())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        say(f"The page {path} cannot be written: {error.strerror}.")
    else:
        say(f"Page: {path}")


def check(
    dataset: Dataset, splits: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Scan these splits (all by default), decoding every file once; `progress` is called with (done, total).

    Bad files are in the report, not raised. Raises `FathomError` for a split or a layout that does not exist.
    """
    notes: list[str] = []
    try:
        names = dataset.classes.names
    except ClassesDiffer as error:  # images can be counted, classes cannot
        names, notes = (), [str(error)]
    except NoClasses as error:
        names, notes = (), [str(problem) for problem in error.problems]
    try:
        ids = {split: dataset.ids(split) for split in (dataset.splits if splits is None else splits)}
    except DataError as error:
        return CheckReport(dataset.name, {}, (), error.problems, ())
    distinct = sorted({id for members in ids.values() for id in members})
    found: dict[str, Found] = {}
    for done, one in enumerate(scan(dataset, distinct), start=1):
        found[one.id] = one
        if progress is not None:
            progress(done, len(distinct))

    reports = {split: _report(dataset, names, [found[id] for id in members]) for split, members in ids.items()}
    seen = {name for report in reports.values() for name, count in report.pixels.items() if count}
    layout = dataset.layout_problems(distinct)
    notes += [*dataset.notes(), *dataset.passed_over()]
    notes += _traits(found.values())
    notes += [*_shared_clips(dataset, ids), *(_ignored(reports) if names else ())]
    problems = dict.fromkeys(problem for one in found.values() for problem in one.problems) | dict.fromkeys(layout)
    problems |= dict.fromkeys(_contradictions(dataset, names, {"": distinct, **ids}, found))
    problems |= dict.fromkeys(_other_shapes(dataset, found))
    return CheckReport(
        dataset=dataset.name,
        splits=reports,
        absent_classes=tuple(name for name in names if seen and name not in seen),
        problems=tuple(problems),
        notes=tuple(note for note in notes if note not in map(str, problems)),
        images=len(distinct),
    )


def _shared_clips(dataset: Dataset, ids: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Warnings of clips that have frames to score on and frames to learn from."""
    for used in ("train", "clips"):
        if VAL in ids and used in ids:
            away = HeldOut.of(dataset).without(dataset, ids[used])
            if text := warning(dataset, shared_clips(dataset, ids[VAL], away), VAL, used):
                yield text


def _ignored(reports: Mapping[str, SplitReport]) -> Iterator[str]:
    """A note if much of what is labelled is ignored; `all` has every label."""
    split = reports.get("all") or max(reports.values(), key=lambda one: one.labelled, default=None)
    if split is not None and (text := much_ignored(split.ignored, split.ignored + split.labelled_pixels)):
        yield text


def _traits(found: Iterable[Found]) -> Iterator[str]:
    """What there is to know of how images are read."""
    traits = [one.traits for one in found]
    if turned := sum(one.turned for one in traits):
        yield (
            f"{_images(turned)} an EXIF orientation and will be turned upright. Their labels, depth maps and cameras "
            "must belong to the upright image, as viewers show it, and not to the pixels as they are stored."
        )
    bits = Counter(one.bits for one in traits if one.bits is not None)
    for used, count in sorted(bits.items()):
        scaled = "" if used == 16 else f", of which they use {used}: values up to {(1 << used) - 1} become 0 to 255"
        mixed = " (found from the largest value of each file; `bits` in dataset.yaml states it)" if used < 16 else ""
        yield f"{_images(count)} 16 bits{scaled}{mixed}."


def _other_shapes(dataset: Dataset, found: Mapping[str, Found]) -> Iterator[Problem]:
    """Frames of another shape than the one before them."""
    for id, one in found.items():
        other = dataset.neighbour(id, -1)
        before = None if other is None or other not in found else found[other].size
        if one.size is not None and before is not None and not same_shape(one.size, before):
            sizes = " but the frame before it ".join(f"{height} x {width}" for height, width in (one.size, before))
            yield Problem(id, f"is {sizes} (height x width); make two clips of it, of one shape each")


def _images(count: int) -> str:
    return "1 image has" if count == 1 else f"{count} images have"


def _contradictions(
    dataset: Dataset, names: Sequence[str], ids: Mapping[str, Sequence[str]], found: Mapping[str, Found]
) -> Iterator[Problem]:
    """Labels in which fewer than two classes have pixels: of all that were scanned, or else of those to train on."""
    for split in ("", "train"):
        read = {id: pixels for id in ids.get(split, ()) if (pixels := found[id].pixels) is not None}
        counts = sum(read.values(), start=np.zeros(256, np.int64))
        if names and read and (reason := contradiction(names, counts, dataset, [*read])):
            yield Problem(f"{split or 'all'} labels of {getattr(dataset, 'root', dataset.name)}", reason)
            return


def _report(dataset: Dataset, names: Sequence[str], found: Sequence[Found]) -> SplitReport:
    pixels = sum((one.pixels for one in found if one.pixels is not None), start=np.zeros(256, np.int64))
    sizes = Counter(f"{one.size[0]} x {one.size[1]}" for one in found if one.size is not None)
    depths = [one.depth for one in found if one.depth is not None]
    beside = [tuple(dataset.neighbour(one.id, step) is not None for step in (-1, 1)) for one in found]
    return SplitReport(
        images=len(found),
        labelled=sum(dataset.has_label(one.id) for one in found),
        with_neighbours=sum(before and after for before, after in beside),
        clips=sum(after and not before for before, after in beside),
        cameras=sum(one.camera is not None for one in found),
        sizes=dict(sizes.most_common()),
        pixels={name: int(count) for name, count in zip(names, pixels, strict=False)},
        ignored=int(pixels[IGNORE]),
        depths=len(depths),
        depth=_over(depths),
    )


def _over(depths: Sequence[DepthRange]) -> DepthRange | None:
    """The range of several maps; None if no pixel of any is valid."""
    known = [one for one in depths if one.valid]
    if not known:
        return None
    return DepthRange(
        least=min(one.least for one in known),
        median=float(np.median([one.median for one in known])),
        largest=max(one.largest for one in known),
        valid=float(np.mean([one.valid for one in depths])),
    )
