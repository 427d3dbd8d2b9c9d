"""From a network to an ONNX model: one file that needs neither PyTorch nor fathomseg.

Input `image`: RGB, uint8, batch x height x width x 3, as cameras and image readers give it; normalisation is inside.
One output for each task, named by it, float32 at the network's own resolution (`Task.map`): logits, disparity
or metres, unit vectors.
Enlarging them is left to the caller, since logits of a large image at its size are hundreds of megabytes that an argmax
or a display may never need.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.inference.card import ModelCard
from fathomseg.inference.onnx import CARD_KEYS, FORMAT, INPUT, OnnxNetwork, package
from fathomseg.inference.settings import Inference
from fathomseg.io.depth_maps import DepthUnit, DisparityScale
from fathomseg.io.progress import Tell, named
from fathomseg.models.encoders import FeatureEncoder
from fathomseg.models.links import NoLinks
from fathomseg.models.network import Network
from fathomseg.tasks.base import Task
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.normals import Normals
from fathomseg.types import Size
from fathomseg.version import __version__

Precision = Literal["fp32", "fp16", "int8"]
OPSET: Final = 18
"""Of 2022: ONNX Runtime 1.14, TensorRT 8.6, OpenVINO 2023 and all later ones read it."""
BETWEEN: Final = ("Add", "Clip", "Concat", "MaxPool", "Mul", "Relu", "Resize")
"""Operations of a convolutional network that pass 8-bit maps on."""
TOLERANCE: Final = 1e-4
"""Of an output against PyTorch's, in parts of its largest value (of 1, if that is larger)."""


def narrowed(card: ModelCard, tasks: Mapping[str, Task], links: bool = True) -> ModelCard:
    """The card of a network of which only these tasks are exported, perhaps without its links."""
    if tasks.keys() == card.network.tasks.keys():
        network = card.network if links else card.network.model_copy(update={"links": NoLinks()})
        return card.model_copy(update={"pose": None, "network": network})
    alone = {name: _with_decoder(task, card.network, tasks) for name, task in tasks.items()}
    network = card.network.model_copy(update={"tasks": alone, "links": NoLinks()})  # links join what is inside
    classes = (
        {} if "segmentation" in tasks else dict.fromkeys(("classes", "colours", "shared_classes", "class_weights"), ())
    )
    depth = {} if "depth" in tasks else {"depth_unit": None, "depth_scale": None, "depth_alignment": None}
    return card.model_copy(update={"network": network, "pose": None, **depth, **classes})


def _with_decoder(task: Task, network: NetworkConfig, kept: Collection[str]) -> Task:
    """The task with the decoder and encoder it reads, if those are of a task that is not kept."""
    branch = network.branch_of(task.name)
    if branch is None or branch in kept:
        return task
    return task.model_copy(update={key: getattr(network.branches[branch], key) for key in ("decoder", "encoder")})


def to_onnx(network: Network, tasks: Mapping[str, Task], size: Size, fixed: bool = False) -> Any:
    """The ONNX model of these tasks in float32, for any batch, height and width, or for those of `size` alone.

    Raises `FathomError` if PyTorch cannot export the network so.
    """
    package("onnxscript")  # which torch.onnx needs, and says so less clearly
    free = torch.export.Dim.DYNAMIC
    sides = torch.export.Dim.STATIC if fixed else free
    module = _Deployed(network, tasks).eval()
    # Sizes that are no special case of anything: not square, two images, and not the same at any two strides.
    example = torch.zeros((2, *size, 3), dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations between PyTorch's own modules
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(tasks),
                dynamic_shapes={INPUT: {0: free, 1: sides, 2: sides}},
                verbose=False,
            )
    except Exception as error:  # of many types: what the export of a network meets is up to the encoder
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "Choose another encoder or decoder." if fixed else "Try --fixed-size."
        raise FathomError(f"PyTorch cannot export this network: {reason}. {remedy}") from error
    model = cast(Any, program).model_proto
    _tidy(model, fixed)
    return model


def check(model: Any, network: Network, tasks: Mapping[str, Task], sizes: Sequence[Size]) -> float:
    """The largest difference from PyTorch on noise at these sizes. Raises `FathomError` if it is above `TOLERANCE`."""
    exported, module = OnnxNetwork(model.SerializeToString(), tasks, "cpu"), _Deployed(network, tasks).eval()
    largest = 0.0
    for batch, size in enumerate(sizes, start=1):
        generator = torch.Generator().manual_seed(batch)
        image = torch.randint(256, (batch, *size, 3), dtype=torch.uint8, generator=generator)
        found = exported(image.permute(0, 3, 1, 2).float().div(255), list(tasks))
        with torch.no_grad():
            expected = dict(zip(tasks, module(image), strict=True))
        for name, task in tasks.items():
            theirs, ours = task.map(found[name]), expected[name]
            wrong = float((theirs - ours).abs().max() / ours.abs().max().clamp(min=1))
            largest = max(largest, wrong)
            if not wrong <= TOLERANCE:  # which NaN fails as well
                raise FathomError(
                    f"The exported network is not PyTorch's: {name} differs by {wrong:.2g} of its range at "
                    f"{size[0]} x {size[1]} (at most {TOLERANCE:g} is accepted). Nothing was written. Try --fixed-size."
                )
    return largest


