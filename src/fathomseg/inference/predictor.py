"""The inference wrapper: a trained network that predicts all its tasks for images of any size, at that size.

predictor = fathomseg.load("runs/camvid")                  # or "camvid.onnx", which `fathom export` wrote
prediction = predictor.predict(image)     # path, PIL image or uint8 array -> label, confidence, disparity, depth
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.inference.card import WEIGHTS, ModelCard, Weights, as_weights, load_card, load_model
from fathomseg.inference.device import pick_device
from fathomseg.inference.image_prediction import ImagePrediction
from fathomseg.inference.onnx import OnnxNetwork, is_onnx
from fathomseg.inference.settings import Inference, trained_inference
from fathomseg.inference.tiles import falling, strips
from fathomseg.io.images import Readable, as_rgb, resize_image
from fathomseg.models.network import linked
from fathomseg.models.norms import evaluating
from fathomseg.tasks.base import Task
from fathomseg.types import ClassList, Prediction, Size

BATCH: Final = {"cpu": 1, "cuda": 8}
"""`Predictor.batch` on each kind of device. A CPU is no faster with more."""


def load(
    run: Path | str,
    weights: Weights = "ema",
    device: torch.device | str | None = None,
    inference: Inference | None = None,
    tasks: str | Collection[str] | None = None,
) -> Predictor:
    """The trained network of a run folder, ready to predict `tasks` (all it has); on a GPU if there is one and `device`
    names none.

    `run` may be a file that `fathom export` wrote, whose `weights` were chosen then. `inference` is by default what the
    run was configured with. Raises `FathomError` if the folder holds no such model, or one without one of the tasks.
    """
    folder = Path(run)
    known = load_card(folder)
    chosen(known, tasks, str(folder))
    if is_onnx(folder):
        exported = OnnxNetwork(folder, known.tasks, device)
        inference = inference or trained_inference(folder)
        if not inference.links:
            raise FathomError(f"The links of {folder} are part of its graph; switch them off in the run it came from.")
        if inference.size is None:
            inference = inference.model_copy(update={"size": exported.fixed_size})
        return Predictor(exported, known, "cpu", inference, tasks)
    file = WEIGHTS[as_weights(weights)]
    place = pick_device(device)
    card, network = load_model(folder, file)
    network = network.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Predictor(network, card, place, inference or trained_inference(folder), tasks)


class Predictor:
    """A network in eval mode with everything around it: reading, resizing, windows, decoding. Changes nothing in the
    network.

    `network(images float 0..1, tasks)` must return a mapping with the output of each task of `card`.
    """

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        device: torch.device | str = "cpu",
        inference: Inference | None = None,
        tasks: str | Collection[str] | None = None,
    ) -> None:
        """`tasks`: those that are predicted; None = all. Raises `FathomError` for one the network does not have."""
        self.network, self.card, self.device = network, card, torch.device(device)
        self.tasks = chosen(card, tasks)
        self.inference = inference or Inference()
        if not self.inference.links and card.network.links.name == "none":
            raise FathomError("This network has no links to switch off; leave out --links off.")
        self.size: Size = self.inference.size or card.size

    def __repr__(self) -> str:
        """Tasks, classes, working size and device."""
        names = self.card.classes if "segmentation" in self.tasks else ()
        classes = f", {len(names)} classes: {', '.join(names)}" if names else ""
        height, width = self.size
        return f"Predictor({', '.join(self.tasks)}{classes}; at {height} x {width} (height x width) on {self._place})"

    @property
    def batch(self) -> int:
        """Pictures or tiles that go through the network at once, unless said."""
        return BATCH.get(self._place.type, 1)

    @property
    def _place(self) -> torch.device:
        """Where the network runs, which for an exported file is not where its outputs are."""
        return self.network.device if isinstance(self.network, OnnxNetwork) else self.device

    def with_bits(self, bits: int | None) -> Predictor:
        """The same for images that use so many bits of files of 16; None = as its card says."""
        if bits is None:
            return self
        card = self.card.model_copy(update={"bits": bits})
        return Predictor(self.network, card, self.device, self.inference, tuple(self.tasks))

    @property
    def precision(self) -> Literal["bf16", "fp32"]:
        """What the network computes in: bf16 on a GPU."""
        return "bf16" if self.device.type == "cuda" else "fp32"

    @property
    def classes(self) -> ClassList:
        """The classes of its labels. Raises `FathomError` if it does not segment."""
        if "segmentation" not in self.tasks:
            raise FathomError(f"This network knows no classes; it predicts {', '.join(self.tasks)}.")
        return self.card.class_list

    @overload
    def predict(self, image: Readable, *, batch: int = 8) -> ImagePrediction: ...
    @overload
    def predict(self, image: list[Readable] | tuple[Readable, ...], *, batch: int = 8) -> list[ImagePrediction]: ...
    @overload
    def predict(self, image: Iterator[Readable], *, batch: int = 8) -> Iterator[ImagePrediction]: ...
    def predict(
        self, image: Readable | list[Readable] | tuple[Readable, ...] | Iterator[Readable], *, batch: int = 8
    ) -> ImagePrediction | list[ImagePrediction] | Iterator[ImagePrediction]:
        """All tasks from one pass of the network, at the size of the image.

        An image is a path, a PIL image, or a uint8 array: RGB (height, width, 3) or grey (height, width). A list gives
        a list and an iterator an iterator of predictions, `batch` images at a time in one pass. Raises `FathomError`
        for anything else, or if the network gives NaN.
        """
        if isinstance(image, list | tuple):
            return list(self._in_batches(iter(image), batch))
        if isinstance(image, Iterator):
            return self._in_batches(image, batch)
        return next(self._in_batches(iter([image]), 1))

    def predict_batch(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size] | None = None
    ) -> list[Prediction]:
        """Predictions for RGB images of any sizes, at these sizes or at `sizes`; in one pass for each proportion.

        Raises `FathomError` if the network gives a number that is not finite.
        """
        results = []
        for fields in self.decoded(images, sizes):
            arrays = {name: tensor.cpu().numpy() for name, tensor in fields.items()}
            if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
                raise FathomError("The network gives NaN for this image: its weights are not finite. Train it again.")
            results.append(Prediction(**arrays, depth_unit=self.card.depth_unit if "depth" in arrays else None))
        return results

    def decoded(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size] | None = None
    ) -> list[dict[str, Tensor]]:
        """The fields of each image's `Prediction` as tensors on the device; does not wait for them."""
        sizes = [image.shape[:2] for image in images] if sizes is None else sizes
        found = self.by_task(images, [dict.fromkeys(self.tasks, size) for size in sizes])
        return [{name: x for fields in own.values() for name, x in fields.items()} for own in found]

    def by_task(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Mapping[str, Size]]
    ) -> list[dict[str, dict[str, Tensor]]]:
        """The same by task, of those tasks and at those sizes that `sizes` has for each image."""
        tiled = self._tiled
        maps = self._each(images, [name for name in self.tasks if name not in tiled])
        found: list[dict[str, dict[str, Tensor]]] = []
        for image, own, wanted in zip(images, maps, sizes, strict=True):
            found.append(
                {
                    name: self._in_tiles(name, image, size)
                    if name in tiled
                    else self.tasks[name].decode(own[name], size)
                    for name, size in wanted.items()
                }
            )
        return found

    def size_for(self, image: Size) -> Size:
        """The (height, width) at which an image of this size goes through the network (`Inference.size`)."""
        return self.inference.size_for(self.card.size, image)

    def each(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[dict[str, Float32[Tensor, "_ _ _"]]]:
        """The maps (see `maps`) of each of some RGB images of any sizes, in one pass for each working size."""
        self._refuse_tiles()
        return self._each(images, list(self.tasks))

    def maps(self, images: UInt8[Tensor, "b 3 h w"]) -> dict[str, Float32[Tensor, "b _ _ _"]]:
        """By task the map its predictions are made from (`Task.map`), of images at working size.

        At the network's own resolution and in one pass; mirrored and window by window, averaged as the task says, at
        working size. Raises `FathomError` in mode `tiles`, where there is no working size.
        """
        self._refuse_tiles()
        return self._maps(self.inputs(images), list(self.tasks))

    def inputs(self, images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 3 h w"]:
        """Images at working size as the network takes them: 0..1, on its device."""
        return images.to(self.device).float().div(255).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def views(self, inputs: Float[Tensor, "b 3 h w"], tasks: Collection[str]) -> list[dict[str, Tensor]]:
        """The maps at the network's own resolution; with `flip` also those of the mirrored images, mirrored back."""
        views = [self._run(inputs, tasks)]
        if self.inference.flip:
            views.append({name: self.tasks[name].mirrored(x) for name, x in self._run(inputs.flip(3), tasks).items()})
        return views

    def merged(self, views: Sequence[dict[str, Tensor]], size: Size) -> dict[str, Float32[Tensor, "b _ _ _"]]:
        """By task the map of several views of inputs of this size; a single view is left as it is."""
        if len(views) == 1:
            return views[0]
        return {name: self.tasks[name].averaged(mean) for name, mean in self._mean(views, size).items()}

    @property
    def _tiled(self) -> list[str]:
        """The tasks that are predicted tile by tile."""
        return [name for name, task in self.tasks.items() if self.inference.mode == "tiles" and task.windowed]

    def _refuse_tiles(self) -> None:
        if self._tiled:
            raise FathomError(
                "This run predicts in tiles at the scale of each image (evaluation.inference.mode: tiles), as `fathom "
                "predict` and `fathom evaluate` can. Set the mode to whole or slide in its config.yaml for this."
            )

    def _each(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], tasks: Sequence[str]
    ) -> list[dict[str, Float32[Tensor, "_ _ _"]]]:
        if not tasks:
            return [{} for _ in images]
        shapes = [self.size_for((image.shape[0], image.shape[1])) for image in images]
        found: dict[int, dict[str, Tensor]] = {}
        for shape in dict.fromkeys(shapes):
            rows = [row for row, own in enumerate(shapes) if own == shape]
            maps = self._maps(self.inputs(stacked([images[row] for row in rows], shape)), tasks)
            found |= {row: {name: x[place] for name, x in maps.items()} for place, row in enumerate(rows)}
        return [found[row] for row in range(len(images))]

    @torch.inference_mode()
    def _maps(self, inputs: Float[Tensor, "b 3 h w"], tasks: Sequence[str]) -> dict[str, Float32[Tensor, "b _ _ _"]]:
        slid = [name for name in tasks if self.inference.mode == "slide" and self.tasks[name].windowed]
        whole = [name for name in tasks if name not in slid]
        found = self.merged(self.views(inputs, whole), (inputs.shape[2], inputs.shape[3])) if whole else {}
        if slid:
            found |= self._slide(inputs, slid)
        return {name: found[name] for name in tasks}

    @torch.inference_mode()
    def _in_tiles(self, name: str, image: UInt8[np.ndarray, "_ _ 3"], size: Size) -> dict[str, Tensor]:
        """The fields of one task from tiles at the scale of the image, which is resized first if `size` differs."""
        image, task, fields = resize_image(image, size), self.tasks[name], dict[str, Tensor]()
        tile = self.inference.window.size or self.inference.size or self.card.size

        def seen(tiles: Float[Tensor, "b 3 h w"]) -> Tensor:
            return self._mean(self.views(tiles, [name]), (tiles.shape[2], tiles.shape[3]))[name]

        for rows, strip in strips(image, self.inference.window, tile, seen, self.device, self.batch):
            part = task.decode(task.averaged(strip[None])[0], (strip.shape[1], strip.shape[2]))
            for key, values in part.items():
                if key not in fields:
                    fields[key] = values.new_empty(*size, *values.shape[2:])
                fields[key][rows] = values
        return fields

    def _in_batches(self, images: Iterator[Readable], batch: int) -> Iterator[ImagePrediction]:
        if batch < 1:
            raise FathomError(f"batch must be at least 1, but is {batch}.")
        while chunk := [(image, as_rgb(image, self.card.bits)) for image in islice(images, batch)]:
            predictions = self.predict_batch([rgb for _, rgb in chunk])
            for (image, rgb), one in zip(chunk, predictions, strict=True):
                name = Path(image).stem if isinstance(image, str | Path) else "image"
                yield ImagePrediction.of(one, rgb, self.tasks, self.card.known_classes, name)

    def _run(self, inputs: Float[Tensor, "b 3 h w"], tasks: Collection[str]) -> dict[str, Tensor]:
        """The maps of one pass."""
        # In bfloat16 on a GPU, where that is safe.
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with half, evaluating(self.network), linked(self.network, self.inference.links):
            outputs = self.network(inputs, tasks)
        return {name: self.tasks[name].map(outputs[name]) for name in tasks}

    def _mean(self, views: Sequence[dict[str, Tensor]], size: Size) -> dict[str, Tensor]:
        """Their mean in the form in which it may be averaged further."""
        each = {name: [self.tasks[name].averaging(view[name], size) for view in views] for name in views[0]}
        return {name: sum(others, first) / len(views) for name, (first, *others) in each.items()}

    def _slide(self, inputs: Float[Tensor, "b 3 h w"], tasks: Collection[str]) -> dict[str, Tensor]:
        """Overlapping windows, averaged with weights that fall off towards a window's edges."""
        size = (inputs.shape[2], inputs.shape[3])
        totals: dict[str, Tensor] = {}
        weight = inputs.new_zeros(size)
        for top, left, height, width in self.inference.window.boxes(size):
            inside = (..., slice(top, top + height), slice(left, left + width))
            hat = falling(height, inputs.device)[:, None] * falling(width, inputs.device)
            for name, view in self._mean(self.views(inputs[inside], tasks), (height, width)).items():
                if name not in totals:
                    totals[name] = view.new_zeros(*view.shape[:2], *size)
                totals[name][inside] += hat * view
            weight[inside] += hat
        return {name: self.tasks[name].averaged(total / weight) for name, total in totals.items()}


def chosen(card: ModelCard, tasks: str | Collection[str] | None, where: str = "This network") -> dict[str, Task]:
    """Some tasks of a network (None = all), in its order. Raises `FathomError` for one that `where` does not have."""
    names = task_names(tasks)
    if unknown := sorted(set(names or ()) - card.tasks.keys()):
        raise FathomError(f"{where} has no task {unknown[0]!r}; it predicts {', '.join(card.tasks)}.")
    return {name: task for name, task in card.tasks.items() if names is None or name in names}


def task_names(given: str | Collection[str] | None) -> list[str] | None:
    """The names in "segmentation,depth", or in a collection; None stays None, which is all."""
    if given is None:
        return None
    return [name.strip() for name in (given.split(",") if isinstance(given, str) else given)]


def stacked(images: Sequence[UInt8[np.ndarray, "_ _ 3"]], size: Size) -> UInt8[Tensor, "b 3 h w"]:
    """RGB images of any sizes at one size, resampled as for training."""
    return torch.from_numpy(np.stack([resize_image(image, size) for image in images])).permute(0, 3, 1, 2)
