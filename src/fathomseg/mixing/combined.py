"""Rules made of rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Bool
from pydantic import Field, model_validator
from torch import Tensor

from fathomseg.mixing.base import Mixing, NoMix
from fathomseg.mixing.classmix import ClassMix
from fathomseg.mixing.cutmix import CutMix
from fathomseg.mixing.depthmix import DepthMix
from fathomseg.mixing.draws import Use, generator, on_device, subkeys
from fathomseg.mixing.pixels import Pixels

Simple = Annotated[NoMix | CutMix | ClassMix | DepthMix, Field(discriminator="name")]


class AllOf(Mixing):
    """Keep a pixel where every rule keeps it: DepthMix and ClassMix paste the near parts of half of the classes."""

    name: Literal["all-of"] = "all-of"
    rules: Annotated[tuple[Simple, ...], Field(min_length=1)] = (DepthMix(), ClassMix())
    """The rules, each with random numbers of its own."""

    @property
    def needs_disparity(self) -> bool:
        """Whether one of the rules does."""
        return any(rule.needs_disparity for rule in self.rules)

    def fills(self, keys: Sequence[int]) -> list[bool]:
        """If one of the rules does."""
        return [
            any(each) for each in zip(*(rule.fills(subkeys(keys, i)) for i, rule in enumerate(self.rules)), strict=True)
        ]

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """The intersection of the masks."""
        return _masks(self.rules, this, other, keys).all(dim=0)


class OneOf(Mixing):
    """One rule for each image, chosen at random."""

    name: Literal["one-of"] = "one-of"
    rules: Annotated[
        tuple[Annotated[NoMix | CutMix | ClassMix | DepthMix | AllOf, Field(discriminator="name")], ...],
        Field(min_length=1),
    ] = (DepthMix(), ClassMix())
    """The rules to choose from."""
    weights: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """How often each rule is chosen, relative to the others; empty = all alike."""

    @model_validator(mode="after")
    def _a_weight_each(self) -> OneOf:
        if self.weights and (len(self.weights) != len(self.rules) or sum(self.weights) == 0):
            raise ValueError(
                f"weights must hold one number a rule and not only zeros, but is {list(self.weights)}"
                f" for {len(self.rules)} rules"
            )
        return self

    @property
    def needs_disparity(self) -> bool:
        """Whether one of the rules does."""
        return any(rule.needs_disparity for rule in self.rules)

    def choices(self, keys: Sequence[int]) -> list[int]:
        """The index of the rule of each image."""
        weights = np.array(self.weights or [1.0] * len(self.rules))
        share = weights / weights.sum()
        return [int(generator(key, Use.RULE).choice(len(share), p=share)) for key in keys]

    def fills(self, keys: Sequence[int]) -> list[bool]:
        """If the chosen rule does."""
        each = [rule.fills(subkeys(keys, i)) for i, rule in enumerate(self.rules)]
        return [each[choice][image] for image, choice in enumerate(self.choices(keys))]

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """The mask of the chosen rule. All masks are made for all images: they cost less than taking images apart."""
        masks = _masks(self.rules, this, other, keys)
        choice = on_device(self.choices(keys), this.valid).long()
        return masks[choice, torch.arange(len(keys), device=masks.device)]


def _masks(rules: Sequence[Mixing], this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "r b h w"]:
    """The mask of every rule. Each gets keys of its own, so that two rules of one kind differ."""
    return torch.stack([rule.mask(this, other, subkeys(keys, i)) for i, rule in enumerate(rules)])
