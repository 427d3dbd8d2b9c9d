"""The splits of the user's own folder: from the lists he wrote, from a stable rule where he did not.

A list is splits/NAME.txt, or NAME in dataset.yaml, or the setting `data.NAME`, which goes before both. Its entries are
images or patterns of images (`clips/harbour/*`).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator

from fathomseg.config import Part
from fathomseg.data.datasets.files import Files, Listing
from fathomseg.data.datasets.hash_split import by_hash, hold_out_by_hash
from fathomseg.data.datasets.patterns import fitting, is_pattern
from fathomseg.errors import DataError, Problem
from fathomseg.io.images import SUFFIXES
from fathomseg.text import read_text

LISTS: Final = ("train", "val", "labelled")
"""The lists there may be."""

_HINTS = 5  # looking for a name like it among all samples takes long, and the first few show what is wrong

Samples = Mapping[str, Files]
Entry = tuple[str, str]
"""Where it is written, and what."""

Patterns = Annotated[
    tuple[str, ...] | None, BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]
"""Images, or patterns of images; one alone needs no brackets."""


class SplitLists(Part):
    """The lists of a folder, as dataset.yaml and the settings of a dataset give them."""

    train: Patterns = None
    """Images of `train`, or patterns of them (`images/2024/*`); left out = splits/train.txt, or all that are not in
    `val`."""
    val: Patterns = None
    """Images of `val`, or patterns of them. `clips/harbour/*` holds out the whole drive: none of its frames is learned
    from or selected, and those that have a label are scored on. Left out = splits/val.txt, or `val_percent`."""
    labelled: Patterns = None
    """The images of `train` whose labels may be used; left out = splits/labelled.txt, or all that have one."""


def with_splits(
    root: Path,
    samples: Samples,
    val_percent: int,
    described: SplitLists,
    given: SplitLists,
    scored: Collection[str],
) -> Listing:
    """All samples of the folder, sorted into train, val, labelled, clips and all; empty splits are left out.

    `described`: the lists of dataset.yaml; `given`: those of the settings, which go before; `scored`: the images of
    which the default holds some out. What a label list leaves out of train loses its label here, so nothing can open
    it later. Raises one `DataError` naming every entry of the lists that cannot be.
    """
    faults: list[Problem] = []
    listed: dict[str, list[str]] = {}
    where: dict[str, str] = {}
    for name in LISTS:
        found = _entries(root, name, described, given, faults)
        if found is not None:
            where[name], entries = found
            listed[name] = _ids(entries, samples, faults)
    pool = {id for id, files in samples.items() if files.label is not None or not id.startswith("clips/")}
    having = {id for id in pool if samples[id].label is not None}
    chosen = set(listed.get("labelled", ()))

    val = set(listed["val"]) if "val" in listed else _default_val(scored, listed.get("train"), chosen, val_percent)
    train = set(listed["train"]) if "train" in listed else pool - val
    away = val if "val" in listed or "train" in listed else val | _same_clips(samples, val, train)
    faults += _clashes(where, listed, train, val, having)
    if faults:
        raise DataError(faults)

    if "labelled" in listed:
        samples = {id: replace(f, label=None) if id in train and id not in chosen else f for id, f in samples.items()}
    splits: dict[str, Iterable[str]] = {
        "train": train,
        "val": val,
        "labelled": (id for id in train if samples[id].label is not None),
        "clips": (id for id in samples if id.startswith("clips/") and id not in away),
        "all": samples,
    }
    ordered = {name: tuple(sorted(ids)) for name, ids in splits.items()}
    return Listing(samples, {name: ids for name, ids in ordered.items() if ids}, frozenset(away))


def why_no(split: str, samples: Samples) -> str:
    """Why there is no `train` or no `clips`, and what to do, with a space in front; "" for other names."""
    frames = sum(clip_of(id) is not None for id in samples)
    if split == "clips" and not frames:
        return (
            " It has no video: clips/ and videos/ are empty. To use single images: split=train, of a stream "
            "streams.NAME.split=train."
        )
    if split == "train" and frames == len(samples) and not any(files.label for files in samples.values()):
        return (
            " No frame of its clips has a label yet, and images/ is empty. Choose some (`fathom select` with "
            "split=clips), label them, and bring the labels in (`fathom import-labels`)."
        )
    return " All that would be in it is held out: see `val`." if split in ("train", "clips") else ""


def clip_of(id: str) -> str | None:
    """The clip or video a frame belongs to ("clips/drive"); None for a single image."""
    return id.rsplit("/", 1)[0] if id.startswith("clips/") else None


def _same_clips(samples: Samples, val: set[str], train: set[str]) -> set[str]:
    """The frames of clips that the default holds out: all of a clip, unless some of its labels are for training."""
    clips = {clip_of(id) for id in val} - {clip_of(id) for id in train} - {None}
    return {id for id in samples if clip_of(id) in clips} if clips else set()


def _default_val(scored: Collection[str], train: Iterable[str] | None, chosen: set[str], percent: int) -> set[str]:
    """The samples to score on that are not trained on by a list, or else the hold-out of them: at least one of several,
    and never all that could be trained on.

    A clip is held out as a whole, since its frames look alike.
    """
    if train is not None:
        return set(scored) - set(train)
    candidates = {id: clip_of(id) or id for id in set(scored) - chosen}
    keys = set(candidates.values())
    val = {key for key in keys if by_hash(key, percent)} if chosen else set()
    val = val or hold_out_by_hash(keys, percent)
    return {id for id, key in candidates.items() if key in val}


def _entries(
    root: Path, name: str, described: SplitLists, given: SplitLists, faults: list[Problem]
) -> tuple[str, list[Entry]] | None:
    """Where a list is, and its entries; None if nobody wrote it. What is wrong with it becomes a fault."""
    path, description = root / "splits" / f"{name}.txt", f"{root / 'dataset.yaml'} ({name})"
    mine, theirs = getattr(given, name), getattr(described, name)
    if mine is not None:
        return f"data.{name}", [(f"data.{name}", entry) for entry in mine]
    if theirs is not None:
        if path.is_file():
            faults.append(Problem(str(path), f"{name} is in dataset.yaml as well; keep one of the two"))
        return description, [(description, entry) for entry in theirs]
    if not path.is_file():
        return None
    try:
        lines = read_text(path).split("\n")
    except DataError as error:
        faults += error.problems
        return str(path), []
    return str(path), [(f"{path} line {number}", line) for number, line in enumerate(lines, start=1)]


def _ids(entries: Iterable[Entry], samples: Samples, faults: list[Problem]) -> list[str]:
    """The ids that entries name, in any of the ways a user may write them; those that name nothing become faults."""
    ids: dict[str, None] = {}
    for where, text in entries:
        entry = text.strip().replace("\\", "/")
        if (id := next((way for way in _ways(entry) if way in samples), None)) is not None:
            ids[id] = None
        elif not entry or entry.startswith("#"):  # unless an image is called that, it is a comment
            continue
        elif is_pattern(entry) and (found := next(filter(None, (fitting(w, samples) for w in _ways(entry))), None)):
            ids |= dict.fromkeys(found)
        else:
            close = _hint(entry, samples) if len(faults) < _HINTS else ""
            what = "no image fits the pattern" if is_pattern(entry) else "there is no image"
            faults.append(Problem(where, f"{what} {entry!r}{close}"))
    return list(ids)


def _hint(entry: str, samples: Samples) -> str:
    """What an entry that names nothing may have meant."""
    folder = entry.rstrip("/*")
    for inside in (f"{folder}/", f"images/{folder}/", f"clips/{folder}/"):
        if any(id.startswith(inside) for id in samples):
            return f"; did you mean {inside}*, all images in it?"
    if is_pattern(entry):
        names = sorted({id.rsplit("/", 1)[0] for id in samples})
        return f"; images lie in {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    close = difflib.get_close_matches(f"images/{entry}", samples, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _ways(entry: str) -> Iterator[str]:
    """The ids an entry may mean: with or without "images/" in front and the ending behind."""
    stem = entry.rsplit(".", 1)[0] if Path(entry).suffix.lower() in SUFFIXES else entry
    yield from (entry, f"images/{entry}", f"images/{stem}", stem)


def _clashes(
    where: Mapping[str, str], listed: Mapping[str, list[str]], train: set[str], val: set[str], having: set[str]
) -> Iterator[Problem]:
    """Contradictions between the lists and the files."""
    if both := sorted(train & val):
        reason = f"{len(both)} of its images are in train as well, for example {both[0]}; take them out of one list"
        yield Problem(where.get("val", where.get("train", "val")), reason)
    for id in listed.get("labelled", ()):
        if id not in having:
            yield Problem(where["labelled"], f"{id} has no label file below labels/")
        elif id not in train:
            yield Problem(where["labelled"], f"{id} is not in train; only images of train can be listed")
