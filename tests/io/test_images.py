from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fathomseg.errors import DataError, FathomError
from fathomseg.io.images import as_rgb, image_size, read_rgb, resize_image, resize_nearest
from fathomseg.io.label_images import read_drawing, read_values
from tests.fakes import save

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def reason(path: Path, read=read_rgb) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    (problem,) = caught.value.problems
    assert problem.where == str(path)
    return problem.reason


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_lossless_formats_give_back_the_pixels(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", RGB)
    np.testing.assert_array_equal(read_rgb(path), RGB)
    assert image_size(path) == (5, 7)


def test_alpha_is_dropped_and_grey_becomes_three_channels(tmp_path: Path) -> None:
    alpha = np.dstack([RGB, np.zeros((5, 7), np.uint8)])
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", alpha)), RGB)
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "g.png", GREY)), np.dstack([GREY] * 3))


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    deep = (GREY.astype(np.uint16) << 8) + 77
    deep[0, 0] = 0xFF00  # so that it uses all 16 bits
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", deep))[..., 1], deep >> 8)


def test_palette_images_with_transparency_show_their_colours(tmp_path: Path) -> None:
    image = Image.fromarray(GREY % 2, mode=None).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=bytes([0, 255]))
    expected = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)[GREY % 2]
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(read_drawing(tmp_path / "a.png")[0], expected)
    np.testing.assert_array_equal(read_values(tmp_path / "a.png"), GREY % 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_image_and_size_alike(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    big = np.kron(RGB, np.ones((8, 8, 1), np.uint8))
    Image.fromarray(big).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}[orientation]  # EXIF 2.3, table of orientations
    upright = np.rot90(big, turns)
    upright = upright[:, ::-1] if orientation in {2, 4, 5, 7} else upright
    read = read_rgb(tmp_path / "a.jpg")
    assert image_size(tmp_path / "a.jpg") == read.shape[:2] == upright.shape[:2]
    assert np.abs(read.astype(int) - upright).mean() < 6


def test_pillows_limit_is_put_aside_while_files_are_read_and_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # 35 are an error from 20 on
    path = save(tmp_path / "a.png", RGB)
    with ThreadPoolExecutor(8) as pool:
        for read in pool.map(read_rgb, [path] * 64):
            np.testing.assert_array_equal(read, RGB)
    assert Image.MAX_IMAGE_PIXELS == 10
    path.write_bytes(b"no image")
    with pytest.raises(DataError):
        read_rgb(path)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_every_kind_of_image_becomes_rgb(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RGB)
    for image in (path, str(path), RGB, Image.fromarray(RGB), Image.fromarray(np.dstack([RGB, GREY]))):
        np.testing.assert_array_equal(as_rgb(image), RGB)
    grey = GREY.copy()
    grey[0, 0] = 255
    for image in (grey, Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) << 8)):
        np.testing.assert_array_equal(as_rgb(image), np.dstack([grey] * 3))


def test_pil_images_are_turned_upright_as_files_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.tif", exif=exif)
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(as_rgb(image), np.rot90(RGB, -1))
    np.testing.assert_array_equal(as_rgb(tmp_path / "a.tif"), np.rot90(RGB, -1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB / 255, r"float64 of shape \(5, 7, 3\)\. Values of 0\.\.1 become .*astype\('uint8'\)"),
        (np.dstack([RGB, GREY]), r"uint8 of shape \(5, 7, 4\)\. Drop the fourth channel"),
        (RGB.transpose(2, 0, 1), r"uint8 of shape \(3, 5, 7\)\. Put the channels last"),
        (RGB.astype(np.int64), r"int64 of shape \(5, 7, 3\)\.$"),
        (RGB[:0], r"uint8 of shape \(0, 7, 3\)\.$"),
        (RGB[None], r"uint8 of shape \(1, 5, 7, 3\)\.$"),
        (RGB.tolist(), r"a list\.$"),
        (None, r"a NoneType\.$"),
        (b"png", r"a bytes\.$"),
    ],
)
def test_what_is_no_image_is_refused_with_what_it_is_and_what_to_do(image: object, message: str) -> None:
    with pytest.raises(FathomError, match=f"a path, a PIL image, or a uint8 array.* this one is {message}"):
        as_rgb(image)


