"""A program that ends when its parent does: `python -m fathomseg.study.child MODULE [ARGUMENT]...`.

The parent keeps the other end of its standard input open. When it closes it, or dies of whatever, the program gets
SIGTERM, as which a training takes it to save a checkpoint and leave, and is ended a minute later.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from fathomseg.study.folder import Spent

_LINES: Final = 8
"""Lines of an error that are kept; all of it is in the log."""
_GRACE_S: Final = 60.0


class Child:
    """A program that is asked to stop by closing its standard input, and stops as well if we die.

    Ctrl-C in the terminal does not reach it, so that it is asked once.
    """

    def __init__(
        self, arguments: Sequence[str], log: IO[bytes], cwd: Path | None, environment: Mapping[str, str]
    ) -> None:
        """Start `python -m fathomseg.study.child ARGUMENTS`, in `cwd` if it is given; its output is added to `log`."""
        log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {os.uname().nodename}  {' '.join(arguments)}\n".encode())
        log.flush()
        self._log, self._from = Path(log.name), log.tell()
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fathomseg.study.child", *arguments],
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Ask it to save and leave; safe to call from any thread, more than once, and after its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> tuple[Spent, str | None]:
        """Wait for its end: what it cost, processes of its own included, and why it failed; None if it did not."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        self.stop()
        spent = Spent((time.monotonic() - self._began) / 60, (usage.ru_utime + usage.ru_stime) / 60)
        return spent, self._error(code) if code else None

    def _error(self, code: int) -> str:
        """The last error it printed with what follows, else its last line; a signal is named first."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        first = next((i for i in reversed(range(len(lines))) if lines[i].startswith("error: ")), len(lines) - 1)
        text = "\n".join(lines[max(0, first) :][:_LINES]).strip().removeprefix("error: ") or "no output"
        return f"killed by {signal.Signals(-code).name} after: {text}" if code < 0 else text


def main() -> None:
    """Call `main()` of the module named first, with the other arguments as its command line."""
    _, module, *arguments = sys.argv
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # by which Slurm tells the parent that the time is up
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: it returns at the end
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
