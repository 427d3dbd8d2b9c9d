"""`fathom demo`: the whole idea on the generated world, without data, network or GPU.

It types what a user would: depth from clips, a choice of images, four trainings; then it shows what came of them. The
same command goes on where it was stopped.

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
from fathomseg.demo.display import clock, left_s, shown
from fathomseg.demo.folder import DemoFolder, recipes
from fathomseg.demo.pictures import gallery, labelled, spread
from fathomseg.demo.plan import ROWS, Task, plan
from fathomseg.demo.results import abs_rel, results, table, write_results
from fathomseg.demo.work import Work
from fathomseg.io.draw import write
from fathomseg.io.progress import say
from fathomseg.report.demo_page import DemoPage, write_page
from fathomseg.stages.run_folder import origin
from fathomseg.study.terminal import stop_requests

POSTER = "demo.jpg"
_ON_POSTER = 3
"""Images in demo.jpg."""


def run(out: Path, minutes: float, seed: int) -> int:
    """A demo of about `minutes` on two idle cores in the folder `out`, or the rest of one. Returns the exit code.

    Raises `FathomError` if `out` holds anything else or a task fails.
    """
    began = time.monotonic()
    tasks = plan(minutes)
    asked = {"minutes": minutes, "seed": seed}
    folder = DemoFolder(out)
    with folder.opened(asked, tasks, recipes(tasks, seed)):
        if not work_through(folder, tasks):
            say(f"Stopped. What is done is kept; go on with: {command(out, asked)}")
            return 130
        say("Drawing pictures ...")
        show(folder, tasks, asked)
    say(f"Done in {clock(time.monotonic() - began)}. The commands in the page work in {out}.")
    return 0


def work_through(folder: DemoFolder, tasks: Sequence[Task]) -> bool:
    """Do all tasks that are not done; returns whether they are all done now."""
    work = Work(folder, tasks)
    standings = work.standings()
    waiting = [one.task for one in standings if not one.done]
    if waiting:
        say(
            f"{len(waiting)} of {len(tasks)} commands to run in {folder.path}, two side by side: "
            f"about {clock(left_s(standings))} minutes on two idle cores."
        )
        for task in waiting:
            say(f"  fathom {' '.join(task.command)}")
    with stop_requests(work.stop) as stopped, shown() as display:
        work.run(display)
    return not stopped() or all(one.done for one in work.standings())


def show(folder: DemoFolder, tasks: Sequence[Task], asked: Mapping[str, Any]) -> None:
    """Print the table, and write the numbers, the picture and the page."""
    made, rows = origin(), results(folder)
    write_results(folder, tasks, rows, asked, made)
    world = resolve_dataset(str(folder.recipe(ROWS[0].task)))
    assert isinstance(world, Streets), "the recipes of the demo are for the generated world"
    images = gallery(folder, world)
    pictures = images.pictures(*labelled(folder))
    write(folder.path / POSTER, images.poster(spread(world.ids("val"), _ON_POSTER), [rows[0].miou, rows[-1].miou]))
    page = DemoPage(
        rows=rows,
        tasks=[(task, folder.spent(task.name)) for task in tasks],
        pictures=pictures,
        classes=world.classes,
        abs_rel=abs_rel(folder),
        asked=asked,
        origin=made,
    )
    path = write_page(folder.path, page)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(
        f"\n12 labels; scored on {rows[0].scores['images']} images of drives nothing was learned from", highlight=False
    )
    console.print(table(rows))
    say(f"Depth learned from video: AbsRel {page.abs_rel:.3f}.\n  page     {path}\n  picture  {folder.path / POSTER}")


def command(out: Path, asked: Mapping[str, Any]) -> str:
    """What to type to go on."""
    return " ".join(["fathom demo", *(f"--{name} {value:g}" for name, value in asked.items()), f"--out {out}"])
