from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fathomseg.data.datasets.labels import LabelKind, LabelMap, _table, distinct_colours, pack, pack_one, unpack
from fathomseg.errors import DataError, FathomError
from fathomseg.io import draw
from fathomseg.types import IGNORE
from tests.fakes import save

IDS = LabelMap(kind="ids", names=("road", "car"), values=(7, 300), ignored=(0, -1), remedy="mend it")
COLOURS = LabelMap(
    kind="colours",
    names=("road", "car"),
    values=(pack_one((128, 64, 128)), pack_one((0, 0, 142))),
    ignored=(0,),
    remedy="mend it",
)


def reason(labels: LabelMap, path: Path, size: tuple[int, int] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        labels.read(path, size)
    return caught.value.problems[0].reason


def test_maps_that_differ_in_their_advice_share_a_table() -> None:
    """16 MB each: a table for every scene of Virtual KITTI 2 would be made anew for nearly every image."""
    scenes = [replace(COLOURS, remedy=f"scene {number} has no such colour") for number in range(10)]
    assert len({id(_table(scene)) for scene in scenes}) == 1
    assert _table(replace(COLOURS, ignored=())) is not _table(COLOURS)


@pytest.mark.parametrize(("suffix", "dtype"), [(".png", np.uint16), (".tif", np.int32)])
def test_ids_become_indices(tmp_path: Path, suffix: str, dtype: type) -> None:
    path = save(tmp_path / f"a{suffix}", np.array([[7, 300, 0], [300, 7, 7]], dtype))
    indices = IDS.read(path, (2, 3))
    assert indices.dtype == np.uint8
    np.testing.assert_array_equal(indices, [[0, 1, 255], [1, 0, 0]])


def test_negative_ids_of_signed_files_can_be_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[-1, 300]], np.int32))
    np.testing.assert_array_equal(IDS.read(path), [[255, 1]])


def test_colours_become_indices_and_alpha_is_ignored(tmp_path: Path) -> None:
    stored = np.array([[[128, 64, 128, 0], [0, 0, 142, 9], [0, 0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(COLOURS.read(save(tmp_path / "a.png", stored)), [[0, 1, 255]])


def test_unlisted_ids_are_named_with_their_counts_the_most_frequent_first(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[7, 8, 9, 9], [9, 300, 8, 254]], np.uint16))
    text = reason(IDS, path)
    assert text == "ids 9 (3 pixels), 8 (2 pixels), 254 (1 pixel) not in the class list; mend it"


def test_an_unlisted_colour_is_named_with_the_nearest_class(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[[127, 66, 128], [0, 0, 142]]], np.uint8))
    assert "colour (127, 66, 128) (1 pixel; nearest is road (128, 64, 128)) not in" in reason(COLOURS, path)


def test_a_smoothed_label_is_recognised(tmp_path: Path) -> None:
    ramp = np.linspace([128, 64, 128], [0, 0, 142], 60).astype(np.uint8)[None]
    text = reason(COLOURS, save(tmp_path / "a.png", ramp))
    assert "53 more" in text
    assert "smoothed" in text


def test_jpeg_and_a_wrong_size_are_refused(tmp_path: Path) -> None:
    assert "is a JPEG" in reason(IDS, save(tmp_path / "a.jpg", np.zeros((4, 4), np.uint8)))
    text = reason(IDS, save(tmp_path / "b.png", np.zeros((4, 6), np.uint8)), (6, 4))
    assert "the label is 4 x 6" in text
    assert "its image is 6 x 4" in text


