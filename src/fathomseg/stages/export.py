"""`fathom export`: a trained network as one ONNX file, checked against PyTorch before it appears."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from jaxtyping import UInt8
from rich.console import Console

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.errors import FathomError
from fathomseg.evaluation.scoring import FromNetwork, score, with_truth
from fathomseg.inference.card import WEIGHTS, as_weights, load_card, load_model
from fathomseg.inference.export import Precision, check, describe, narrowed, to_half, to_int8, to_onnx
from fathomseg.inference.onnx import ENDING, OnnxNetwork, is_onnx, package, read_metadata
from fathomseg.inference.predicted import model_files
from fathomseg.inference.predictor import Predictor, chosen
from fathomseg.inference.settings import trained_inference
from fathomseg.io.files import digest, refuse_unwritable, writing
from fathomseg.io.images import SUFFIXES, read_rgb, resize_image
from fathomseg.io.listing import ending, walk
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import doing, preparing, progress
from fathomseg.models.network import linked
from fathomseg.stages.overrides import parted
from fathomseg.training.run_folder import origin, own_data
from fathomseg.types import Size

CALIBRATION: Final = 64
"""Images that show the range of every feature map."""
_LIMIT: Final = 2**31 - 1
"""Bytes that a file of protobuf can hold."""


def exported(
    run: Path,
    out: Path,
    *,
    tasks: str | Collection[str] | None = None,
    weights: str = "ema",
    precision: str = "fp32",
    int8: bool = False,
    calibration: Path | str | None = None,
    fixed_size: bool = False,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Export some tasks (None = all) of a run into the file `out`, say what it is, and return it.

    `precision` is fp32, fp16 or int8; `int8` is another word for the last. Of fp16 and int8 the loss of accuracy on
    `split` is measured, said, and written into the file, if the data is there. `overrides` are of evaluation.inference,
    which the file will say, and of the data. Nothing appears under the name `out` unless the float32 network equals
    PyTorch's.
    """
    kind = _precision(precision, int8)
    if not is_onnx(out):
        raise FathomError(f"{out} must end in {ENDING}, by which other commands know an exported file.")
    if out.is_dir():
        raise FathomError(f"{out} is a folder; give the name of a file.")
    if out.exists():
        _ours(out)
    refuse_unwritable(out.parent, "file")
    if calibration is not None and kind != "int8":
        raise FathomError("--calibration is for --precision int8: other precisions need no images.")
    if limit is not None and limit < 1:
        raise FathomError(f"--limit is {limit}; give the number of images to measure on, at least 1.")
    if kind == "fp32" and (data is not None or split is not None or limit is not None):
        raise FathomError("--data, --split and --limit are for --precision fp16 and int8, whose loss is measured.")
    split = split or "val"
    card, network = load_model(run, WEIGHTS[as_weights(weights)])
    tasks_kept = chosen(card, tasks, str(run))
    of_inference, of_data = parted("export", overrides)
    inference = trained_inference(run, overrides=of_inference)
    if kind == "fp32" and of_data:
        raise FathomError(f"{of_data[0]}: settings of the data are for --precision fp16 and int8, which look at it.")
    if fixed_size and inference.mode != "whole":
        raise FathomError(
            f"A file of one size cannot be shown windows: the run's evaluation.inference.mode is {inference.mode}. Add "
            "evaluation.inference.mode=whole, or leave --fixed-size out."
        )
    card = narrowed(card, tasks_kept, inference.links)
    size = inference.size or card.size
    if fixed_size:
        inference = inference.model_copy(update={"size": size})  # images of other proportions are stretched to it
    images = (
        _calibration(run, calibration, data, of_data, partial(inference.size_for, card.size)) if kind == "int8" else ()
    )
    console = Console(stderr=True)
    # Links are on or off for good in the file, where there is nothing to switch.
    with linked(network, inference.links):
        inference = inference.model_copy(update={"links": True})
        with doing(f"exporting {', '.join(card.tasks)}"):
            model = to_onnx(network, card.tasks, size, fixed_size)
        sizes = [size, size] if fixed_size else [size, _other(size)]
        with doing("comparing with PyTorch"):
            wrong = check(model, network, card.tasks, sizes)
        if kind == "fp16":
            with doing("rounding to fp16"):
                model = to_half(model)
        elif kind == "int8":
            with preparing(True, "calibrating int8 on images") as waits:
                model = to_int8(model, images, waits)
        measured = None
        shapes = " and ".join("{} x {}".format(*s) for s in dict.fromkeys(sizes))
        lines = [f"checked against PyTorch at {shapes}: {wrong:.1g}"]
        if kind != "fp32":
            exact = Predictor(network, card, "cpu", inference)
            small = Predictor(OnnxNetwork(model.SerializeToString(), card.tasks, "cpu"), card, "cpu", inference)
            try:
                dataset = resolve_dataset(data or own_data(run), of_data)
                measured = _measured(exact, small, kind, dataset, split, limit)
                lines += _said(measured, kind)
            except FathomError as error:
                if data is not None:
                    raise
                lines.append(f"the loss of {kind} was not measured: {error}")
    files = model_files(run, as_weights(weights))
    made = {"run": str(run), "weights": weights, "digest": digest(files), **origin()}
    describe(model, card, network, inference, kind, made, measured)
    if model.ByteSize() > _LIMIT:
        raise FathomError(
            f"The network has {model.ByteSize() / 1e9:.1f} GB; an ONNX file holds 2. Try --precision fp16."
        )
    with writing(out) as temporary:
        package("onnx").save(model, temporary)
    head = f"{out}: {', '.join(card.tasks)} in {kind}, {out.stat().st_size / 1e6:.1f} MB"
    console.print("\n  ".join([head, *lines]), highlight=False, soft_wrap=True, markup=False)
    named = shlex.quote(str(out))
    conclude(f"{out}, {out.stat().st_size / 1e6:.1f} MB; try it: fathom predict {named} INPUT --out DIR")
    return out


