"""The splits of the user's own folder: from splits/*.txt where he wrote them, from a stable rule where he did not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from fathomseg.data.datasets.files import Files, Listing, held_out, hold_out
from fathomseg.errors import DataError, Problem
from fathomseg.io.images import SUFFIXES
from fathomseg.text import read_text

LISTS: Final = ("train", "val", "labelled")
"""The names of the text files in splits/."""

_HINTS = 5  # looking for a name like it among all samples takes long, and the first few show what is wrong

Samples = Mapping[str, Files]


def with_splits(root: Path, samples: Samples, val_percent: int) -> Listing:
    """All samples of the folder, sorted into train, val, labelled, clips and all; empty splits are left out.

    What a label list leaves out of train loses its label here, so nothing can open it later. Raises one `DataError`
    naming every line of the lists that cannot be.
    """
    lists = {name: root / "splits" / f"{name}.txt" for name in LISTS}
    faults: list[Problem] = []
    listed = {name: _read(path, samples, faults) for name, path in lists.items() if path.is_file()}
    pool = {id for id, files in samples.items() if files.label is not None or not id.startswith("clips/")}
    having = {id for id in pool if samples[id].label is not None}
    chosen = set(listed.get("labelled", ()))

    val = set(listed["val"]) if "val" in listed else _default_val(having, listed.get("train"), chosen, val_percent)
    train = set(listed["train"]) if "train" in listed else pool - val
    faults += _clashes(lists, listed, train, val, having)
    if faults:
        raise DataError(faults)

    if "labelled" in listed:
        samples = {id: replace(f, label=None) if id in train and id not in chosen else f for id, f in samples.items()}
    splits: dict[str, Iterable[str]] = {
        "train": train,
        "val": val,
        "labelled": (id for id in train if samples[id].label is not None),
        "clips": (id for id in samples if id.startswith("clips/")),
        "all": samples,
    }
    ordered = {name: tuple(sorted(ids)) for name, ids in splits.items()}
    return Listing(samples, {name: ids for name, ids in ordered.items() if ids})


def _default_val(having: set[str], train: Iterable[str] | None, chosen: set[str], percent: int) -> set[str]:
    """The labelled samples that are not trained on by a list, or else the hold-out of them: at least one of several,
    and never all that could be trained on.

    A clip is held out as a whole, since its frames look alike.
    """
    if train is not None:
        return having - set(train)
    candidates = {id: id.rsplit("/", 1)[0] if id.startswith("clips/") else id for id in having - chosen}
    keys = set(candidates.values())
    val = {key for key in keys if held_out(key, percent)} if chosen else set()
    val = val or hold_out(keys, percent)
    return {id for id, key in candidates.items() if key in val}


def _read(path: Path, samples: Samples, faults: list[Problem]) -> list[str]:
    """The ids a list names, in any of the ways a user may write them; lines that name nothing become faults."""
    ids = []
    try:
        lines = read_text(path).split("\n")
    except DataError as error:
        faults += error.problems
        return []
    for number, line in enumerate(lines, start=1):
        entry = line.strip().replace("\\", "/")
        id = next((way for way in _ways(entry) if way in samples), None)
        if id is None and (not entry or entry.startswith("#")):  # unless an image is called that, it is a comment
            continue
        if id is None:
            close = difflib.get_close_matches(f"images/{entry}", samples, n=1) if len(faults) < _HINTS else []
            hint = f"; did you mean {close[0]}?" if close else ""
            faults.append(Problem(f"{path} line {number}", f"there is no image {entry!r}{hint}"))
        else:
            ids.append(id)
    return ids


def _ways(entry: str) -> Iterator[str]:
    """The ids an entry may mean: with or without "images/" in front and the ending behind."""
    stem = entry.rsplit(".", 1)[0] if Path(entry).suffix.lower() in SUFFIXES else entry
    for name in (entry, stem):
        yield from (name, f"images/{name}")


def _clashes(
    lists: Mapping[str, Path], listed: Mapping[str, list[str]], train: set[str], val: set[str], having: set[str]
) -> Iterator[Problem]:
    """Contradictions between the lists and the files."""
    if both := sorted(train & val):
        reason = f"{len(both)} of its images are in train as well, for example {both[0]}; take them out of one list"
        yield Problem(str(lists["val"]), reason)
    for id in listed.get("labelled", ()):
        if id not in having:
            yield Problem(str(lists["labelled"]), f"{id} has no label file below labels/")
        elif id not in train:
            yield Problem(str(lists["labelled"]), f"{id} is not in train; only images of train can be listed")
