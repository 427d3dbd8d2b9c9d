"""Tiny teachers and the data they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fathomseg.data.datasets.folder import Folder
from fathomseg.inference.card import ModelCard
from fathomseg.models.compat import ensure_timm_imports
from fathomseg.models.decoders import Fpn
from fathomseg.models.encoders import Encoder
from fathomseg.stages.distill import distilled
from fathomseg.tasks import Depth, Normals, Segmentation
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Size
from tests import fakes
from tests.saved_model import save_model

SIZE = (24, 32)
CLASSES = ("road", "wall", "car", "tree")


def own_data(folder: Path, labelled: int | None = 2, images: int = 5, kind: str = "ids") -> Folder:
    """A dataset folder whose first images have a label."""
    return Folder(root=fakes.make_folder(folder, images=images, labels=kind, labelled=labelled, clips=0, size=SIZE))


def make_run(
    folder: Path,
    classes: Sequence[str] = CLASSES,
    output: str = "metric",
    seed: int = 0,
    tasks: Sequence[str] = ("segmentation", "depth", "normals"),
    size: Size = SIZE,
    class_weights: Sequence[float] = (),
) -> Path:
    """A run of a random network whose decoder all tasks share, with predictions that vary over an image."""
    known = {
        "segmentation": Segmentation(decoder=Fpn(channels=8)),
        "depth": Depth(decoder="shared", output=output, min_depth=1.0, max_depth=50.0, start=0.1),
        "normals": Normals(decoder="shared"),
    }
    config = NetworkConfig(
        encoder=Encoder(model="test_efficientnet", pretrained="none"), tasks={name: known[name] for name in tasks}
    )
    torch.manual_seed(seed)
    network = config.build(len(classes), pretrained=False)
    for name, weights in network.heads.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(weights, std=0.5)
    named = {"classes": tuple(classes), "colours": tuple((i, i, i) for i in range(len(classes)))}
    named |= {"class_weights": tuple(class_weights)}
    unit = "metres" if output == "metric" else "relative"
    save_model(folder, ModelCard(network=config, size=size, depth_unit=unit, **named), network.state_dict())
    return folder


def save_segformer(folder: Path, names: Sequence[str], crops: bool = False) -> Path:
    """A SegFormer of random weights for these classes, as Hugging Face stores it; `crops`: with the processor of
    MobileNetV2-DeepLab, which keeps the proportions of an image and shows the middle of it."""
    ensure_timm_imports()
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    torch.manual_seed(0)
    settings = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    network = transformers.SegformerForSemanticSegmentation(settings)
    for weights in network.parameters():
        if weights.ndim > 1:
            torch.nn.init.xavier_normal_(weights, gain=2.0)
    network.save_pretrained(folder)
    if crops:
        whole, middle = {"shortest_edge": 64}, {"height": 32, "width": 32}
        transformers.MobileNetV2ImageProcessor(size=whole, crop_size=middle).save_pretrained(folder)
    else:
        transformers.SegformerImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def distill(
    teacher: Path | str,
    data: Folder,
    out: Path,
    task: str = "segmentation",
    overrides: Sequence[str] = (),
    **how: object,
) -> int:
    """How many images could not be used."""
    options: Any = {"batch": 2, **how}
    return len(distilled(str(teacher), str(data.root), overrides, task=task, out=out, device="cpu", **options).problems)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, without the date of the provenance."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines = files["provenance.json"].splitlines()
    return files | {"provenance.json": b"\n".join(line for line in lines if b'"date"' not in line)}
