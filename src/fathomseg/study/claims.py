"""Who is at which job: claims by files that any number of processes on any number of machines can share.

`flock` is not used, because it does not reach from one machine to another on every network file system. What does is
creating a file that must not exist yet. A claim is such a file, NAME.1. Its owner touches it every `beat_s` seconds. A
claim not touched for `stale_s` is that of a process that died; whoever creates the next one, NAME.2, takes over. Since
exactly one process can create it, and no claim is removed before the job has its result, two can never both take over.
A process that was only asleep finds the newer claim at its next beat, and stops.

Ages are told by the clock of the file system (the time it gives a new file), so clocks that differ do no harm.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BEAT_S: Final = 15.0
STALE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work at a job, as long as nobody has taken over."""

    path: Path

    @property
    def held(self) -> bool:
        """Whether the claim is there and is the newest one."""
        return self.path.exists() and not _next(self.path).exists()

    def beat(self) -> bool:
        """Show that its owner is alive; returns whether the claim still holds."""
        try:
            held = self.held
            if held:
                os.utime(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a network file system that is away for a moment; the next beat will tell
        return held

    def release(self) -> None:
        """Let others claim the job at once. The file stays as a stale claim."""
        with suppress(FileNotFoundError):
            os.utime(self.path, (0, 0))

    @contextmanager
    def kept(self, beat_s: float, lost: Callable[[], None]) -> Iterator[None]:
        """Touch the claim from a thread of its own; `lost` is called (once, there) if somebody has taken over."""
        done = threading.Event()

        def beats() -> None:
            while not done.wait(beat_s):
                if not self.beat():
                    lost()
                    return

        thread = threading.Thread(target=beats, name=f"beat {self.path.name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


class Claims:
    """Claims of jobs, in a folder of their own."""

    def __init__(self, folder: Path, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> None:
        self.folder, self.beat_s, self.stale_s = folder, beat_s, stale_s

    def take(self, name: str) -> Claim | None:
        """Claim a job; None if another process is at it, or was quicker.

        The caller must look once more whether the job is finished, since claims go when there is a result.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        newest = self._newest(name)
        if newest is not None and self._alive(newest):
            return None
        path = self.folder / f"{name}.1" if newest is None else _next(newest)
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return None
        with os.fdopen(file, "w", encoding="utf-8") as text:
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, text)
        return Claim(path)

    def owner(self, name: str) -> str | None:
        """Who is at a job, as "host, process 123"; None if nobody is."""
        newest = self._newest(name)
        if newest is None or not self._alive(newest):
            return None
        try:
            found = json.loads(newest.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):  # just created, or just gone
            return "another process"
        return f"{found['host']}, process {found['pid']}"

    def clear(self, claim: Claim) -> None:
        """Remove a claim and the older ones of its job, which must have its result by then; the newest goes last."""
        for path in self._all(claim.path.stem):
            if _number(path) <= _number(claim.path):
                path.unlink(missing_ok=True)

    def _all(self, name: str) -> list[Path]:
        """Claims of a job, oldest first."""
        found = [path for path in self.folder.glob(f"{name}.*") if path.suffix[1:].isdigit()]
        return sorted(found, key=_number)

    def _newest(self, name: str) -> Path | None:
        return next(reversed(self._all(name)), None)

    def _alive(self, claim: Path) -> bool:
        try:
            touched = claim.stat().st_mtime
        except FileNotFoundError:  # the job was finished meanwhile
            return True
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".clock-") as probe:
            return os.fstat(probe.fileno()).st_mtime - touched < self.stale_s


def _number(claim: Path) -> int:
    return int(claim.suffix[1:])


def _next(claim: Path) -> Path:
    return claim.with_suffix(f".{_number(claim) + 1}")
