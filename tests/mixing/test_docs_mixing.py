"""The recipe shown in docs/mixing.md is valid, and every rule and augmentation is on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from fathomseg.augment import AnyAugmentation
from fathomseg.config import Part, load
from fathomseg.mixing import AnyMixing, CutMix, OneOf

PAGE = (Path(__file__).parents[2] / "docs" / "mixing.md").read_text(encoding="utf-8")


def test_the_recipe_of_the_page_is_valid() -> None:
    class Recipe(Part):
        mixing: AnyMixing

    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    mixing = load(Recipe, yaml.safe_load(block)).mixing
    assert isinstance(mixing, OneOf)
    assert isinstance(mixing.rules[1], CutMix)
    assert mixing.rules[1].area == (0.2, 0.5)


def test_every_part_is_on_the_page() -> None:
    parts = (*get_args(get_args(AnyMixing)[0]), *get_args(get_args(AnyAugmentation)[0]))
    assert len(parts) == 10
    assert [part.model_fields["name"].default for part in parts if f"|`{part().name}`|" not in PAGE] == []
