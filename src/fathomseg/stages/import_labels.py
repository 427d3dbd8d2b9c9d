"""`fathom import-labels`: what annotators drew becomes the labels of a dataset folder."""

from __future__ import annotations

import json as json_format
import shlex
from pathlib import Path
from typing import Any

from fathomseg.errors import FathomError
from fathomseg.io.files import refuse_unwritable
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import say
from fathomseg.selection.annotation import Imported, import_labels
from fathomseg.selection.annotation.task import MANIFEST


def imported(source: Path, selection: Path, out: Path, overwrite: bool = False, json: bool = False) -> Imported:
    """Import `source` into the dataset folder `out` and say what was done.

    Raises `FathomError` if there is no export in `selection`, or what `import_labels` raises; nothing is written then.
    """
    if not source.exists():
        raise FathomError(f"There is no {source}. Give the file that CVAT or Label Studio exported.")
    refuse_unwritable(out, "--out")
    done = import_labels(source, export_folder(selection), out, overwrite)
    if json:
        tree: dict[str, Any] = {"root": str(done.root), "labelled": done.labelled, "empty": done.empty}
        tree |= {"unusable": [str(problem) for problem in done.unusable], "unpainted": done.unpainted}
        print(json_format.dumps(tree, indent=2, ensure_ascii=False))
    else:
        tell(done)
    conclude(f"{len(done.labelled)} images of {done.root} have a label now")
    return done


def export_folder(selection: Path) -> Path:
    """The folder of annotation.json: the one given, or the only one in it, as `fathom select` makes them.

    Raises `FathomError` if there is none, or if several are there, one for each budget.
    """
    if (selection / MANIFEST).is_file():
        return selection
    found = sorted(path.parent for path in selection.glob(f"*/{MANIFEST}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(folder) for folder in found)
        raise FathomError(f"{selection} holds several exports; give the one that was annotated: {names}.")
    raise FathomError(
        f"There is no {MANIFEST} in {selection} or in a folder of it. Give the folder that `fathom select` made, or "
        "the one in it that was handed to the annotators."
    )


def tell(done: Imported) -> None:
    """Say what was done, and what to do next."""
    count = len(done.labelled) + len(done.empty) + len(done.unusable)
    say(f"{len(done.labelled)} of {count} images have a label now, in {done.root / 'labels'}.")
    if done.empty:
        shown = ", ".join(done.empty[:5]) + (" ..." if len(done.empty) > 5 else "")
        say(f"Nothing is drawn on the other {len(done.empty)} yet: {shown}")
    if done.unusable:
        say(f"{len(done.unusable)} of these cannot be used; the others are imported:")
        for problem in done.unusable:
            say(f"  {problem}")
    meaning = "count nowhere" if done.unpainted is None else f"are {done.unpainted!r}"
    say(f"Pixels on which nothing is drawn {meaning} (`unpainted` in dataset.yaml).")
    say(f"Look at it: fathom check {shlex.quote(str(done.root))}")
