"""An ONNX file as `fathom export` writes it, but of a network that is known: built by hand, without exporting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fathomseg.inference.card import ModelCard
from fathomseg.inference.export import describe
from fathomseg.inference.settings import Inference
from tests.stages.saved_run import network_of

CELL = 4
BOTH = ("segmentation", "depth")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
CARD = ModelCard(network=network_of(BOTH), classes=("red", "green", "blue"), colours=COLOURS, size=(24, 32))


def known_model(kind: int = TensorProto.UINT8, sides: tuple[Any, Any] = ("height", "width")) -> Any:
    """Logits are ten times the colours, disparity is red, averaged over cells of 4 x 4 pixels."""
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        make("Div", ["float", "255"], ["unit"]),
        make("Transpose", ["unit"], ["channels"], perm=[0, 3, 1, 2]),
        make("AveragePool", ["channels"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        make("Mul", ["cells", "ten"], ["segmentation"]),
        make("Gather", ["cells", "first"], ["depth"], axis=1),
    ]
    constants = {"255": np.float32(255), "ten": np.float32(10), "first": np.array([0])}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "known",
        [info("image", kind, ["batch", *sides, 3])],
        [
            info(name, TensorProto.FLOAT, ["batch", count, "rows", "columns"])
            for name, count in (("segmentation", 3), ("depth", 1))
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def save_known(
    path: Path, run: str = "runs/known", change: Callable[[Any], object] = lambda model: None, **options: Any
) -> Path:
    """Write it with the metadata of a run; `change` is applied last."""
    model = known_model(**options)
    network = CARD.build()
    describe(model, CARD, network, Inference(), "fp32", {"run": run, "date": "2026-11-28"})
    change(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