@given(arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_both_ways_of_looking_up_agree(stored: np.ndarray) -> None:
    """The table of unsigned values against the dictionary used for signed ones."""
    np.testing.assert_array_equal(IDS.known(stored), IDS.known(stored.astype(np.int64)))


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_packing_a_colour_loses_nothing(colour: tuple[int, int, int]) -> None:
    assert unpack(pack_one(colour)) == colour
    assert pack(np.array([[colour]], np.uint8)).tolist() == [[pack_one(colour)]]


def test_default_colours_differ() -> None:
    colours = distinct_colours(254)
    assert len(set(colours)) == 254
    assert (0, 0, 0) not in colours
    assert distinct_colours(4) == (
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
    )  # aeroplane, bicycle, bird, boat
    first = np.array(distinct_colours(12))
    distances = np.abs(first[:, None] - first[None]).sum(axis=2) + 999 * np.eye(12)
    assert distances.min() > 60


def test_the_key_tells_maps_apart_that_read_differently() -> None:
    other = LabelMap(kind="ids", names=IDS.names, values=(7, 301), ignored=IDS.ignored, remedy=IDS.remedy)
    renamed = LabelMap(kind="ids", names=("a", "b"), values=IDS.values, ignored=IDS.ignored, remedy="")
    assert IDS.key != other.key
    assert IDS.key == renamed.key


@pytest.mark.parametrize("labels", [IDS, COLOURS], ids=["ids", "colours"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(indices=arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 255])))
def test_what_is_stored_is_read_again(labels: LabelMap, indices: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    draw.write(path, labels.stored(indices))
    np.testing.assert_array_equal(labels.read(path), indices)


def test_stored_values_by_hand() -> None:
    indices = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(IDS.stored(indices), np.array([[7, 300, 0]], np.uint16))
    assert IDS.stored(indices[:, :1]).dtype == np.uint8
    np.testing.assert_array_equal(COLOURS.stored(indices), [[[128, 64, 128], [0, 0, 142], [0, 0, 0]]])
    last = replace(IDS, ignored=(-1, 70_000, 9))
    np.testing.assert_array_equal(last.stored(indices), [[7, 300, 9]])


def test_what_no_png_can_hold_is_refused() -> None:
    indices = np.array([[1, 1, 255]], np.uint8)
    for ignored in ((), (-1, 70_000)):
        with pytest.raises(FathomError, match=r"dataset\.yaml, `ignore: \["):
            replace(IDS, ignored=ignored).stored(indices)
    far = replace(IDS, values=(7, 70_000))
    with pytest.raises(FathomError, match="The id 70000 cannot be stored"):
        far.stored(indices)
    assert far.stored(np.zeros((1, 1), np.uint8)) == 7  # what does not occur does not matter


PALETTE = replace(
    IDS,
    names=("road", "car", "sky"),
    values=(0, 1, 2),
    ignored=(255,),
    colours=(pack_one((128, 64, 128)), pack_one((0, 0, 142)), pack_one((70, 130, 180))),
)


def with_palette(path: Path, indices: list[list[int]], colours: dict[int, tuple[int, int, int]]) -> Path:
    image = Image.fromarray(np.array(indices, np.uint8)).convert("P")
    table = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        table[index] = colour
    image.putdata(np.array(indices).ravel().tolist())
    image.putpalette(table.ravel().tolist())
    image.save(path)
    return path


def test_a_palette_in_another_order_counts_by_its_colours(tmp_path: Path) -> None:
    road, car, sky = (unpack(value) for value in PALETTE.colours if value is not None)
    right = with_palette(tmp_path / "a.png", [[0, 1, 2, 255]], {0: road, 1: car, 2: sky})
    other = with_palette(tmp_path / "b.png", [[2, 0, 1, 255]], {2: road, 0: car, 1: sky, 255: (1, 1, 1)})
    own = with_palette(tmp_path / "c.png", [[0, 1, 2, 255]], {0: (1, 0, 0), 1: (2, 0, 0), 2: (3, 0, 0)})
    for path in (right, other, own):
        np.testing.assert_array_equal(PALETTE.read(path), [[0, 1, 2, 255]])
    mixed = with_palette(tmp_path / "d.png", [[0, 1]], {0: car, 1: (9, 9, 9)})
    text = reason(PALETTE, mixed)
    assert "its index 0 has the colour of the id 1, but index 1 has (9, 9, 9), which no class has there" in text
    np.testing.assert_array_equal(replace(PALETTE, colours=()).read(other), [[2, 0, 1, 255]])


def test_the_padding_of_a_palette_is_no_class(tmp_path: Path) -> None:
    black, car, sky = (0, 0, 0), (0, 0, 142), (70, 130, 180)
    labels = replace(PALETTE, colours=tuple(map(pack_one, (black, car, sky))))
    in_order = with_palette(tmp_path / "a.png", [[0, 1, 2, 255]], {1: car, 2: sky})
    other = with_palette(tmp_path / "b.png", [[2, 0, 1, 255]], {0: car, 1: sky})  # black from index 2 on
    short = with_palette(tmp_path / "c.png", [[0, 1, 2, 255]], {1: car})  # of id 2 it has no colour
    for path in (in_order, other, short):
        np.testing.assert_array_equal(labels.read(path), [[0, 1, 2, 255]])
    nothing = replace(labels, values=(1, 2, 3), ignored=(0,), colours=tuple(map(pack_one, (car, sky, black))))
    path = with_palette(tmp_path / "d.png", [[0, 1, 2, 3]], {1: car, 2: sky})
    np.testing.assert_array_equal(nothing.read(path), [[255, 0, 1, 2]])
    unlisted = with_palette(tmp_path / "e.png", [[0, 1, 7]], {1: car, 2: sky})
    assert "id 7 (1 pixel) not in the class list" in reason(labels, unlisted)


def test_unpainted_pixels_have_one_meaning(tmp_path: Path) -> None:
    drawn = np.array([[[7, 7, 7, 255], [0, 0, 0, 0]]], np.uint8)
    path = save(tmp_path / "a.png", drawn)
    labels = replace(IDS, ignored=())
    np.testing.assert_array_equal(labels.read(path), [[0, 255]])
    np.testing.assert_array_equal(replace(labels, unpainted=1).read(path), [[0, 1]])
    assert labels.key != replace(labels, unpainted=1).key


def test_a_transparent_index_is_unpainted_as_in_the_drawing_it_stands_for(tmp_path: Path) -> None:
    """Index 5 is transparent and black, 44 transparent and coloured; 7 and 44 are road and car."""
    path = with_palette(tmp_path / "a.png", [[7, 44, 5]], {7: (128, 64, 128), 44: (0, 0, 142)})
    alpha = bytearray(b"\xff" * 256)
    alpha[5] = alpha[44] = 0
    with Image.open(path) as image:
        image.save(path, transparency=bytes(alpha))
        image.save(tmp_path / "one.png", transparency=5)  # which Pillow reads as a number
        image.save(tmp_path / "all.png", transparency=bytes(256))
    with Image.open(path) as image:
        image.convert("RGBA").save(tmp_path / "rgba.png")
    ids = replace(IDS, values=(7, 44), ignored=(255,))
    np.testing.assert_array_equal(ids.read(path), [[0, 1, 255]])
    np.testing.assert_array_equal(replace(ids, unpainted=1).read(tmp_path / "one.png"), [[0, 1, 1]])
    assert "id 5 (1 pixel)" in reason(ids, tmp_path / "all.png"), "alpha means nothing where all is transparent"
    colours = replace(COLOURS, ignored=())
    for drawing in (path, tmp_path / "rgba.png"):
        np.testing.assert_array_equal(colours.read(drawing), [[0, 1, 255]])


def test_a_label_on_its_side_tells_of_orientations(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((4, 6), 7, np.uint8))
    assert "and upright: images are turned as their EXIF orientation says" in reason(IDS, path, (6, 4))


@pytest.mark.parametrize(
    ("kind", "values", "written"),
    [
        ("ids", (0, 7), "[255]"),
        ("ids", (0, 255), "[65535]"),
        ("colours", (7,), "[[0, 0, 0]]"),
        ("colours", (0,), "[[255, 255, 255]]"),
    ],
)
def test_what_to_write_for_pixels_without_a_label(kind: LabelKind, values: tuple[int, ...], written: str) -> None:
    labels = LabelMap(kind, tuple("ab"[: len(values)]), values, (), "")
    with pytest.raises(FathomError) as error:
        labels.stored(np.full((2, 2), IGNORE, np.uint8))
    assert f"`ignore: {written}`" in str(error.value)
