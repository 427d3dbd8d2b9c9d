"""`fathom predict`: segment an image, a folder of images and videos, or a video.

OUT/ids/<path>.png         class index of every pixel, 8-bit grey, at the size of the (upright) image
OUT/overlays/<path>.jpg    the class colours over the image
OUT/classes.json           what the indices mean
of a video:  OUT/ids/<path>/<frame>.png  and  OUT/overlays/<path>.mp4
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from fathomseg import draw
from fathomseg.data import images, video
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.film import VIDEOS, Film, frame_rate
from fathomseg.models.saved import WEIGHTS
from fathomseg.predictor import Predictor, load, trained_inference
from fathomseg.report.scores import write_text
from fathomseg.scoring import ahead


@dataclass(frozen=True, slots=True)
class Job:
    """One file to segment, and where the results go."""

    source: Path
    ids: Path
    """A PNG, or for a video a folder of one a frame."""
    overlay: Path | None

    @property
    def is_video(self) -> bool:
        """Whether the source is a video, by its name."""
        return self.source.suffix.lower() in VIDEOS

    @property
    def done(self) -> bool:
        """Every file appears only when complete, the overlay last; of a video without one, each frame is looked at."""
        return self.overlay.exists() and self.ids.exists() if self.overlay else self.ids.is_file()


def run(
    run: str,
    source: str,
    out: str,
    *,
    weights: str,
    mode: str | None,
    overlay: bool,
    overwrite: bool,
    device: str | None,
) -> int:
    """Segment everything in `source` into the folder `out`; returns 1 if some files could not be used, else 0.

    What is already there is kept unless `overwrite`. A file that cannot be read stops nothing: it is listed at the end.
    """
    kind = next((name for name in WEIGHTS if name == weights), None)
    if kind is None:
        raise FathomError(f"There are no weights {weights!r}; choose from {', '.join(WEIGHTS)}.")
    jobs, problems = find_jobs(Path(source), Path(out), overlay)
    predictor = load(run, kind, device, trained_inference(Path(run), mode))
    write_classes(Path(out), predictor)
    todo = [job for job in jobs if overwrite or not job.done]
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("segmenting", total=sum(_steps(job) for job in todo))
        problems += segment(todo, predictor, overwrite, lambda: bar.advance(task))
    _summary(console, out, len(jobs), len(todo), problems)
    return 1 if problems else 0


def find_jobs(source: Path, out: Path, overlay: bool) -> tuple[list[Job], list[Problem]]:
    """Every image and video in `source` (itself, or below it but not below `out`), and names that would collide."""
    if not source.exists():
        raise FathomError(f"There is no file or folder {source}. Give an image, a video or a folder of them.")
    known = images.SUFFIXES | VIDEOS
    found = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    files = [path for path in found if path.suffix.lower() in known and out.resolve() not in path.resolve().parents]
    if not files:
        what = f"has the ending {source.suffix!r}" if source.is_file() else "holds no image and no video"
        raise FathomError(f"{source} {what}. Known endings: {' '.join(sorted(known))}")
    root = source.parent if source.is_file() else source
    jobs: dict[Path, Job] = {}
    problems = []
    for file in files:
        path = file.relative_to(root).with_suffix("")
        if path in jobs:
            problems.append(Problem(str(file), f"has the same results as {jobs[path].source}; rename one of them"))
            continue
        ids, seen = out / "ids" / path, out / "overlays" / path
        if file.suffix.lower() in VIDEOS:
            jobs[path] = Job(file, ids, _with(seen, ".mp4") if overlay else None)
        else:
            jobs[path] = Job(file, _with(ids, ".png"), _with(seen, ".jpg") if overlay else None)
    return list(jobs.values()), problems


def segment(
    jobs: Sequence[Job], predictor: Predictor, overwrite: bool = False, tick: Callable[[], None] = lambda: None
) -> list[Problem]:
    """Do all jobs, images first; returns what could not be read. `tick` is called after each image and frame."""
    problems: list[Problem] = []
    for job, read in ahead(lambda job: images.read_rgb(job.source), [job for job in jobs if not job.is_video]):
        try:
            picture = read.result()
        except DataError as error:
            problems += error.problems
        else:
            label = predictor.predict(picture).label
            draw.write(job.ids, label)
            if job.overlay is not None:
                draw.write(job.overlay, draw.overlay(picture, label, predictor.classes))
        tick()
    for job in jobs:
        if job.is_video:
            problems += _segment_video(job, predictor, overwrite, tick)
    return problems


def _segment_video(job: Job, predictor: Predictor, overwrite: bool, tick: Callable[[], None]) -> Iterator[Problem]:
    """Segment a video frame by frame; damaged frames are left out."""
    try:
        frames, rate = video.video_index(job.source).frames, frame_rate(job.source)
    except DataError as error:
        yield from error.problems
        return
    with Film(job.overlay, rate) if job.overlay else nullcontext() as film:
        for frame in range(frames):
            ids = job.ids / f"{frame:06d}.png"
            if film is not None or overwrite or not ids.exists():
                try:
                    picture = video.read_frame(job.source, frame)
                except DataError as error:
                    yield from error.problems
                    continue
                label = predictor.predict(picture).label
                draw.write(ids, label)
                if film is not None:
                    film.add(draw.overlay(picture, label, predictor.classes))
            tick()


def write_classes(out: Path, predictor: Predictor) -> None:
    """Write classes.json: index, name and colour (RGB) of every class."""
    out.mkdir(parents=True, exist_ok=True)
    pairs = zip(predictor.classes.names, predictor.classes.colours, strict=True)
    classes = [{"index": i, "name": name, "colour": colour} for i, (name, colour) in enumerate(pairs)]
    write_text(out / "classes.json", json.dumps({"classes": classes}, indent=1, ensure_ascii=False) + "\n")


def _steps(job: Job) -> int:
    """Pictures in a job; 0 for a video that will be reported as broken."""
    try:
        return video.video_index(job.source).frames if job.is_video else 1
    except DataError:
        return 0


def _summary(console: Console, out: str, jobs: int, todo: int, problems: Sequence[Problem]) -> None:
    lines = [f"{todo} files segmented into {out}" + (f"; {jobs - todo} were there already." if jobs > todo else ".")]
    if problems:
        lines = [f"{todo} files tried, results in {out}.", f"{len(problems)} could not be used:"]
        lines += [f"  {problem}" for problem in problems]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def _with(path: Path, suffix: str) -> Path:
    """`path` with an ending added; with_suffix would cut the name "frame.0001"."""
    return path.with_name(path.name + suffix)
