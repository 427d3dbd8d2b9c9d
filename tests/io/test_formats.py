from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fathomseg.errors import DataError
from fathomseg.io.formats import upright
from fathomseg.io.images import as_rgb, bits_used, image_size, is_turned, read_rgb
from fathomseg.io.label_images import read_drawing, read_stored, read_values
from tests.fakes import save

IDS = (np.arange(35, dtype=np.uint8) % 5).reshape(5, 7)
WIDE = IDS.astype(np.uint16) * 300
ORIENTATION = 0x0112


def refused(path: Path, read=read_values) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    (problem,) = caught.value.problems
    assert problem.where == str(path)
    return problem.reason


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_equal_channels_of_sixteen_bits_are_the_stored_numbers(tmp_path: Path, suffix: str) -> None:
    for channels in (3, 4):
        wide = np.repeat(WIDE[..., None], channels, axis=2)
        path = tmp_path / f"{channels}{suffix}"
        cv2.imwrite(str(path), wide)
        np.testing.assert_array_equal(read_values(path), WIDE)


def test_grey_and_alpha_of_sixteen_bits(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = np.dstack([WIDE, np.full_like(WIDE, 65535)]).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", 7, 5, 16, 4, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(read_values(tmp_path / "a.png"), WIDE)


def test_colours_of_sixteen_bits_are_exact_or_refused(tmp_path: Path) -> None:
    colours = np.dstack([IDS, 2 * IDS, 50 * IDS])
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_drawing(tmp_path / "a.png")[0], colours)
    cv2.imwrite(str(tmp_path / "b.png"), colours[..., ::-1].astype(np.uint16) * 256)
    assert "8 bits a channel" in refused(tmp_path / "b.png", read_drawing)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {"format": "JPEG"}),
        ("a.jpeg", {"format": "JPEG"}),
        ("a.tif", {"format": "TIFF", "compression": "jpeg"}),
        ("a.webp", {"format": "WEBP"}),
        ("b.webp", {"format": "WEBP", "exif": exif(6)}),
        ("a.bmp", {"format": "JPEG2000"}),
    ],
)
def test_lossy_files_are_refused_by_what_they_are(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    Image.fromarray(IDS).save(tmp_path / name, **options)
    for read in (read_values, read_drawing):
        assert "which changes labels near edges; store labels as PNG" in refused(tmp_path / name, read)
    assert read_stored(tmp_path / name, lossy=True).values.shape in {IDS.shape, IDS.shape[::-1]}
    assert read_rgb(tmp_path / name).ndim == 3  # a photograph may be lossy


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {"format": "PNG"}),
        ("a.webp", {"format": "WEBP", "lossless": True}),
        ("a.tif", {"format": "TIFF", "compression": "tiff_lzw"}),
        ("a.tiff", {"format": "TIFF", "compression": "tiff_adobe_deflate"}),
        ("a.bmp", {}),
    ],
)
def test_lossless_files_are_read_whatever_they_are_called(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    Image.fromarray(IDS).save(tmp_path / name, **options)
    np.testing.assert_array_equal(read_values(tmp_path / name), IDS)


def test_several_pages_are_refused_but_not_smaller_copies(tmp_path: Path) -> None:
    page, other = Image.fromarray(IDS), Image.fromarray(IDS[::-1].copy())
    for name in ("a.tif", "a.png"):
        page.save(tmp_path / name, save_all=True, append_images=[other])
        assert "holds 2 pages or frames" in refused(tmp_path / name)
    small = Image.fromarray(IDS[::2, ::2].copy())
    small.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(tmp_path / "b.tif", save_all=True, append_images=[small])
    np.testing.assert_array_equal(read_values(tmp_path / "b.tif"), IDS)


def tiff(path: Path, photometric: int, bits: int, data: bytes, size: tuple[int, int]) -> Path:
    """An uncompressed grey TIFF of one strip."""
    tags = [
        (256, size[1]),
        (257, size[0]),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, size[0]),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in [*tags, (279, len(data))])
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags) + 1) + entries + b"\0\0\0\0")
    return path


def test_a_tiff_tells_what_its_zeros_and_few_bits_mean(tmp_path: Path) -> None:
    packed = bytes([0x01, 0x23, 0x32, 0x10])
    values = read_values(tiff(tmp_path / "a.tif", 1, 4, packed, (2, 4)))
    np.testing.assert_array_equal(values, [[0, 1, 2, 3], [3, 2, 1, 0]])
    assert "0 is white (MinIsWhite)" in refused(tiff(tmp_path / "b.tif", 0, 4, packed, (2, 4)))
    Image.fromarray(IDS).convert("CMYK").save(tmp_path / "c.tif")
    assert "mode CMYK" in refused(tmp_path / "c.tif", read_drawing)


