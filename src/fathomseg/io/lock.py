"""One command at a time in a folder."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from fathomseg.errors import FathomError
from fathomseg.io.files import write_text
from fathomseg.io.ranks import is_first

LOCK: Final = ".fathom-lock"
HOLDER: Final = ".fathom-lock.json"
"""Who holds it, for people; the lock itself is the system's, and is lifted when its process ends, however that came."""


@contextmanager
def alone_in(folder: Path, command: str) -> Iterator[None]:
    """Keep other commands out of a folder, on all machines that share it and pass locks on.

    Raises `FathomError` that says who is there. Leaves nothing in the folder, and no folder with nothing in it. Of the
    processes of torchrun the first holds it for all. A file system without locks keeps nobody out.
    """
    if not is_first():
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        with suppress(NotImplementedError):
            lock.acquire(timeout=0)
    except Timeout:
        raise FathomError(
            f"{folder} is in use by {_holder(folder)}. Wait for its end, or give another folder."
        ) from None
    try:
        host, now = socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"command": command, "host": host, "process": os.getpid(), "since": now}
        write_text(folder / HOLDER, json.dumps(holder) + "\n")
        yield
    finally:
        for name in (HOLDER, LOCK):
            with suppress(OSError):
                (folder / name).unlink()
        lock.release()
        for place in made:
            with suppress(OSError):  # it holds what the command has written
                place.rmdir()


def _holder(folder: Path) -> str:
    try:
        one = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"`{one['command']}`, process {one['process']} on {one['host']} since {one['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
