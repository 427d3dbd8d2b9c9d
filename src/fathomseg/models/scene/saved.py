"""The scene model of a run: `scene.safetensors`, and its entry in `model.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fathomseg.config import Part, validate
from fathomseg.config.bounds import Byte
from fathomseg.errors import FathomError
from fathomseg.io.files import read_json
from fathomseg.models.saved import CARD, load_into
from fathomseg.models.scene.model import SceneEncoder, SceneModel
from fathomseg.types import ClassList

SCENE: Final = "scene.safetensors"


class SceneCard(Part):
    """What must be known beside the weights to use a scene model."""

    encoder: SceneEncoder
    """Its towers and the length of its vectors."""
    classes: tuple[str, ...]
    """The classes whose colours it has seen, in the order of their indices."""
    colours: tuple[tuple[Byte, Byte, Byte], ...]
    """The colour (RGB) of each."""
    apart: int
    """Samples of one clip fewer frames apart than this show nearly the same, and were never negatives of each other."""


def load_scene(run: Path) -> tuple[SceneCard, SceneModel]:
    """The scene model of a run, on the CPU in eval mode.

    Raises `FathomError` if the run has none, or a file is missing or damaged.
    """
    tree = read_json(
        run / CARD, "a model", f"{run} holds no scene model: give a run with the objective `contrastive` at its end."
    )
    if (entry := tree.get("scene")) is None:
        raise FathomError(f"{run} has no scene model. Give a run that was trained with the objective `contrastive`.")
    card = validate(SceneCard, entry, f"scene of {run / CARD}")
    model = card.encoder.build(pretrained=False)
    load_into(model, run / SCENE)
    return card, model.eval()


def same_classes(run: Path, card: SceneCard, ours: ClassList) -> None:
    """Raises `FathomError` if the scene model of `run` has learned the colours of another class list."""
    if (card.classes, card.colours) == (ours.names, ours.colours):
        return
    theirs = ClassList(card.classes, card.colours)
    pairs = zip(theirs.names, ours.names, theirs.colours, ours.colours, strict=False)
    odd = next(
        (f"class {i} is {a} {x} there and {b} {y} here" for i, (a, b, x, y) in enumerate(pairs) if (a, x) != (b, y)),
        "the one list begins as the other",
    )
    raise FathomError(
        f"The scene model in {run} knows {len(theirs)} classes, which are not the {len(ours)} of this data: {odd}. "
        "Train one with the objective `contrastive` on data of the same class list and colours."
    )