def _precision(name: str, int8: bool) -> Precision:
    known = get_args(Precision)
    if int8 and name not in ("fp32", "int8"):
        raise FathomError(f"--int8 and --precision {name} exclude each other; give one of them.")
    if name not in known:
        raise FathomError(f"There is no precision {name!r}; choose from {', '.join(known)}.")
    return "int8" if int8 else next(kind for kind in known if kind == name)


def _ours(out: Path) -> None:
    """Raise `FathomError` unless a file was written by `fathom export`, and so may be replaced."""
    try:
        read_metadata(out)
    except FathomError as error:
        raise FathomError(f"{out} is there, and is no export that could be replaced: {error}") from None


def _other(size: Size) -> Size:
    """About three quarters of a size, odd both ways, and large enough for every encoder."""
    height, width = (max(67, 3 * side // 4) | 1 for side in size)
    return height, width


def _calibration(
    run: Path,
    folder: Path | str | None,
    data: str | None,
    overrides: Sequence[str],
    size_for: Callable[[Size], Size],
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Evenly chosen images of a folder, or of the train split of the run's data, each at its working size."""
    if folder is not None:
        files = sorted(path for name, path in walk(Path(folder)) if ending(name) in SUFFIXES)
        if not files:
            raise FathomError(
                f"{folder} holds no images to calibrate with. Known endings: {' '.join(sorted(SUFFIXES))}"
            )
        bits = load_card(run).bits
        return _resized(_even(files), lambda path: read_rgb(path, bits), size_for)
    try:
        dataset = resolve_dataset(data or own_data(run), overrides)
        split = next(name for name in ("train", "clips", *dataset.splits) if name in dataset.splits)
        ids = _even([id for id in dataset.ids(split) if id not in dataset.held_out()])
        if not ids:
            raise FathomError(f"Every image of {split} is held out.")
        return _resized(ids, dataset.image, size_for)
    except FathomError as error:
        raise FathomError(
            f"{error}\nint8 needs images: give the data (--data), or a folder of them (--calibration)."
        ) from None


def _resized(
    items: Sequence[Any], read: Callable[[Any], UInt8[np.ndarray, "_ _ 3"]], size_for: Callable[[Size], Size]
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    images = []
    with progress("reading images to calibrate int8 on", len(items)) as tick:
        for item in items:
            image = read(item)
            images.append(resize_image(image, size_for(image.shape[:2])))
            tick()
    return images


def _even(items: Sequence[Any]) -> list[Any]:
    """At most `CALIBRATION` of them, evenly spaced."""
    count = min(len(items), CALIBRATION)
    return [items[i * len(items) // count] for i in range(count)]


def _measured(
    exact: Predictor, small: Predictor, kind: Precision, dataset: Dataset, split: str, limit: int | None
) -> dict[str, Any]:
    """The first scores of every task, before and after."""
    ids, known = with_truth(dataset, exact.tasks, tuple(dataset.ids(split)), limit)
    if not known:
        raise FathomError(f"split {split!r} of {dataset.name} has no truth for {' or '.join(exact.tasks)}.")
    for misfit in filter(None, (task.misfit(exact.card.classes, dataset) for task in known.values())):
        raise FathomError(f"the run {misfit}")
    found: dict[str, Any] = {"dataset": dataset.name, "split": split, "images": len(ids)}
    for name, predictor in (("fp32", exact), (str(kind), small)):
        with progress(f"measuring {name}", len(ids)) as tick:
            scored = score(FromNetwork(predictor, dataset), dataset, ids, known, tick=tick)
        found[name] = {task: known[task].headline(one.result) for task, one in scored.items()}
    return found


def _said(measured: Mapping[str, Any], kind: Precision) -> list[str]:
    """The change of every score in words."""
    lines = []
    for task, before in measured["fp32"].items():
        pairs = [(name, value, measured[kind][task][name]) for name, value in before.items()]
        lines.append(f"{task}: " + ", ".join(f"{n} {a:.4f} -> {b:.4f} ({b - a:+.4f})" for n, a, b in pairs))
    lines[0] += f"   [{measured['dataset']} {measured['split']}, {measured['images']} images]"
    return lines
