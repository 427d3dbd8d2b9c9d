"""The one reader of text files that people write: UTF-8, or whatever a byte order mark says."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

from fathomseg.errors import DataError, Problem

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the mark of UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    r"""The text of a file with line ends "\n". Raises `DataError`, or `OSError` where the file cannot be opened."""
    return decode_text(path.read_bytes(), str(path))


def at_home(path: str | Path) -> Path:
    """A path with ~ and ~NAME as a shell has them; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def decode_text(content: bytes, where: str) -> str:
    r"""Bytes as text by their byte order mark (UTF-8, UTF-16, UTF-32), else as UTF-8; line ends become "\n".

    Raises `DataError` naming `where` if they are in another encoding.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        place = ""
        if isinstance(error, UnicodeDecodeError):
            line = content.count(b"\n", 0, error.start) + 1
            place = f" (byte 0x{content[error.start]:02x} in line {line})"
        reason = f"is not text in {encoding.removesuffix('-sig').upper()}{place}; save it as UTF-8"
        raise DataError([Problem(where, reason)]) from None
    if "\0" in text:
        reason = "holds zero bytes, as no text does, or UTF-16 without its mark; save it as UTF-8"
        raise DataError([Problem(where, reason)])
    return text.replace("\r\n", "\n").replace("\r", "\n")
