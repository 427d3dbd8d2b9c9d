"""What a run says while it trains: metrics.jsonl, trackers (TensorBoard), and a progress bar or plain lines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fathomseg.engine import trackers
from fathomseg.io.files import write_text

METRICS = "metrics.jsonl"
UNSHOWN = ("links.",)
"""Names that begin so are written but not shown while it trains: there are too many."""


class Log:
    """The log of one run. Only rank 0 writes; the others pass `active=False` and every call does nothing.

    `first_step` > 0 resumes a log: lines written after the checkpoint are dropped, since those steps are trained again,
    and times go on from the last line kept.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        first_step: int = 0,
        active: bool = True,
        tracked_by: Sequence[trackers.Name] = ("tensorboard",),
    ) -> None:
        self.active = active
        self.steps = steps
        self._began, self._began_cpu = time.monotonic(), time.process_time()
        self._first_step = first_step
        if not active:
            return
        from rich.console import Console  # reading a recipe needs no bars
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console(stderr=True)
        path = folder / METRICS
        self._before, self._before_cpu = _keep_until(path, first_step)
        self._file = path.open("a", encoding="utf-8")
        self._trackers = trackers.start(tracked_by, folder, first_step)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        more = (TimeRemainingColumn(), TextColumn("{task.fields[status]}"))
        self._bar = Progress(*columns, *more, console=self._console) if self._console.is_terminal else None
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("training", total=steps, completed=first_step, status="")

    def advance(self, step: int) -> None:
        """Move the progress bar to `step` steps done."""
        if self.active and self._bar is not None:
            self._bar.update(self._task, completed=step)

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl and its numbers to the trackers; `step` counts the steps done so far."""
        if not self.active:
            return
        elapsed = time.monotonic() - self._began
        cpu = time.process_time() - self._began_cpu  # of this process: what a run costs where others run beside it
        spent = {"seconds": round(self._before + elapsed, 2), "cpu_seconds": round(self._before_cpu + cpu, 2)}
        line = {"step": step, "kind": kind, **values, **spent}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        numbers = {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
        for tracker in self._trackers:
            tracker.log(numbers, step=step)
        self._show(step, kind, values, elapsed)

    def _show(self, step: int, kind: str, values: Mapping[str, Any], elapsed: float) -> None:
        shown = {k: v for k, v in values.items() if not k.startswith(UNSHOWN)}
        numbers = "  ".join(f"{k} {v:.4g}" for k, v in shown.items() if isinstance(v, int | float))
        if self._bar is not None and kind == "train":
            self._bar.update(self._task, completed=step, status=numbers)
            return
        left = elapsed / max(1, step - self._first_step) * (self.steps - step)
        line = f"{kind} step {step}/{self.steps}  {numbers}  {elapsed:.0f} s, about {left:.0f} s left"
        self._console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Flush everything; the last words of the bar stay on the screen."""
        if not self.active:
            return
        if self._bar is not None:
            self._bar.stop()
        for tracker in self._trackers:
            tracker.finish()
        self._file.close()


def _keep_until(path: Path, step: int) -> tuple[float, float]:
    """Drop the lines of steps after `step`, and a last line cut short when the process was killed.

    Returns the seconds, and those of the processor, that the last line kept had taken.
    """
    if not path.exists():
        return 0.0, 0.0
    kept, spent = [], (0.0, 0.0)
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line["step"] <= step:
            kept.append(text + "\n")
            spent = line.get("seconds", 0.0), line.get("cpu_seconds", 0.0)
    write_text(path, "".join(kept))
    return spent
