"""Working through the cells of a study, beside other processes that do the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fathomseg.study.child import Child
from fathomseg.study.claims import Claim, Claims
from fathomseg.study.folder import Record, StudyFolder
from fathomseg.study.grid import Cell

CHECKPOINT = "checkpoint.pt"


class Work:
    """Trains every cell that nobody else trains, several at once; waits for those of others, in case they are left.

    `command` gives the words of the training of a cell, begun or gone on with; `result` reads what it has left in its
    run folder, None if the run has not reached its end. `changed` is called after every cell, in any thread.
    """

    def __init__(
        self,
        folder: StudyFolder,
        cells: Sequence[Cell],
        command: Callable[[Cell], list[str]],
        result: Callable[[Cell], Record | None],
        claims: Claims,
        changed: Callable[[], None] = lambda: None,
        keep_checkpoints: bool = False,
        poll_s: float = 5.0,
    ) -> None:
        self.folder, self.cells, self.claims = folder, tuple(cells), claims
        self._command, self._result, self._changed = command, result, changed
        self._keep_checkpoints, self._poll_s = keep_checkpoints, poll_s
        self._stopping = threading.Event()
        self._children: set[Child] = set()
        self._lock = threading.Lock()
        self._broken: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, workers: int) -> None:
        """Begin; each worker trains one cell at a time."""
        self._threads = [threading.Thread(target=self._work, name=f"worker {i}") for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; returns whether all is over. Raises what went wrong in a worker, if anything did."""
        for thread in self._threads:
            thread.join(seconds / len(self._threads))
        if any(thread.is_alive() for thread in self._threads):
            return False
        if self._broken:
            raise self._broken[0]
        return True

    def stop(self) -> None:
        """Ask all trainings to save and leave; their cells are free for others as soon as they have."""
        self._stopping.set()
        with self._lock:
            for child in self._children:
                child.stop()

    def open_cells(self) -> list[Cell]:
        """The cells that are neither finished nor failed."""
        return [cell for cell in self.cells if not self.folder.settled(cell)]

    def _work(self) -> None:
        try:
            while not self._stopping.is_set() and (left := self.open_cells()):
                if not any(self._try(cell) for cell in left):
                    self._stopping.wait(self._poll_s)
        except BaseException as error:
            self._broken.append(error)
            self.stop()

    def _try(self, cell: Cell) -> bool:
        """Train a cell if it is free; returns whether it was."""
        if self._stopping.is_set():
            return True
        claim = self.claims.take(str(cell))
        if claim is None:
            return False
        if self.folder.settled(cell):  # by somebody who was quicker
            claim.path.unlink(missing_ok=True)
            return False
        try:
            self._train(cell, claim)
        except BaseException:
            claim.release()
            raise
        return True

    def _train(self, cell: Cell, claim: Claim) -> None:
        if (record := self._result(cell)) is None:  # a run may have ended just before its study process was killed
            child = Child(self._command(cell), self.folder.log(cell))
            with self._stopped_with_us(child), claim.kept(self.claims.beat_s, lost=child.stop):
                ended = child.wait()
            if not claim.held:
                return  # this process was asleep; another one is at the cell
            self.folder.spend(cell, ended.minutes, ended.cpu_minutes)
            if ended.code == 0:
                record = self._read_result(cell)
            elif self._stopping.is_set():
                claim.release()
                return
            else:
                self.folder.fail(cell, ended.error)
        if record is not None:
            self._finish(cell, record)
        self.claims.clear(claim)
        self._changed()

    @contextmanager
    def _stopped_with_us(self, child: Child) -> Iterator[None]:
        """`stop` reaches the child, even if it was called a moment ago."""
        with self._lock:
            self._children.add(child)
        if self._stopping.is_set():
            child.stop()
        try:
            yield
        finally:
            with self._lock:
                self._children.discard(child)

    def _read_result(self, cell: Cell) -> Record | None:
        """The result of a training that ended well; one without is a failure."""
        record = self._result(cell)
        if record is None:
            self.folder.fail(cell, "the training ended well, but left no scores")
        return record

    def _finish(self, cell: Cell, record: Record) -> None:
        minutes, cpu_minutes = self.folder.spent(cell) or (None, None)
        self.folder.finish(cell, {**record, "minutes": minutes, "cpu_minutes": cpu_minutes})
        if not self._keep_checkpoints:
            (self.folder.run(cell) / CHECKPOINT).unlink(missing_ok=True)