def test_each_way_of_being_unreadable_has_its_reason(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.png") == "there is no such file"
    (tmp_path / "empty.png").write_bytes(b"")
    assert "is empty" in reason(tmp_path / "empty.png")
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    assert "not an image" in reason(tmp_path / "text.jpg")
    assert "floating-point" in reason(save(tmp_path / "float.tif", GREY.astype(np.float32)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncation_is_noticed_at_any_place(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "replace or remove it" in reason(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_values_are_read_as_stored_whatever_the_bit_depth(tmp_path: Path, bits: int) -> None:
    """Decoders stretch 2- and 4-bit grey to 0..255; class ids must not be stretched."""
    stored = GREY & (2**bits - 1)
    path = tmp_path / "a.png"
    path.write_bytes(grey_png(stored, bits))
    np.testing.assert_array_equal(read_values(path), stored)


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1 to 8 bits written by hand (PNG specification, section 11.2.1)."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = values.shape
    binary = (values[..., None] >> np.arange(bits)[::-1] & 1).reshape(height, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in binary)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_values_above_255_and_palette_indices_are_kept(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 1000
    np.testing.assert_array_equal(read_values(save(tmp_path / "deep.png", deep)), deep)
    signed = GREY.astype(np.int32) - 3
    np.testing.assert_array_equal(read_values(save(tmp_path / "signed.tif", signed)), signed)
    palette = Image.fromarray(GREY).convert("L").convert("P")
    palette.putdata(GREY.reshape(-1).tolist())
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_values(tmp_path / "palette.png"), GREY)


def test_grey_saved_as_rgb_counts_as_grey_but_colour_does_not(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_values(save(tmp_path / "grey.png", np.dstack([GREY] * 3))), GREY)
    assert "is a colour image" in reason(save(tmp_path / "colour.png", RGB), read_values)


def test_shrinking_averages_areas_and_growing_is_bilinear() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, :, 0] = [[0, 100, 200, 40], [20, 80, 0, 0]]
    np.testing.assert_array_equal(resize_image(image, (1, 2))[..., 0], [[50, 60]])
    # from 2 to 4 pixels the new centres lie at -1/4, 1/4, 3/4 and 5/4; the edge is repeated
    ramp = np.repeat(np.array([[[0], [100]]], np.uint8), 3, axis=2)
    np.testing.assert_array_equal(resize_image(ramp, (1, 4))[0, :, 0], [0, 25, 75, 100])
    # 2 x 4 -> 4 x 2: columns are averaged first, then rows interpolated
    mixed = resize_image(image, (4, 2))[:, 0, 0]
    np.testing.assert_array_equal(mixed, [50, 50, 50, 50])


@given(SIZES, SIZES)
def test_resizing_gives_the_size_and_stays_within_the_range(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = np.random.default_rng(3).integers(50, 90, (*old, 3), dtype=np.uint8)
    resized = resize_image(image, new)
    assert resized.shape == (*new, 3)
    assert image.min() <= resized.min() <= resized.max() <= image.max()
    if new == old:
        np.testing.assert_array_equal(resized, image)


@given(SIZES, SIZES)
def test_nearest_takes_the_value_under_the_centre(old: tuple[int, int], new: tuple[int, int]) -> None:
    values = np.arange(old[0] * old[1]).reshape(old)
    resized = resize_nearest(values, new)
    for y in range(new[0]):
        for x in range(new[1]):
            row = int((y + 0.5) * old[0] / new[0] + 1e-9)
            column = int((x + 0.5) * old[1] / new[1] + 1e-9)
            assert resized[y, x] == values[row, column]
