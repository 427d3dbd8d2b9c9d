"""`fathom study`: train a grid of recipes x label budgets x seeds, beside other processes, and compare."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from fathomseg.config import load
from fathomseg.engine.logging import METRICS
from fathomseg.errors import FathomError
from fathomseg.io.progress import say
from fathomseg.stages.run_folder import origin
from fathomseg.stages.study_config import Job, Study
from fathomseg.stages.study_known import take
from fathomseg.stages.study_runs import command, forgive, refuse_other_settings, result
from fathomseg.study.claims import Claims
from fathomseg.study.folder import StudyFolder
from fathomseg.study.grid import Cell
from fathomseg.study.pace import duration, last_step, minutes_left
from fathomseg.study.report import Report
from fathomseg.study.terminal import shown, stop_requests
from fathomseg.study.work import Work


def run(
    path: Path,
    overrides: list[str],
    out: Path | None,
    workers: int,
    only: list[str],
    table: bool,
    retry: bool,
    known: Sequence[Path] = (),
) -> int:
    """Do the study in the YAML file `path`, or as much of it as the arms `only`; returns the exit code.

    `table`: train nothing, show what there is. `retry`: train again what failed. `known`: results.json files of the
    same study, whose trainings are not done again.
    """
    study = load(Study, path, overrides)
    _check_arguments(study, workers, only)
    folder = StudyFolder(out or Path("runs") / "studies" / path.stem)
    results = Results(study, folder, study.title or path.stem)
    if known or not table:
        jobs = study.jobs(only)
        if retry:
            forgive(folder, jobs)
        refuse_other_settings(folder, jobs)
        for other in known:
            take(folder, jobs, other)
    if not table:
        stopped = work_through(study, folder, jobs, workers, results)
    results.write()
    report = results.report()
    report.show(Console(width=None if sys.stdout.isatty() else 140))
    say(f"Written to {folder.path}: results.json, results.md, results.svg, results.png")
    if report.failed and not table:
        say("Logs of failed trainings are in its folder cells/; --retry trains them again.")
    if not table and stopped:
        say("Stopped. The same command goes on.")
        return 130
    return 1 if report.failed else 0


class Results:
    """The results of a study on disk, and their report."""

    def __init__(self, study: Study, folder: StudyFolder, title: str) -> None:
        self.study, self.folder, self.title = study, folder, title
        self._origin = origin()

    def report(self) -> Report:
        """The report as of now, trainings of other processes included."""
        cells = self.study.cells()
        return Report(
            title=self.title,
            titles={name: arm.title or name for name, arm in self.study.arms.items()},
            baseline=self.study.reference_arm,
            cells=cells,
            records=self.folder.records(cells),
            failed=self.folder.failures(cells),
        )

    def write(self) -> None:
        """Write the report into the folder of the study."""
        self.report().write(self.folder, self.study.model_dump(mode="json"), self._origin)


def work_through(study: Study, folder: StudyFolder, jobs: Mapping[Cell, Job], workers: int, results: Results) -> bool:
    """Train what nobody else trains until nothing is left; returns whether it was stopped before."""
    claims = Claims(folder.path / "claims")
    work = Work(
        folder,
        list(jobs),
        command=lambda cell: command(folder.run(cell), jobs[cell]),
        result=lambda cell: result(cell, folder.run(cell), jobs[cell].recipe),
        claims=claims,
        changed=results.write,
        keep_checkpoints=study.keep_checkpoints,
    )
    with stop_requests(work.stop) as stopped, shown(len(jobs)) as show:
        work.start(workers)
        while not work.wait(5.0):
            show(*status(folder, claims, jobs))
        show(*status(folder, claims, jobs))
        return stopped()


def status(folder: StudyFolder, claims: Claims, jobs: Mapping[Cell, Job]) -> tuple[int, str]:
    """How many trainings are settled, and the rest in words: running, failed, time left."""
    left = [cell for cell in jobs if not folder.settled(cell)]
    running = [cell for cell in left if claims.owner(str(cell)) is not None]
    done = {cell: last_step(folder.run(cell) / METRICS) / jobs[cell].recipe.train.steps for cell in running}
    known = {cell: minutes for cell, one in folder.records(jobs).items() if (minutes := one["minutes"]) is not None}
    failed = len(folder.failures(jobs))
    words = [f"{len(running)} running"] if running else []
    words += [f"{failed} failed"] if failed else []
    words += [f"about {duration(minutes_left(left, known, done, len(running)))} left"] if left else []
    return len(jobs) - len(left), ", ".join(words)


def _check_arguments(study: Study, workers: int, only: list[str]) -> None:
    unknown = [name for name in only if name not in study.arms]
    if unknown:
        raise FathomError(f"--only {unknown[0]}: there is no such arm; the study has {', '.join(study.arms)}.")
    if workers < 1:
        raise FathomError(f"--workers is {workers}; give the number of trainings to run side by side, at least 1.")
