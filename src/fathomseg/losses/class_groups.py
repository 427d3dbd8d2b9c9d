"""Classes by what they do, by name: the sky is infinitely far, some move, some are ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from fathomseg.data.class_match import by_plain_name, find, plain
from fathomseg.errors import FathomError
from fathomseg.types import IGNORE, ClassList

SKY: Final = ("sky",)
MOVING: Final = (
    "person", "pedestrian", "child", "human", "rider", "bicyclist", "cyclist", "animal", "living things", "car", "van",
    "truck", "bus", "train", "caravan", "trailer", "motorcycle", "motorcyclist", "bicycle", "vehicle", "vehicles",
    "road user",
)  # fmt: skip
GROUND: Final = (
    "road", "sidewalk", "terrain", "parking", "pavement", "ground", "drivable", "non drivable", "roadmarking", "flat"
)  # fmt: skip


def indices(wanted: Sequence[str] | None, usual: Sequence[str], classes: ClassList, setting: str) -> tuple[int, ...]:
    """The indices of the classes of these names, or of those of the `usual` ones that the list has.

    Case, hyphens and underscores do not count. Raises `FathomError` for a name that is not in the list, and if there is
    none at all; `setting` is what to change.
    """
    if wanted is not None:
        found = tuple(find(name, classes.names, f"{setting} has") for name in wanted)
    else:
        found = among(usual, classes.names)
    if not found:
        raise FathomError(
            f"None of the classes {', '.join(classes.names)} is one of {', '.join(usual)}: name yours in {setting}."
        )
    return found


def among(wanted: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    """The indices in `names` of those that are `wanted`, in the order they are wanted; case, hyphens and underscores do
    not count."""
    own = by_plain_name(names)
    return tuple(own[plain(name)] for name in wanted if plain(name) in own)


def members(label: UInt8[Tensor, "*b h w"], classes: Sequence[int]) -> Bool[Tensor, "*b h w"]:
    """Where the label is one of these classes."""
    found = torch.zeros_like(label, dtype=torch.bool)
    for index in classes:
        found |= label == index
    return found


def known_classes(
    targets: Mapping[str, Tensor],
    min_confidence: float,
    others: Sequence[tuple[UInt8[Tensor, "b h w"], Float[Tensor, "b h w"]]] = (),
) -> tuple[UInt8[Tensor, "b h w"], Float[Tensor, "b h w"]] | None:
    """The class of every pixel by its label, else a teacher's, else `others`, 255 where none is so sure; and how sure
    it is, 1 for labels. None if there is no source of classes."""
    given = (targets.get("label"), None), (targets.get("distilled_label"), targets.get("distilled_label_confidence"))
    found = None
    for label, sure in (*given, *others):
        if label is None:
            continue
        sure = torch.ones_like(label, dtype=torch.float32) if sure is None else sure
        label = torch.where(sure >= min_confidence, label, IGNORE)
        if found is not None:
            known = found[0] != IGNORE
            label, sure = (torch.where(known, *pair) for pair in zip(found, (label, sure), strict=True))
        found = label, sure
    return found
