"""`fathom study`: train a grid of recipes x label budgets x seeds, here or on a cluster, and compare."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from fathomseg.config import load
from fathomseg.errors import FathomError
from fathomseg.io.files import refuse_unwritable
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import say
from fathomseg.parallel import open_engine
from fathomseg.stages.study_config import Study, Training
from fathomseg.stages.study_page import write_study_page
from fathomseg.stages.study_runs import forgive, job, progress, refuse_other_settings, take_known
from fathomseg.study.folder import JobFolder
from fathomseg.study.report import Report
from fathomseg.study.runner import Runner
from fathomseg.study.table import Cell
from fathomseg.study.terminal import Status, duration, minutes_left, run_all
from fathomseg.training.run_folder import origin


def run(
    path: Path,
    overrides: list[str],
    out: Path | None,
    workers: int | None,
    only: list[str],
    table: bool,
    retry: bool,
    known: Sequence[Path] = (),
    engine: str = "local",
    gpus: float | None = None,
) -> int:
    """Do the study in the YAML file `path`, or as much of it as the arms `only`; returns the exit code.

    `table`: train nothing, show what there is. `retry`: train again what failed. `known`: results.json files of the
    same study, whose trainings are not done again. `workers`: trainings side by side; None = as many as `engine` has
    room for. `gpus`: the share of a GPU each gets, 1 at most; None = one, where there are any, and not for Slurm.
    Raises `FathomError` if another command trains in the folder.
    """
    study = load(Study, path, overrides)
    _check_arguments(study, workers, only)
    refuse_unwritable(out or Path("runs") / "studies" / path.stem)
    folder = JobFolder(out or Path("runs") / "studies" / path.stem)
    _refuse_others(folder)
    title, made, stopped = study.title or path.stem, origin(), False

    def write() -> Report:
        found = report_of(study, folder, title)
        found.write(folder, study.model_dump(mode="json"), made)
        return found

    with ExitStack() as stack:
        if known or not table:
            trainings = study.trainings(only)
            stack.enter_context(alone_in(folder.path, f"fathom study {path}"))
            if retry:
                forgive(folder, trainings)
            refuse_other_settings(folder, trainings)
            for other in known:
                if count := take_known(folder, trainings, other):
                    say(f"{count} trainings are known from {other} and not done again.")
        if not table:
            opened = stack.enter_context(open_engine(engine, folder.path / "submitit"))
            share = opened.job_share(gpus)
            jobs = [job(cell, training, folder.run(cell)) for cell, training in trainings.items()]
            runner = Runner(
                folder, jobs, changed=write, keep_checkpoints=study.keep_checkpoints, engine=opened, gpus=share
            )
            stopped = run_all(runner, workers or opened.room(share), lambda: status(runner, trainings))
    report = write()
    report.show(Console(width=None if sys.stdout.isatty() else 140))
    page = write_study_page(folder, report, made)
    say(f"Written to {folder.path}: results.json, results.md, results.svg, results.png; page: {page}")
    if report.failed and not table:
        say("Logs of failed trainings are in its folder cells/; --retry trains them again.")
    if stopped:
        say("Stopped. The same command resumes the study.")
        return 130
    settled = sum(folder.settled(cell) for cell in study.cells())
    failed = f", {len(report.failed)} failed" if report.failed else ""
    conclude(f"{settled} of {len(study.cells())} trainings{failed}; results in {folder.path / 'results.md'}")
    return 1 if report.failed else 0


def report_of(study: Study, folder: JobFolder, title: str) -> Report:
    """The results as of now, trainings of other processes included."""
    cells = study.cells()
    return Report(
        title=title,
        titles={name: arm.title or name for name, arm in study.arms.items()},
        baseline=study.reference_arm,
        cells=cells,
        records=folder.records(cells),
        failed=folder.failures(cells),
        singles=study.delta_m,
    )


def status(runner: Runner, trainings: Mapping[Cell, Training]) -> Status:
    """How many trainings are done, and the rest in words: running, failed, time left."""
    folder, running = runner.folder, runner.running()
    left = [cell for cell in trainings if not folder.settled(cell)]
    parts = {cell: progress(folder.run(cell), trainings[cell].recipe) for cell in left if str(cell) in running}
    known = {c: minutes for c, one in folder.records(trainings).items() if (minutes := one["minutes"]) is not None}
    failed = len(folder.failures(trainings))
    words = [f"{len(running)} running"] if running else []
    words += [f"{failed} failed"] if failed else []
    words += [f"about {duration(minutes_left(left, known, parts, len(running)))} left"] if left else []
    return len(trainings) - len(left), ", ".join(words)


def _refuse_others(folder: JobFolder) -> None:
    """Raise `FathomError` if a folder that is not of a study has files by the names of results."""
    there = sorted(folder.path.glob("results.*"))
    if there and not folder.notes.is_dir():
        raise FathomError(
            f"{folder.path} holds {there[0].name} and is not the folder of a study. Give another (--out)."
        )


def _check_arguments(study: Study, workers: int | None, only: list[str]) -> None:
    if unknown := [name for name in only if name not in study.arms]:
        raise FathomError(f"--only {unknown[0]}: there is no such arm; the study has {', '.join(study.arms)}.")
    if workers is not None and workers < 1:
        raise FathomError(f"--workers is {workers}; give the number of trainings to run side by side, at least 1.")
