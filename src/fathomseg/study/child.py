"""One training in a process of its own: a crash ends that process and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended and what it cost."""

    code: int
    """Exit code; minus the number of the signal that killed it."""
    minutes: float
    """Minutes by the clock on the wall."""
    cpu_minutes: float
    """Minutes of processor time, its own processes included."""
    error: str
    """The line that says why, if `code` is not 0."""


class Child:
    """A tethered program: it is asked to stop by closing its standard input, and stops as well if we die.

    Ctrl-C in the terminal does not reach it, so that it is asked once.
    """

    def __init__(self, arguments: Sequence[str], log: Path, folder: Path | None = None) -> None:
        """Start `python -m fathomseg.study.tether ARGUMENTS`, in `folder` if it is given.

        What it prints is appended to `log`.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(arguments)}\n".encode())
            file.flush()
            self._log, self._from = log, file.tell()
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fathomseg.study.tether", *arguments],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask it to save and leave; safe to call from any thread, more than once, and after its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> Ended:
        """Wait for its end."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        self.stop()
        minutes = (time.monotonic() - self._began) / 60
        return Ended(code, minutes, (usage.ru_utime + usage.ru_stime) / 60, self._error(code) if code else "")

    def _error(self, code: int) -> str:
        """The last error it told, else its last line; a signal is named first."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        told = next(
            (line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "no output"
        )
        told = told.removeprefix("error: ")
        return f"killed by {signal.Signals(-code).name} after: {told}" if code < 0 else told
