"""One job on the machine that does it: started or resumed, and interrupted on request."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fathomseg.io.owned import clear
from fathomseg.study.child import Child
from fathomseg.study.folder import JobFolder

CHECKPOINT: Final = "checkpoint.pt"
_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Command:
    """What has to be known of a job where it is done."""

    name: str
    start: tuple[str, ...]
    """The words after `fathom`."""
    resume: tuple[str, ...]
    """The same where its run has a checkpoint. Equal to `start`: the command resumes by itself what it has left."""
    cwd: Path | None = None
    """Where they are typed."""
    program: str = "fathomseg.cli"
    """The module `fathom`."""


def checkpoints(run: Path) -> list[Path]:
    """Those of a run and of its phases."""
    return [*run.glob(CHECKPOINT), *run.glob(f"*/{CHECKPOINT}")]


class Attempt:
    """Runs the command of a job. `run` may be called again, elsewhere too, if the machine died: it goes on then."""

    def __init__(self, folder: JobFolder, command: Command, environment: Mapping[str, str]) -> None:
        self.folder, self.command, self.environment = folder, command, environment
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._child: Child | None = None

    def run(self) -> str | None:
        """Do the job to its end, and note what it cost. Returns why it failed; None if it did not.

        Waits for what an earlier attempt has left: its training saves and ends, here or on another machine.
        """
        while not self._stopping.is_set():
            with self.folder.claimed(self.command.name) as log:
                if log is not None:
                    words, run = self.command.resume, self.folder.run(self.command.name)
                    if words != self.command.start and not checkpoints(run):
                        words = self.command.start
                        clear(run)  # started, but nothing was saved
                    with self._lock:
                        if self._stopping.is_set():
                            break
                        program = [self.command.program, *words]
                        self._child = Child(program, log, self.command.cwd, self.environment)
                    spent, error = self._child.wait()
                    self.folder.spend(self.command.name, spent)
                    return error
            self._stopping.wait(_LOOK_S)
        return "stopped before it began"

    def stop(self) -> None:
        """Ask the training to save and leave."""
        with self._lock:
            self._stopping.set()
            if self._child is not None:
                self._child.stop()