@pytest.mark.parametrize("most", [4, 255, 1023, 65535])
def test_a_pgm_is_read_without_its_scale(tmp_path: Path, most: int) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n# one\n7 5\n%d\n" % most + IDS.astype(np.uint8 if most < 256 else ">u2").tobytes())
    np.testing.assert_array_equal(read_values(path), IDS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["a.png", "a.tif", "a.webp", "deep.png", "late.png"])
def test_an_orientation_turns_images_sizes_and_labels_alike(tmp_path: Path, orientation: int, kind: str) -> None:
    path, options = tmp_path / kind, {"lossless": True} if kind.endswith("webp") else {}
    deep = kind == "deep.png"
    Image.fromarray(WIDE if deep else IDS).save(path, exif=exif(orientation), **options)
    if kind == "late.png":  # behind the pixels, where the standard allows it too
        content = path.read_bytes()
        place = content.index(b"eXIf") - 4
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        tail = content.index(b"IEND") - 4
        path.write_bytes(content[:place] + content[end:tail] + content[place:end] + content[tail:])
    turned = upright(WIDE if deep else IDS, orientation)
    np.testing.assert_array_equal(read_values(path), turned)
    assert read_rgb(path).shape[:2] == image_size(path) == turned.shape
    assert is_turned(path) == (orientation != 1)
    if not deep:
        np.testing.assert_array_equal(read_drawing(path)[0][..., 0], turned)


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (10, 1), (12, 1), (12, 3), (14, 1), (16, 3)])
def test_images_of_fewer_bits_are_scaled_to_all_of_eight(tmp_path: Path, bits: int, channels: int) -> None:
    ramp = np.linspace(0, (1 << bits) - 1, 35).astype(np.uint16).reshape(5, 7)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), ramp if channels == 1 else np.dstack([ramp] * 3))
    assert bits_used(path) == bits
    np.testing.assert_array_equal(read_rgb(path)[..., 1], ramp >> (bits - 8))


def test_stated_bits_count_and_are_checked(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 900]], np.uint16))
    assert bits_used(path) == 10
    assert read_rgb(path, bits=12)[0, 1, 0] == 900 >> 4
    assert "holds values up to 900, but 9 bits end at 511" in refused(path, lambda path: read_rgb(path, 9))
    assert bits_used(save(tmp_path / "b.png", IDS)) is None


@pytest.mark.parametrize(("bits", "stated"), [(None, None), (12, None), (16, None), (None, 14)])
def test_an_image_of_pillow_has_the_bits_of_its_file(tmp_path: Path, bits: int | None, stated: int | None) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 900]], np.uint16))
    content, sbit = path.read_bytes(), b"sBIT" + bytes([stated or 16])
    if stated is not None:  # behind IHDR, which ends at byte 33
        chunk = b"\0\0\0\1" + sbit + zlib.crc32(sbit).to_bytes(4, "big")
        path.write_bytes(content[:33] + chunk + content[33:])
    with Image.open(path) as image:
        np.testing.assert_array_equal(as_rgb(image, bits), read_rgb(path, bits))
        assert as_rgb(image, bits)[0, 1, 0] == 900 >> (bits or stated or 10) - 8
        with pytest.raises(DataError, match="the PIL image: holds values up to 900, but 9 bits end at 511"):
            as_rgb(image, 9)


def test_pixels_nobody_painted(tmp_path: Path) -> None:
    alpha = np.where(IDS > 0, 255, 0).astype(np.uint8)
    painted = read_stored(save(tmp_path / "a.png", np.dstack([IDS, IDS, IDS, alpha])))
    np.testing.assert_array_equal(painted.unpainted, IDS == 0)
    assert read_stored(save(tmp_path / "b.png", np.dstack([IDS] * 3))).unpainted is None
    assert read_stored(save(tmp_path / "c.png", np.dstack([IDS, IDS, IDS, 0 * IDS]))).unpainted is None


def test_values_that_16_bits_do_not_hold_are_refused_in_images(tmp_path: Path) -> None:
    assert "from 0 to 70000" in refused(save(tmp_path / "a.tif", np.array([[0, 70000]], np.int32)), read_rgb)
    assert "from -1 to 5" in refused(save(tmp_path / "b.tif", np.array([[-1, 5]], np.int32)), read_rgb)


def test_images_of_several_pages_are_refused_but_not_their_masks(tmp_path: Path) -> None:
    page = Image.fromarray(np.zeros((4, 6), np.uint8))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    assert "holds 2 pages" in refused(tmp_path / "a.tif", read_rgb)
