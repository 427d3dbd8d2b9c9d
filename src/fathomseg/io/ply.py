"""Point clouds on disk: PLY, binary, little endian, as MeshLab, CloudCompare, Open3D and Blender open it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from fathomseg.io.files import write_bytes


def write_ply(
    path: Path,
    points: Float32[np.ndarray, "n 3"],
    colours: UInt8[np.ndarray, "n 3"],
    classes: Integer[np.ndarray, " n"] | None = None,
    comments: Sequence[str] = (),
) -> None:
    """Write points (x y z), their colours (red green blue) and, if given, their class ids 0..65535 (`class`).

    Appears only when complete. `comments` become lines of the header.
    """
    fields = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    fields += [("class", "<u2")] if classes is not None else []
    table = np.empty(len(points), np.dtype(fields))
    for i, name in enumerate("xyz"):
        table[name] = points[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        table[name] = colours[:, i]
    if classes is not None:
        table["class"] = classes
    words = {"<f4": "float", "u1": "uchar", "<u2": "ushort"}
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {text}" for text in comments)]
    header += [f"element vertex {len(points)}", *(f"property {words[kind]} {name}" for name, kind in fields)]
    # Names of classes may have letters that are not ASCII, which the format does not know.
    text = "\n".join([*header, "end_header", ""]).encode("ascii", "backslashreplace")
    write_bytes(path, text + table.tobytes())
