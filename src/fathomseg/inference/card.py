"""The model a user takes away: `model.json` says what the network is, a safetensors file holds its weights.

A run folder has two weight files beside the one card: `model.safetensors` (averaged weights, the better ones) and
`last.safetensors` (the raw weights after the last step). Where depth is learned from video, `pose.safetensors` is the
network that predicts how the camera moved, and `camera-NAME.yaml` a camera whose focal length was learned. A scene
model is `scene.safetensors`; a run that learned nothing else has no other weights. None of these formats can carry
code.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from fathomseg.config import Part, validate
from fathomseg.config.bounds import Byte
from fathomseg.data.datasets.description import Bits, CameraEntry
from fathomseg.data.datasets.labels import LabelKind
from fathomseg.engine.checkpoint import FILE as CHECKPOINT
from fathomseg.errors import FathomError
from fathomseg.inference.depth_scale import DepthScale
from fathomseg.inference.onnx import card_tree, is_onnx
from fathomseg.io.depth_maps import DepthUnit
from fathomseg.io.files import CONFIG, read_json, write_text
from fathomseg.metrics.depth import Alignment
from fathomseg.models.network import Network
from fathomseg.models.pose import AnyPose, PoseNetwork
from fathomseg.models.saved import CARD, load_into
from fathomseg.models.scene.saved import SceneCard
from fathomseg.tasks.base import Task
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import ClassList
from fathomseg.version import __version__

Weights = Literal["ema", "last"]
WEIGHTS: Final[dict[Weights, str]] = {"ema": "model.safetensors", "last": "last.safetensors"}
"""The weight file of each kind of weights."""

POSE: Final = "pose.safetensors"


class ModelCard(Part):
    """What must be known beside the weights to use a network."""

    format: Literal[1] = 1
    """Version of this file's layout."""
    network: NetworkConfig
    """Encoder, tasks, links and normalisation."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their indices; none if the network does not segment."""
    colours: tuple[tuple[Byte, Byte, Byte], ...] = ()
    """The colour (RGB) each class is drawn in."""
    shared_classes: tuple[str, ...] = ()
    """Those of `classes` that every dataset has whose labels it learned from, if some of these lack a class: scores
    have their mean IoU, too."""
    class_weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """What its supervised loss weighed each class by, if they differ: its probabilities are proportional to weight *
    P(class | image)."""
    ids: tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...] = ()
    """What label files store for each class, by which predictions are written; none = the indices."""
    labels: LabelKind = "ids"
    """Whether the label files it was trained on store ids or colours."""
    size: tuple[PositiveInt, PositiveInt]
    """(height, width) in pixels of the images the network was trained on. Images of other proportions keep theirs, at
    as many pixels."""
    bits: Bits | None = None
    """Bits of the images in files of 16 bits that it was trained on, as they were stated; null = found file by file."""
    depth_unit: DepthUnit | None = None
    """What its depth is measured in; null if it gives none."""
    depth_scale: DepthScale | None = None
    """How long a unit of its training was, where depth was learned from video and its scale is known."""
    depth_alignment: Alignment | None = None
    """How its depth has to be aligned with a truth before the two compare; null if it gives none. scale_shift: it was
    learned up to a scale and a shift of 1 / depth, and says no more."""
    pose: AnyPose | None = None
    """The network that predicts camera motion, if its weights lie beside."""
    pose_size: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) of the frames it was trained on, whose motions it measures in parts of that size; null = `size`.
    """
    cameras: Mapping[str, CameraEntry] = Field(default_factory=dict)
    """By name the cameras whose focal length was learned, in pixels of the images as they are stored."""
    scene: SceneCard | None = None
    """The model that tells whether a depth map and a segmentation show the same scene, if its weights lie beside."""
    fathomseg: str = __version__
    """The version that wrote this file."""

    @model_validator(mode="after")
    def _names_classes(self) -> Self:
        if "segmentation" in self.network.tasks:
            self.class_list  # noqa: B018  its own check has the words
        if self.class_weights and len(self.class_weights) != len(self.classes):
            raise ValueError(f"{len(self.class_weights)} class_weights of {len(self.classes)} classes")
        return self

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks it predicts, in the order of its branches."""
        return self.network.predicted

    @property
    def class_list(self) -> ClassList:
        """Names and colours as datasets give them. Raises `FathomError` if the network does not segment."""
        return ClassList(self.classes, self.colours, self.ids, by_colour=self.labels == "colours")

    @property
    def known_classes(self) -> ClassList | None:
        """The same; None if the network does not segment."""
        return self.class_list if self.classes else None

    def build(self) -> Network:
        """The network with weights that mean nothing yet."""
        return self.network.build(classes=len(self.classes), pretrained=False)

    def in_metres(self, scale: DepthScale) -> ModelCard:
        """The card of the same network, its depth in metres: 1 / depth is linear in disparity between the ends of the
        range of depths, so that to multiply these is to multiply the depth. How it is aligned with a truth first stays
        as it is, so that runs of which one has a scale compare."""
        depth, factor = self.network.tasks["depth"], scale.metres_per_unit
        assert depth.depth_range is not None
        near, far = depth.depth_range
        known = {"min_depth": near * factor, "max_depth": far * factor, "unit": "metres"}
        tasks = {**self.network.tasks, "depth": depth.model_copy(update=known)}
        network = self.network.model_copy(update={"tasks": tasks})
        return self.model_copy(update={"network": network, "depth_unit": "metres", "depth_scale": scale})


