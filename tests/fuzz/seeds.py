"""Small valid files of every kind that is read from strangers, and strategies that damage them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

PIXELS = (np.arange(6 * 8 * 3).reshape(6, 8, 3) % 251).astype(np.uint8)


def image(kind: str, array: np.ndarray = PIXELS, **options: Any) -> bytes:
    """A picture as a file of Pillow's format `kind`."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def palette() -> bytes:
    """A PNG with a palette of three colours, and a transparent one."""
    picture = Image.fromarray(PIXELS[..., 0] % 3).convert("P")
    picture.putpalette([0, 0, 0, 200, 0, 0, 10, 20, 30])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=0)
    return buffer.getvalue()


GREY = PIXELS[..., 0]
DEEP = GREY.astype(np.uint16) * 200
EXIF = Image.Exif()
EXIF[0x0112] = 6
IMAGES = (
    image("PNG"),
    image("PNG", GREY, exif=EXIF),
    image("PNG", DEEP),
    palette(),
    image("TIFF"),
    image("TIFF", GREY, compression="tiff_lzw"),
    image("TIFF", DEEP, compression="tiff_adobe_deflate"),
    image("TIFF", GREY, compression="packbits"),
    image("JPEG", exif=EXIF),
    image("WEBP", lossless=True),
    image("PPM"),
    image("PPM", DEEP),
    image("BMP"),
)


def array_file(array: np.ndarray, name: str | None = None) -> bytes:
    """A .npy file, or an .npz with one array of this name."""
    buffer = io.BytesIO()
    if name is None:
        np.save(buffer, array)
    else:
        np.savez(buffer, **{name: array})
    return buffer.getvalue()


def packed(**members: bytes) -> bytes:
    """A zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@st.composite
def damaged(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """One of these files with some bytes changed, put in, or cut off; now and then no file of the kind at all."""
    content = bytearray(draw(st.sampled_from(seeds)))
    early = st.integers(0, min(len(content), 300) - 1)  # headers, most often
    for place, value in draw(st.lists(st.tuples(st.one_of(early, st.integers(0, len(content) - 1)), _BYTES))):
        content[place] = value
    how = draw(st.sampled_from(("as it is", "as it is", "cut", "more", "noise")))
    if how == "cut":
        del content[draw(st.integers(0, len(content))) :]
    elif how == "more":
        place = draw(st.integers(0, len(content)))
        content[place:place] = draw(st.binary(max_size=40))
    elif how == "noise":
        return draw(st.binary(max_size=200))
    return bytes(content)


_BYTES = st.one_of(st.sampled_from((0, 1, 255, 128, 127)), st.integers(0, 255))
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(("..", "/etc/passwd", "", "\0", "nan", "1e999", "-1")),
)
TREES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


@st.composite
def mutated(draw: st.DrawFn, seed: Any) -> Any:
    """A tree like `seed` in which one or two places hold something else, or nothing."""
    tree = json.loads(json.dumps(seed))
    for _ in range(draw(st.integers(1, 2))):
        node, key = tree, None
        while isinstance(node, dict | list) and node:
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not isinstance(node[key], dict | list) or draw(st.booleans()):
                break
            node = node[key]
        if key is None or not isinstance(node, dict | list) or not node:
            return draw(TREES)
        if draw(st.booleans()):
            node[key] = draw(TREES)
        else:
            del node[key]
    return tree


def written(dump: Callable[[Any], str], seed: Any) -> st.SearchStrategy[bytes]:
    """A mutated tree as text, or the text of the seed damaged."""
    text = dump(seed).encode()
    return st.one_of(mutated(seed).map(lambda tree: dump(tree).encode()), damaged((text,)))
