"""`fathom predict`: everything a network predicts for an image, a folder of images and videos, or a video.

OUT/ids/<path>.png         segmentation: the class of every pixel, at the size of the (upright) image, by the ids of the
                           dataset's own label files: copied there, it is a label of the same classes
OUT/overlays/<path>.jpg    the class colours over the image
OUT/classes.json           what the ids mean
OUT/disparity/<path>.png   depth: disparity 0..1 as 16-bit grey (value / 65535, 1 = nearest)
OUT/views/<path>.jpg       the same in colours, near = bright
OUT/depth.json             how disparity becomes depth, and in what unit (metres or relative)
OUT/points/<path>.ply      with --pointcloud: a point for every pixel of an image, with colour and class
OUT/normals/<path>.png     normals: unit vectors as 16-bit RGB, round(65535 (n + 1) / 2)
OUT/normal-views/<path>.jpg   the same as a picture
OUT/normals.json           what the colours mean
of a video:  OUT/ids/<path>/<frame>.png  and  OUT/overlays/<path>.mp4, and so on; with several tasks also
OUT/together/<path>.mp4    their pictures side by side
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from fathomseg.errors import FathomError
from fathomseg.inference.card import as_weights
from fathomseg.inference.onnx import is_onnx
from fathomseg.inference.point_cloud import Lens, refuse_unfit
from fathomseg.inference.predict_folder import Work, find_jobs, passed_over
from fathomseg.inference.predict_parts import BATCH, do_by
from fathomseg.inference.predicted import Maker, Record
from fathomseg.inference.predictor import Predictor, load
from fathomseg.inference.settings import trained_inference
from fathomseg.inference.temporal import TemporalSmoother
from fathomseg.io.files import refuse_unwritable
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import progress, say
from fathomseg.parallel import open_team
from fathomseg.stages.overrides import parted


def run(
    run: str,
    source: str,
    out: str,
    *,
    tasks: str | None = None,
    weights: str = "ema",
    mode: str | None = None,
    flip: bool = False,
    links: str | None = None,
    overlay: bool = True,
    overwrite: bool = False,
    device: str | None = None,
    batch: int | None = None,
    pointcloud: bool = False,
    camera: str | None = None,
    smooth: float = 0.0,
    engine: str = "local",
    workers: int = 1,
    overrides: Sequence[str] = (),
) -> int:
    """Predict everything in `source` into the folder `out`; returns 1 if some files could not be used, else 0.

    `tasks`: names separated by commas; None = all the network has, from one pass. `mode` applies to the tasks that can
    be predicted window by window; `flip` averages with the mirrored picture's; `links` is on or off; `overrides` are of
    evaluation.inference. `pointcloud`
    writes images as points in space too, by `camera` (a camera.yaml, or degrees of the horizontal field of view).
    `smooth`, 0 to below 1, is how much the depth of videos keeps from one frame to the next. What is already there is
    kept unless `overwrite`, or made anew if its image has changed since. A file that cannot be read stops nothing: it
    is listed at the end. Raises `FathomError` if `out` holds results of another network or other settings, or files by
    the names of results that it has not written.
    """
    if batch is not None and batch < 1:
        raise FathomError(f"--batch is {batch}; give the number of images that are predicted at once, at least 1.")
    if is_onnx(Path(run)) and weights != "ema":
        raise FathomError(f"The weights in {run} were chosen when it was exported; leave out --weights.")
    refuse_unwritable(Path(out))
    inference = trained_inference(Path(run), mode, flip, parted("predict", overrides, data=False)[0], links)
    wanted = None if tasks is None else [name.strip() for name in tasks.split(",")]
    predictor = load(run, as_weights(weights), device, inference, wanted)
    names = ", ".join(predictor.tasks)
    if mode is not None and not any(task.windowed for task in predictor.tasks.values()):
        raise FathomError(f"What is predicted here ({names}) always sees the whole image; leave out --mode.")
    lens = _lens(pointcloud, camera, Path(run), predictor)
    if smooth and "depth" not in predictor.tasks:
        raise FathomError(f"Depth alone is smoothed over time, but here is predicted: {names}. Leave out --smooth.")
    TemporalSmoother(smooth)  # an error of the strength comes before anything is written
    jobs, problems = find_jobs(Path(source), Path(out), predictor.tasks, overlay, lens)
    if lens is not None and all(job.is_video for job in jobs):
        raise FathomError(f"--pointcloud is for images, but {source} holds none; leave it out, or give single frames.")
    maker = Maker.of(Path(run), as_weights(weights), predictor, smooth)
    began = time.perf_counter()
    with alone_in(Path(out), f"fathom predict {run}"), open_team(engine, workers) as team:
        todo = Record(Path(out)).begin(jobs, predictor.tasks, maker, overwrite)
        for task in predictor.tasks.values():
            task.describe(Path(out), predictor.card.known_classes, run)
        at_once = batch or BATCH.get(predictor.device.type, 1)
        with progress(f"predicting {names}", sum(job.steps for job in todo)) as tick:
            if team is None:
                work = Work(predictor, at_once, overwrite, tick, smooth)
                work.do(todo)
                predicted, bad = work.predicted, work.problems
            else:
                how = (Path(run), as_weights(weights), device, inference, wanted, batch, overwrite, smooth)
                predicted, bad = do_by(team, todo, at_once, how, tick)
    problems += bad
    rate = predicted / max(time.perf_counter() - began, 1e-9)
    there = f"; {len(jobs) - len(todo)} were there already" if len(jobs) > len(todo) else ""
    what = "frames" if all(job.is_video for job in todo) else "images"
    speed = f" ({predicted} {what}, {rate:.1f} {what}/s)" if predicted else ""
    lines = [f"{names} of {len(todo)} files written into {out}{there}{speed}."]
    if problems:
        lines = [f"{len(todo)} files tried, results in {out}{speed}.", f"{len(problems)} could not be used:"]
        lines += [f"  {problem}" for problem in problems]
    if others := passed_over(Path(source), Path(out)):
        lines.append(f"Not read, since the endings are not known: {others}.")
    say("\n".join(lines))
    conclude(f"{names} of {len(jobs)} files in {out}" + (f", {len(problems)} could not be used" if problems else ""))
    return 1 if problems else 0


def _lens(wanted: bool, camera: str | None, run: Path, predictor: Predictor) -> Lens | None:
    """The camera of point clouds; None if none are wanted. Raises `FathomError`."""
    if not wanted:
        if camera is not None:
            raise FathomError("--camera is for --pointcloud alone; leave it out, or give both.")
        return None
    refuse_unfit(predictor.card, set(predictor.tasks), str(run))
    return Lens.of(camera, run)