def as_weights(name: str) -> Weights:
    """The kind of weights of this name. Raises `FathomError` if there is none."""
    for kind in WEIGHTS:
        if kind == name:
            return kind
    raise FathomError(f"There are no weights {name!r}; choose from {', '.join(WEIGHTS)}.")


def save_card(folder: Path, card: ModelCard) -> None:
    """Write `model.json` in one stroke."""
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")


_REMEDY: Final = (
    "Give a folder written by `fathom train` or `fathom pretrain`, after its last step, or a file of `fathom export`."
)


def stopped(folder: Path) -> str | None:
    """That a run was stopped before it had a model, and what to do; None for any other folder."""
    is_run = (folder / CONFIG).is_file() and not (folder / CARD).is_file()  # else a folder of runs, perhaps
    if not is_run or not any(True for at in ("", "*/") for _ in folder.glob(f"{at}{CHECKPOINT}")):
        return None
    return f"{folder} stopped before its last step; resume it: fathom train --resume {shlex.quote(str(folder))}"


def no_run(folder: Path, remedy: str = _REMEDY) -> str:
    """That a folder is no run with a model, in the words of every verb: it was stopped, is not there, or is another
    one; and, unless it can be resumed, the remedy."""
    if (why := stopped(folder)) is not None:
        return why
    return f"There is no run {folder}. {remedy}" if not folder.exists() else f"{folder} holds no model. {remedy}"


def load_card(folder: Path) -> ModelCard:
    """Read `model.json`, or what an exported file says of itself.

    Raises `FathomError` if the folder holds no model, or one this version cannot read.
    """
    if is_onnx(folder):
        return validate(ModelCard, card_tree(folder), str(folder))
    if folder.is_file():
        raise FathomError(f"{folder} is a file; give the run folder it lies in, or a file of `fathom export` (.onnx).")
    path = folder / CARD
    if not path.is_file():
        raise FathomError(no_run(folder))
    tree = read_json(path, "a model", _REMEDY)
    return validate(ModelCard, tree, str(path))


def load_model(folder: Path, file: str = WEIGHTS["ema"]) -> tuple[ModelCard, Network]:
    """The card and the network with its weights, on the CPU in eval mode.

    Raises `FathomError` if a file is missing, is no safetensors file, or holds the weights of a different network.
    """
    card = load_card(folder)
    if not card.tasks:
        raise FathomError(
            f"{folder} predicts nothing from images: it holds a scene model (objectives.scene_consistency.run)."
        )
    network = card.build()
    load_into(network, folder / file)
    return card, network.eval()


def load_pose(folder: Path) -> PoseNetwork:
    """The network of a run that predicts how the camera moved, on the CPU in eval mode. Raises as `load_model`."""
    card = load_card(folder)
    if card.pose is None:
        raise FathomError(f"{folder} has no network for camera motion. Give a run with the objective `photometric`.")
    network = card.pose.build(pretrained=False)
    load_into(network, folder / POSE)
    return network.eval()
