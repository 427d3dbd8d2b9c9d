"""`fathom predict`: everything a network predicts for an image, a folder of images and videos, or a video.

OUT/ids/<path>.png         segmentation: the class of every pixel, at the size of the (upright) image, by the ids of the
                           dataset's own label files: copied there, it is a label of the same classes
OUT/overlays/<path>.jpg    the class colours over the image
OUT/classes.json           what the ids mean
OUT/disparity/<path>.png   depth: disparity 0..1 as 16-bit grey (value / 65535, 1 = nearest)
OUT/views/<path>.jpg       the photograph, the same in colours (near = red), and the scale of their depths
OUT/depth.json             how disparity becomes depth, and in what unit (metres or relative)
OUT/points/<path>.ply      with --pointcloud: a point for every pixel of an image but the sky, with colour and class
OUT/normals/<path>.png     normals: unit vectors as 16-bit RGB, round(65535 (n + 1) / 2)
OUT/normal-views/<path>.jpg   the same as a picture
OUT/normals.json           what the colours mean
OUT/coco.json              with --format coco: the classes of all images as COCO's regions
OUT/yolo/                  with --format yolo: labels/<path>.txt with polygons, and data.yaml
of a video:  OUT/ids/<path>/<frame>.png  and  OUT/overlays/<path>.mp4, and so on; with several tasks also
OUT/together/<path>.mp4    their pictures side by side
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fathomseg.errors import FathomError, Problem
from fathomseg.inference.camera import goals_of, pictures, predict_camera
from fathomseg.inference.card import as_weights
from fathomseg.inference.label_formats import IDS, parse_formats, places, write_formats
from fathomseg.inference.onnx import is_onnx
from fathomseg.inference.point_cloud import ImageCamera, refuse_unfit
from fathomseg.inference.predict_folder import Job, Work, find_jobs
from fathomseg.inference.predict_parts import do_by
from fathomseg.inference.predicted import Maker, Record
from fathomseg.inference.predictor import Predictor, load
from fathomseg.inference.settings import trained_inference
from fathomseg.inference.sources import find_files
from fathomseg.inference.temporal import TemporalSmoother
from fathomseg.io.files import refuse_unwritable
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import progress, say
from fathomseg.parallel import open_team
from fathomseg.stages.overrides import parted


@dataclass(frozen=True, slots=True)
class Predicted:
    """What came of predicting files into a folder."""

    folder: Path
    files: int
    """Images and videos whose predictions are there, made now or before; 0 of a camera."""
    pictures: int
    """Images and frames predicted now."""
    problems: tuple[Problem, ...] = ()
    """Files and frames that could not be used, each with the reason."""

    def __repr__(self) -> str:
        """How many, and where."""
        bad = f", {len(self.problems)} could not be used" if self.problems else ""
        return f"Predicted({self.files} files, {self.pictures} pictures now{bad}; {self.folder})"


def predicted(
    run: str,
    source: str,
    out: str,
    *,
    tasks: str | Collection[str] | None = None,
    weights: str = "ema",
    mode: str | None = None,
    flip: bool = False,
    links: bool | str | None = None,
    overlay: bool = True,
    overwrite: bool = False,
    device: str | None = None,
    batch: int | None = None,
    pointcloud: bool = False,
    camera: str | Path | float | None = None,
    max_depth: float | None = None,
    smooth: float = 0.0,
    bits: int | None = None,
    engine: str = "local",
    workers: int = 1,
    format: str | Collection[str] = IDS,
    frames: int | None = None,
    overrides: Sequence[str] = (),
) -> Predicted:
    """Predict everything in `source` into the folder `out`.

    `source`: an image, a video, a folder of them, a pattern such as "drive/*.png", or the number of a camera, which is
    watched until Ctrl-C or for so many `frames`. `format`: names of `FORMATS`.

    `tasks`: names in a list or separated by commas; None = all the network has, from one pass. `mode` applies to the
    tasks that can be predicted window by window; `flip` averages with the mirrored picture's; `links` is on or off (or
    True, False); `overrides` are of evaluation.inference. `pointcloud` writes images as points in space too, by
    `camera` (a camera.yaml, or degrees of the horizontal field of view), those up to `max_depth` in the unit of the
    depth and not of the sky. `smooth`, 0 to below 1, is how much the depth of videos keeps from one frame to the next.
    `bits`, 8 to 16, is what images use of files of 16 bits; None = as in the data the run was trained on. What is
    already there is kept unless `overwrite`, or made anew if its image has changed since. A file that cannot be read
    stops nothing: it is listed at the end. Raises `FathomError` if `out` holds results of another network or other
    settings, or files by the names of results that it has not written.
    """
    if batch is not None and batch < 1:
        raise FathomError(f"--batch is {batch}; give the number of images that are predicted at once, at least 1.")
    if is_onnx(Path(run)) and weights != "ema":
        raise FathomError(f"The weights in {run} were chosen when it was exported; leave out --weights.")
    if bits is not None and not 8 <= bits <= 16:
        raise FathomError(f"--bits is {bits}; give the bits that images use of files of 16 bits, 8 to 16.")
    refuse_unwritable(Path(out))
    inference = trained_inference(Path(run), mode, flip, parted("predict", overrides, data=False)[0], links)
    predictor = load(run, as_weights(weights), device, inference, tasks).with_bits(bits)
    if (warning := inference.misfit(predictor.card.size)) is not None:
        say(warning)
    names = ", ".join(predictor.tasks)
    if mode is not None and not any(task.windowed for task in predictor.tasks.values()):
        raise FathomError(f"What is predicted here ({names}) always sees the whole image; leave out --mode.")
    image_camera = _image_camera(pointcloud, None if camera is None else str(camera), max_depth, Path(run), predictor)
    if smooth and "depth" not in predictor.tasks:
        raise FathomError(f"Depth alone is smoothed over time, but here is predicted: {names}. Leave out --smooth.")
    TemporalSmoother(smooth)  # an error of the strength comes before anything is written
    formats = parse_formats(format if isinstance(format, str) else ",".join(format), list(predictor.tasks))
    maker = Maker.of(Path(run), as_weights(weights), predictor, smooth)
    if source.isdecimal() and not Path(source).exists():
        if image_camera is not None or formats or workers > 1:
            raise FathomError("--pointcloud, --format and --workers are not for cameras; leave them out.")
        return _watch(int(source), predictor, maker, Path(out), run, overlay, frames, smooth)
    if frames is not None:
        raise FathomError(f"--frames is for cameras, but {source} is none; leave it out.")
    found = find_files(source, Path(out))
    jobs, problems = find_jobs(found, Path(out), predictor.tasks, overlay, image_camera, max_depth)
    if image_camera is not None and all(job.is_video for job in jobs):
        raise FathomError(f"--pointcloud is for images, but {source} holds none; leave it out, or give single frames.")
    if smooth and jobs and not any(job.is_video for job in jobs):
        raise FathomError(
            f"--smooth is for videos, but {source} holds none; leave it out, or give the frames as a video."
        )
    began = time.perf_counter()
    with alone_in(Path(out), f"fathom predict {run}"), open_team(engine, workers) as team:
        beside = places(Path(out), formats, jobs)
        todo = Record(Path(out)).begin(jobs, predictor.tasks, maker, overwrite, beside)
        for task in predictor.tasks.values():
            task.describe(Path(out), predictor.card.known_classes, run)
        at_once = batch or predictor.batch
        with progress(f"predicting {names}", sum(job.steps for job in todo)) as tick:
            if team is None:
                work = Work(predictor, at_once, overwrite, tick, smooth)
                work.do(todo)
                count, bad = work.predicted, work.problems
            else:
                how = (Path(run), as_weights(weights), device, inference, tasks, batch, overwrite, smooth, bits)
                count, bad = do_by(team, todo, at_once, how, tick)
        if formats:
            write_formats(Path(out), formats, jobs, predictor.classes, run)
    problems += bad
    rate = count / max(time.perf_counter() - began, 1e-9)
    there = f"; {len(jobs) - len(todo)} were there already" if len(jobs) > len(todo) else ""
    what = "frames" if all(job.is_video for job in todo) else "images"
    fast = f"{rate:.1f} {what}/s"
    speed = f" ({count} {what}, {fast})" if count else ""
    lines = [f"{names} of {_files(todo)} written into {out}{there}{speed}."]
    if problems:
        lines = [f"{_files(todo)} tried, results in {out}{speed}.", f"{len(problems)} could not be used:"]
        lines += [f"  {problem}" for problem in problems]
    if found.left_out:
        lines.append(f"Not predicted, as no photographs of the dataset: {', '.join(found.left_out)}.")
    if found.others:
        lines.append(f"Not read, since the endings are not known: {found.others}.")
    say("\n".join(lines))
    ends = [*([fast] if count else []), *([f"{len(problems)} could not be used"] if problems else [])]
    conclude(", ".join([f"{names} of {_files(jobs)} in {out}", *ends]))
    broken = {problem.where for problem in problems}
    files = sum(str(job.source) not in broken for job in jobs)
    return Predicted(Path(out), files, count, tuple(problems))


def _files(jobs: Sequence[Job]) -> str:
    return f"{len(jobs)} file{'s' if len(jobs) != 1 else ''}"


def _watch(
    number: int,
    predictor: Predictor,
    maker: Maker,
    out: Path,
    run: str,
    overlay: bool,
    frames: int | None,
    smooth: float,
) -> Predicted:
    """Predict what a camera sees."""
    if frames is not None and frames < 1:
        raise FathomError(f"--frames is {frames}; give the number of pictures to take, at least 1.")
    now = datetime.now().astimezone()
    with alone_in(out, f"fathom predict {run}"), pictures(number) as seen:
        goals = goals_of(number, out, predictor.tasks, overlay, now)
        record = Record(out)
        record.begin([], predictor.tasks, maker, overwrite=False)
        made = [path for goal in goals for path in (goal.values, goal.view) if path is not None]
        record.add(maker, dict.fromkeys(made, f"camera {number}|{now.isoformat()}"))
        for task in predictor.tasks.values():
            task.describe(out, predictor.card.known_classes, run)
        say(f"Predicting camera {number}; " + ("Ctrl-C ends it." if frames is None else f"{frames} frames."))
        count, seconds = predict_camera(predictor, seen, goals, frames, smooth)
    names = ", ".join(predictor.tasks)
    fast = f"{count / max(seconds, 1e-9):.1f} frames/s"
    say(f"{names} of {count} frames written into {out} ({fast}).")
    conclude(f"{names} of {count} frames in {out}, {fast}")
    return Predicted(out, 0, count)


def _image_camera(
    wanted: bool, camera: str | None, max_depth: float | None, run: Path, predictor: Predictor
) -> ImageCamera | None:
    """The camera of point clouds; None if none are wanted. Raises `FathomError`."""
    if not wanted:
        for option, given in (("--camera", camera), ("--max-depth", max_depth)):
            if given is not None:
                raise FathomError(f"{option} is for --pointcloud alone; leave it out, or give both.")
        return None
    if max_depth is not None and not max_depth > 0:
        raise FathomError(f"--max-depth is {max_depth:g}; give the farthest depth that becomes a point, above 0.")
    refuse_unfit(predictor.card, set(predictor.tasks), str(run))
    return ImageCamera.of(camera, run)
