"""Files that appear under their name only when complete, and JSON files that say which format they are of."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.io.outcome import wrote
from fathomseg.text import read_text
from fathomseg.version import __version__


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of text in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears under its name only when complete."""
    with writing(path) as temporary:
        temporary.write_bytes(content)


CONFIG: Final = "config.yaml"
"""The resolved recipe in the folder of a run."""


def write_config(part: Part, path: Path) -> None:
    """Write a resolved configuration as YAML. `config.load(type(part), path) == part` holds for every part."""
    write_text(path, yaml.safe_dump(part.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120))


@contextmanager
def writing(path: Path, durable: bool = False) -> Iterator[Path]:
    """The one way to write a file of any kind: yields a temporary path beside `path`, to be filled.

    When the block ends the file takes the name `path` in one move, whoever else writes it at the same moment; if the
    block raises, nothing appears and nothing stays behind. The folder is made. `durable`: the content is on the disk
    before the move, so that not even a power cut leaves less than the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{path.name}|{platform.node()}|{os.getpid()}|{threading.get_ident()}"
    # hashed, for a name may be as long as the disk allows
    temporary = path.with_name(f".{hashlib.sha256(writer.encode(errors='surrogateescape')).hexdigest()[:32]}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        wrote(path)
    finally:
        temporary.unlink(missing_ok=True)  # only there if writing failed, for example on a full disk


def digest(files: Sequence[Path]) -> str:
    """A hash of what some files hold, wherever they lie."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:40]


def refuse_unwritable(folder: Path, option: str = "--out") -> None:
    """Try, before any work is done, whether files can be written into a folder that may not be there yet.

    Nothing is left behind. Raises `FathomError` if it is a file, lies below one, or cannot be written.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        where = "is a file" if there == folder else f"lies below {there}, which is a file"
        raise FathomError(f"{folder} {where}; it must be a folder. Give another {option}.")
    try:
        with tempfile.TemporaryDirectory(prefix=".fathom-", dir=there):
            pass
    except OSError as error:
        raise FathomError(f"Nothing can be written into {there} ({error.strerror}). Give another {option}.") from None


def read_ids(path: Path, known: Container[str] = frozenset()) -> list[str]:
    """The ids in a text file of one id a line, without repetitions. Blanks around an id count only where it is `known`
    with them. Raises `FathomError` if there is no such file."""
    if not path.is_file():
        raise FathomError(f"There is no file {path}; expected a text file of one sample id a line.")
    lines = (line if line in known else line.strip() for line in read_text(path).split("\n"))
    return list(dict.fromkeys(line for line in lines if line))


def read_tree(path: Path) -> Any:
    """What a JSON file holds. Raises `FileNotFoundError`, or `FathomError` if it cannot be read."""
    try:
        return json.loads(read_text(path))
    except (FathomError, FileNotFoundError):
        raise
    except (ValueError, OSError, RecursionError) as error:
        raise FathomError(f"{path} cannot be read as JSON: {error}.") from None


def read_json(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """The mapping in a JSON file of format 1.

    Raises `FathomError` if there is none (then with the `remedy`), if it cannot be read, or if it is not what it should
    be: `what` names that.
    """
    try:
        tree = read_tree(path)
    except FileNotFoundError:
        raise FathomError(f"There is no {path}. {remedy}") from None
    if not isinstance(tree, dict) or tree.get("format") != 1:
        raise FathomError(
            f"{path} is not {what} of a format this version reads (1). It was written by another program or another "
            f"version; this is fathomseg {__version__}."
        )
    return tree
