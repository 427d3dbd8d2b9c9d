"""A training that takes no time but leaves the files of a real one: FOLDER MIOU ID,ID... [fail]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

MADE = ("commit", "date", "machine", "processor", "gpu", "threads", "torch")


def main() -> None:
    folder, miou, ids = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split(",")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "notes.txt").open("a") as file:
        file.write(f"{folder.name}\n")
    if "fail" in sys.argv[4:]:
        sys.exit("error: no room in " + str(folder))
    (folder / "labelled.txt").write_text("".join(f"{id}\n" for id in ids))
    (folder / "origin.json").write_text(json.dumps(dict.fromkeys(MADE, "x")))
    scores = dict.fromkeys(("boundary_miou", "pixel_accuracy", "ece"), 0.25) | {"miou": miou, "images": 3}
    path = folder / "evaluation" / "val" / "scores.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {"scores": {"ema": {"segmentation": scores}, "last": {"segmentation": {**scores, "miou": miou / 2}}}}
        )
    )
