"""`fathom demo`: the whole idea on the generated world, without data, network or GPU.

It types what a user would: depth from clips, a choice of images, predicted labels, four trainings; then it shows what
came of them. The same command resumes it where it was stopped.

OUT/report.html, demo.jpg      the page, and one picture
OUT/results.json               all numbers
OUT/recipes, runs, logs        what was run, what came of it, what it said
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.places import evenly
from fathomseg.demo.folder import abs_rel, open_demo, recipe, recipes, results, spent, table, write_results
from fathomseg.demo.pictures import gallery, labelled
from fathomseg.demo.plan import AT_ONCE, LABELS, ROWS, SPLIT, Task, left_s, plan, standings, status
from fathomseg.errors import FathomError
from fathomseg.io.draw import write
from fathomseg.io.files import refuse_unwritable, write_text
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import say
from fathomseg.report.demo_page import PAGE, DemoPage, render
from fathomseg.stages.demo_tiles import tiles
from fathomseg.study.folder import JobFolder
from fathomseg.study.runner import Runner
from fathomseg.study.terminal import duration, run_all
from fathomseg.training.run_folder import origin

POSTER = "demo.jpg"
_ON_POSTER = 3
"""Images in demo.jpg."""
_EVERY_S = 15.0
"""Seconds between two lines where there is no terminal."""


def run(out: Path, minutes: float, seed: int) -> int:
    """A demo of about `minutes` on two idle cores in the folder `out`, or the rest of one. Returns the exit code.

    Raises `FathomError` if `out` holds anything else or a task fails.
    """
    began = time.monotonic()
    tasks = plan(minutes)
    asked = {"minutes": minutes, "seed": seed}
    refuse_unwritable(out)
    folder = open_demo(out, asked, tasks, recipes(tasks, seed))
    with alone_in(out, "fathom demo"):
        done = run_tasks(folder, tasks)
    if not done:
        options = " ".join(f"--{name} {value:g}" for name, value in asked.items())
        say(f"Stopped. What is done is kept; resume with: fathom demo {options} --out {out}")
        return 130
    say("Drawing pictures ...")
    show(folder, tasks, asked)
    conclude(f"the demo is in {out}")
    say(f"Done in {duration((time.monotonic() - began) / 60)}. The commands in the page work in {out}.")
    return 0


def run_tasks(folder: JobFolder, tasks: Sequence[Task]) -> bool:
    """Do all tasks that are not done, in the folder of the demo; returns whether they are all done now."""
    jobs = [task.job(folder) for task in tasks]
    runner = Runner(folder, jobs, stop_at_failure=True, cwd=folder.path, poll_s=0.5)
    if waiting := {job.name for job in runner.left()}:
        say(
            f"{len(waiting)} of {len(tasks)} commands to run in {folder.path}, two side by side: "
            f"about {duration(left_s(standings(runner, tasks)) / 60)} on two idle cores."
        )
        for task in tasks:
            if task.name in waiting:
                say(f"  fathom {' '.join(task.command)}")
        run_all(runner, AT_ONCE, lambda: status(standings(runner, tasks)), "commands", _EVERY_S)
    for task in tasks:
        if (error := folder.failure(task.name)) is not None:
            raise FathomError(
                f"A part of the demo has failed: {task.title}: {error}\n"
                f"Its log is {folder.log(task.name)}. The same command resumes the demo once the cause is gone."
            )
    return not runner.left()


def show(folder: JobFolder, tasks: Sequence[Task], asked: Mapping[str, Any]) -> None:
    """Print the table, and write the numbers, the picture and the page."""
    made, rows = origin(), results(folder)
    write_results(folder, tasks, rows, asked, made)
    world = resolve_dataset(str(recipe(folder, ROWS[0].task)))
    assert isinstance(world, Streets), "the recipes of the demo are for the generated world"
    images = gallery(folder, world)
    chosen, random = labelled(folder)
    pictures = images.pictures(chosen, random)
    write(folder.path / POSTER, images.poster(evenly(world.ids(SPLIT), _ON_POSTER), [rows[0].miou, rows[-1].miou]))
    page = DemoPage(
        rows=rows,
        tasks=[(task, spent(folder, task.name)) for task in tasks],
        pictures=pictures,
        classes=world.classes,
        abs_rel=abs_rel(folder),
        asked=asked,
        origin=made,
        tiles=tiles(folder, [choice.id for choice in chosen], random),
    )
    path = folder.path / PAGE
    write_text(path, render(page))
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(
        f"\n{LABELS} labels; scored on {rows[0].scores['images']} images of drives nothing was learned from",
        highlight=False,
    )
    console.print(table(rows))
    say(f"Depth learned from video: AbsRel {page.abs_rel:.3f}.\n  page     {path}\n  picture  {folder.path / POSTER}")