def to_half(model: Any) -> Any:
    """The model computing in float16, with outputs and the heads in float32: a disparity has no digit to lose."""
    module = package("onnxruntime.transformers.float16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each weight below the smallest float16
        return module.convert_float_to_float16(model, keep_io_types=True, node_block_list=_head_nodes(model))


def to_int8(model: Any, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], tell: Tell | None = None) -> Any:
    """The model with convolutions in 8 bits (a scale for each channel of their weights). Heads for numbers, depth and
    normals, stay in float32; of logits only the order counts.

    So is what lies between convolutions, which maps would leave and enter 8 bits for otherwise: with the convolutions
    alone the real-time network is slower than in float32, so it takes half the time. Transformers add up what small
    differences count in, and keep all but the convolutions in float32.

    The range of every map is that seen on `images`, each at its working size, averaged over them. `tell` is called as
    they go through the network, and for what comes after.
    """
    quantization, onnx = package("onnxruntime.quantization"), package("onnx")
    calibrated = tell or (lambda done, total: None)
    calibrated(0, len(images))
    quantised = named(tell, "quantising") or calibrated
    reader = _reader(quantization.CalibrationDataReader, images, calibrated, quantised)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given, shaped, written = (Path(folder) / name for name in ("given.onnx", "shaped.onnx", "int8.onnx"))
        onnx.save(model, given)
        transformer = any(node.op_type in ("MatMul", "LayerNormalization", "Softmax") for node in model.graph.node)
        quantization.quant_pre_process(given, shaped, skip_symbolic_shape=True)
        quantization.quantize_static(
            shaped,
            written,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_head_nodes(onnx.load(shaped), but="segmentation"),
            op_types_to_quantize=["Conv"] if transformer else ["Conv", *BETWEEN],
            extra_options={"CalibMovingAverage": True},
        )
        quantised(1, 1)
        return onnx.load(written)


def describe(
    model: Any,
    card: ModelCard,
    network: Network,
    inference: Inference,
    precision: Precision,
    origin: Mapping[str, Any],
    measured: Mapping[str, Any] | None = None,
) -> None:
    """Put into the model what must be known to use it; every value but `fathomseg` is JSON."""
    tree = card.model_dump(mode="json")
    encoders = {name: cast(FeatureEncoder, encoder) for name, encoder in network.encoders.items()}
    known: dict[str, Any] = {
        "format": FORMAT,
        **{key: tree[key] for key in CARD_KEYS},
        "tasks": list(card.tasks),
        "input": {INPUT: "RGB, uint8, batch x height x width x 3"},
        "normalisation": {
            "inside": True,
            **{name: {"mean": _list(e.mean), "std": _list(e.std)} for name, e in encoders.items()},
        },
        "precision": precision,
        "inference": inference.model_dump(mode="json"),
        "origin": origin,
    }
    for task in card.tasks.values():
        if (limits := task.depth_range) is not None:
            known["depth"] = _meaning_of_depth(task, limits, card.depth_unit or "relative")
        elif isinstance(task, Normals):
            known["normals"] = "unit vectors in the camera's frame (x right, y down, z forward), towards the camera"
    if measured is not None:
        known["measured"] = measured
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in known.items()}
    package("onnx").helper.set_model_props(model, {**texts, "fathomseg": __version__})


def _meaning_of_depth(task: Task, limits: tuple[float, float], unit: DepthUnit) -> dict[str, Any]:
    if isinstance(task, Depth) and task.output == "metric":
        return {"nearest": limits[0], "farthest": limits[1], "unit": unit, "depth": "the output, within these limits"}
    scale = DisparityScale(nearest=limits[0], farthest=limits[1], unit=unit, disparity="0 = farthest, 1 = nearest")
    return scale.model_dump(mode="json", exclude={"run"})


class _Deployed(nn.Module):
    """The network with the input and outputs of the file."""

    def __init__(self, network: Network, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.network, self.tasks = network, dict(tasks)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """No shapes are stated, since sizes are symbols while it is exported."""
        outputs = self.network(image.permute(0, 3, 1, 2).float() / 255, tuple(self.tasks))
        return tuple(task.map(outputs[name]) for name, task in self.tasks.items())


def _tidy(model: Any, fixed: bool) -> None:
    """Drop the exporter's notes (code and paths of this machine), and give free sizes names that can be read."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    dims = graph.input[0].type.tensor_type.shape.dim
    for axis, name in enumerate(("batch", "height", "width")[: 1 if fixed else 3]):
        dims[axis].dim_param = name
    for output in graph.output:
        sides = () if fixed else ((2, f"{output.name}_height"), (3, f"{output.name}_width"))
        for axis, name in ((0, "batch"), *sides):
            output.type.tensor_type.shape.dim[axis].dim_param = name


def _head_nodes(model: Any, but: str = "") -> list[str]:
    """The names of the nodes that make the outputs (`but` one) from a decoder's map: back to the first with weights of
    a head."""
    makers = {output: node for node in model.graph.node for output in node.output}
    found: list[str] = []
    waiting = [output.name for output in model.graph.output if output.name != but]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in found:
            continue
        found.append(node.name)
        if not any("heads." in name for name in node.input):
            waiting += [name for name in node.input if name in makers]
    return found


def _reader(base: Any, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], calibrated: Tell, quantised: Tell) -> Any:
    """Calibration images one by one, as ONNX Runtime asks for them: for the next when it is done with one."""

    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.given = 0

        def get_next(self) -> dict[str, Any] | None:
            calibrated(self.given, len(images))
            if self.given == len(images):
                quantised(0, 1)
                return None
            self.given += 1
            return {INPUT: images[self.given - 1][None]}

    return Reader()


def _list(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.flatten().tolist()]
