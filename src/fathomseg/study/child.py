"""One command in a process of its own: a crash ends that process and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fathomseg.study.folder import Spent

_LINES: Final = 8
"""Lines of an error that are kept; all of it is in the log."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended and what it cost."""

    code: int
    """Exit code; minus the number of the signal that killed it."""
    spent: Spent
    """Time of its own processes included."""
    error: str
    """Why it failed; empty if `code` is 0."""


class Child:
    """A tethered program: it is asked to stop by closing its standard input, and stops as well if we die.

    Ctrl-C in the terminal does not reach it, so that it is asked once.
    """

    def __init__(self, arguments: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        """Start `python -m fathomseg.study.tether ARGUMENTS`, in `cwd` if it is given; its output is added to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(arguments)}\n".encode())
            file.flush()
            self._log, self._from = log, file.tell()
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fathomseg.study.tether", *arguments],
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def minutes(self) -> float:
        """Wall-clock minutes since its start."""
        return (time.monotonic() - self._began) / 60

    def stop(self) -> None:
        """Ask it to save and leave; safe to call from any thread, more than once, and after its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> Ended:
        """Wait for its end."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        self.stop()
        spent = Spent(self.minutes, (usage.ru_utime + usage.ru_stime) / 60)
        return Ended(code, spent, self._error(code) if code else "")

    def _error(self, code: int) -> str:
        """The last error it printed with what follows, else its last line; a signal is named first."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        first = next((i for i in reversed(range(len(lines))) if lines[i].startswith("error: ")), len(lines) - 1)
        text = "\n".join(lines[max(0, first) :][:_LINES]).strip().removeprefix("error: ") or "no output"
        return f"killed by {signal.Signals(-code).name} after: {text}" if code < 0 else text
