"""The networks that cases are given: made once, without training."""

from __future__ import annotations

from pathlib import Path

import onnx

from fathomseg.inference.export import describe
from fathomseg.inference.settings import Inference
from fathomseg.types import ClassList
from tests.corpus.inputs import CLASSES, COLOURS, SIZE
from tests.inference.tiny_onnx import CARD, known_model
from tests.stages.saved_run import save_depth_run, save_run


def make(folder: Path) -> Path:
    """seg, other: random networks of two seeds; depth: one of depth; known.onnx: finds the class of every pixel."""
    data: dict[str, object] = {"name": "folder", "root": "."}
    for name, seed in (("seg", 0), ("other", 5)):
        save_run(folder / name, ClassList(CLASSES, COLOURS), data, size=SIZE, seed=seed)
    save_depth_run(folder / "depth", data, size=SIZE, pose=False)
    card = CARD.model_copy(update={"size": SIZE, "classes": CLASSES, "colours": COLOURS})
    model = known_model()
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "AveragePool" else ():
            attribute.ints[:] = [1, 1]  # each pixel for itself
    describe(model, card, card.build(), Inference(), "fp32", {"run": "runs/known", "date": "2026-11-28"})
    onnx.save(model, folder / "known.onnx")
    return folder
