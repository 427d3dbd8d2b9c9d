"""YOLO's texts: labels there and back, and lines that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from fathomseg.errors import DataError, FathomError
from fathomseg.io.yolo import class_names, label_of, parse_description, text_of
from tests.fakes import scene

INDICES = {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize("size", [(24, 32), (37, 91)])
def test_every_pixel_of_a_label_comes_back(size: tuple[int, int]) -> None:
    label = scene(4, size, 3)[1]
    lines = text_of(label, 3)
    np.testing.assert_array_equal(label_of(lines.encode(), size, INDICES, 255, "a.txt"), label)
    backwards = "\n".join(lines.splitlines()[::-1])  # the order of lines means nothing
    np.testing.assert_array_equal(label_of(backwards.encode(), size, INDICES, 255, "a.txt"), label)


def test_a_line_by_hand() -> None:
    label = label_of(b"1 0.5 0 1 0 1 0.5 0.5 0.5\n\n", (4, 6), {1: 7}, 255, "a.txt")
    assert (label == 7).sum() == 6
    assert (label[:2, 3:] == 7).all()
    assert (label[2:] == 255).all()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.1 0.1 0.5 0.5", r"a.txt line 2: holds a box"),
        ("0 0.1 0.1 0.5 0.5 0.2", "no usable corners"),
        ("0 a b c d e f", "no usable corners"),
        ("x 0 0 1 0 1 1", "begins with 'x'; expected the number of a class"),
        ("9 0 0 1 0 1 1", "has the unknown class 9; there is: 0, 1, 2"),
        ("0 0 0 100 0 100 100", "no shares of the image's width and height"),
    ],
)
def test_lines_that_cannot_be_used_are_named(line: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        label_of(f"0 0 0 1 0 1 1\n{line}\n".encode(), (4, 6), INDICES, 255, "a.txt")


def test_class_names_are_a_list_or_a_mapping() -> None:
    for text in ("names: [road, no, 7]", "names: {0: road, 1: no, 2: 7}"):
        assert class_names(parse_description(text, "data.yaml"), "data.yaml") == {0: "road", 1: "no", 2: "7"}
    for text in ("a: 1", "names: [a, a]", "names: {x: a}"):
        with pytest.raises(FathomError, match="no usable `names`"):
            class_names(parse_description(text, "data.yaml"), "data.yaml")
    for text in ("[", "[1]"):
        with pytest.raises(FathomError, match=r"data\.yaml (is not valid YAML|must hold a mapping)"):
            parse_description(text, "data.yaml")
