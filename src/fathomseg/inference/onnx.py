"""Exported networks: .onnx files that `fathom export` wrote, run by ONNX Runtime in the place of a `Network`.

The file says everything about itself in its metadata, so that no run folder is needed beside it; docs/deploy.md lists
the keys. What a file holds is data: nothing in it is executed but the operators of ONNX Runtime.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.inference.device import known_device
from fathomseg.tasks.base import Task
from fathomseg.types import Size

ENDING: Final = ".onnx"
INPUT: Final = "image"
"""The name of the input: RGB, uint8, batch x height x width x 3."""
CARD_KEYS: Final = (
    "network",
    "classes",
    "colours",
    "shared_classes",
    "class_weights",
    "ids",
    "labels",
    "size",
    "bits",
    "depth_unit",
    "depth_scale",
    "depth_alignment",
)
"""What of a `ModelCard` is in the metadata."""
_GPU, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
FORMAT: Final = 1
"""Version of the metadata's layout."""


def is_onnx(path: Path) -> bool:
    """Whether a path means an exported file and not a run folder, by its name."""
    return path.suffix.lower() == ENDING


def package(name: str) -> Any:
    """A package of the extra `onnx`. Raises `FathomError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FathomError(
            f"ONNX files need the package {error.name}, which is not installed: pip install 'fathomseg[onnx]'."
        ) from None


def read_metadata(path: Path) -> dict[str, Any]:
    """What the file says about itself, by key.

    Raises `FathomError` if `fathom export` did not write it, if it is damaged, or if it takes weights from files
    outside its own folder.
    """
    onnx = package("onnx")
    if not path.is_file():
        raise FathomError(f"There is no file {path}. Give a file written by `fathom export`, or a run folder.")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError and others that onnx does not promise
        raise FathomError(f"{path} is damaged or no ONNX file ({error}). Export it again.") from None
    _refuse_foreign_data(path, model, onnx.TensorProto)
    texts = {prop.key: prop.value for prop in model.metadata_props}
    if texts.get("format") != str(FORMAT) or "fathomseg" not in texts:
        raise FathomError(
            f"{path} was not written by `fathom export` of a format this version reads ({FORMAT}): it lacks the "
            "metadata that say what its outputs mean. Export the run again: fathom export RUN model.onnx."
        )
    try:
        return {key: value if key == "fathomseg" else json.loads(value) for key, value in texts.items()}
    except ValueError as error:
        raise FathomError(f"{path} has damaged metadata ({error}). Export it again.") from None


def card_tree(path: Path) -> dict[str, Any]:
    """The `ModelCard` of the file as plain values, not validated yet. Raises as `read_metadata`."""
    known = read_metadata(path)
    return {key: known[key] for key in (*CARD_KEYS, "fathomseg") if key in known}


class OnnxNetwork(nn.Module):
    """Called like the `Network` it was exported from, on the CPU or a GPU. It has no parameters of PyTorch.

    `network(images 0..1, tasks)` gives tensors on the CPU. Images must come from 8 bits, as those of a `Predictor`.
    """

    def __init__(
        self, model: Path | bytes, tasks: Mapping[str, Task], device: torch.device | str | None = None
    ) -> None:
        """`tasks`: those it predicts. `device` None: a GPU if this build of ONNX Runtime can use one.

        Raises `FathomError` if it cannot be loaded, or its inputs and outputs are not as `fathom export` makes them.
        """
        super().__init__()
        runtime = package("onnxruntime")
        self.name, self.known = "The exported network" if isinstance(model, bytes) else str(model), dict(tasks)
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised; it is not printed as well
        options.intra_op_num_threads = torch.get_num_threads()
        providers = _providers(runtime, device)
        try:
            self.session = runtime.InferenceSession(
                model if isinstance(model, bytes) else str(model), options, providers=providers
            )
        except Exception as error:  # of many types, all of the compiled module
            raise FathomError(f"{self.name} cannot be loaded: {_first_line(error)} Export it again.") from None
        inputs = {one.name: (one.type, one.shape[3:]) for one in self.session.get_inputs()}
        outputs = {one.name for one in self.session.get_outputs()}
        if inputs != {INPUT: ("tensor(uint8)", [3])} or not tasks.keys() <= outputs:
            raise FathomError(
                f"{self.name} has inputs {', '.join(inputs)} and outputs {', '.join(sorted(outputs))}; expected one "
                f"input {INPUT}, uint8 of batch x height x width x 3, and outputs {', '.join(tasks)}. Export it again."
            )

    @property
    def device(self) -> torch.device:
        """Where it runs; its outputs are on the CPU all the same."""
        return torch.device("cuda" if self.session.get_providers()[0] == _GPU else "cpu")

    @property
    def fixed_size(self) -> Size | None:
        """The only (height, width) that the file takes; None = any."""
        height, width = self.session.get_inputs()[0].shape[1:3]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def forward(self, images: Float[Tensor, "b 3 h w"], outputs: Collection[str] | None = None) -> dict[str, Any]:
        """The outputs of these tasks (None = all). Raises `FathomError` for a size the file cannot take."""
        wanted = list(self.known) if outputs is None else [name for name in self.known if name in outputs]
        pixels = images.permute(0, 2, 3, 1).mul(255).round().byte().contiguous().cpu().numpy()
        how = package("onnxruntime").RunOptions()
        how.only_execute_path_to_fetches = True
        try:
            found = self.session.run(wanted, {INPUT: pixels}, how)
        except Exception as error:  # as above
            height, width = pixels.shape[1:3]
            raise FathomError(
                f"{self.name} cannot take images of {height} x {width} (height x width): {_first_line(error)} "
                f"It takes {self._sizes()}."
            ) from None
        return {name: self.known[name].as_output(torch.from_numpy(x)) for name, x in zip(wanted, found, strict=True)}

    def _sizes(self) -> str:
        if (size := self.fixed_size) is not None:
            return f"{size[0]} x {size[1]} alone"
        return "any size of a few cells of its coarsest map; 64 x 64 and more is always enough"


def _providers(runtime: Any, device: torch.device | str | None) -> list[str | tuple[str, dict[str, int]]]:
    wanted = None if device is None else known_device(device)
    kind = None if wanted is None else wanted.type
    if kind not in (None, "cpu", "cuda"):
        raise FathomError(f"Exported networks run on cpu or cuda, not on {device}.")
    has_gpu = _GPU in runtime.get_available_providers()
    if kind == "cuda" and not has_gpu:
        raise FathomError(
            f"Device {device} was asked for, but this build of ONNX Runtime has no CUDA: pip install onnxruntime-gpu "
            "in the place of onnxruntime, or give cpu."
        )
    number = 0 if wanted is None else wanted.index or 0
    return [(_GPU, {"device_id": number}), _CPU] if has_gpu and kind != "cpu" else [_CPU]


def _refuse_foreign_data(path: Path, model: Any, kind: Any) -> None:
    """Weights may lie in other files, by paths that anyone can write: ../../etc, or a link that leads there."""
    folder = path.resolve().parent
    for tensor in _tensors(model, kind):
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise FathomError(
                    f"{path} wants to read {entry.value!r}, outside its own folder, as weights. It is refused: a file "
                    "of `fathom export` holds all of its weights."
                )


def _tensors(message: Any, kind: Any) -> Iterator[Any]:
    """All tensors of a model, those of subgraphs and functions too."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                yield from [one] if isinstance(one, kind) else _tensors(one, kind)


def _first_line(error: Exception) -> str:
    """The message of ONNX Runtime without the chain of places it went through."""
    return str(error).strip().splitlines()[0].removesuffix(".") + "." if str(error).strip() else type(error).__name__
