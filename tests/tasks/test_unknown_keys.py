"""Mistakes in the decoder of a task: its hints are of that decoder, and another decoder may be named alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

import fathomseg.stages.api as api
from fathomseg.config import load
from fathomseg.config.annotations import annotation_of, names_of
from fathomseg.errors import ConfigError
from fathomseg.models.decoders.fpn import Fpn
from fathomseg.named_recipes import find
from fathomseg.tasks.network import NetworkConfig, task_names
from fathomseg.tasks.segmentation import Segmentation
from fathomseg.training.recipe import Recipe

DECODERS = names_of(annotation_of(Segmentation.model_fields["decoder"]))
KEYS = {key for part in DECODERS.values() for key in part.model_fields}


@pytest.mark.parametrize("task", task_names())
def test_an_unknown_key_never_suggests_itself(task: str) -> None:
    for name, part in DECODERS.items():
        foreign: dict[str, Any] = dict.fromkeys(KEYS - set(part.model_fields), 1)
        with pytest.raises(ConfigError) as error:
            load(NetworkConfig, {"tasks": {task: {"decoder": {"name": name, **foreign}}}})
        lines = {line.split(": ")[0].rsplit(".", 1)[1]: line for line in str(error.value).splitlines()[1:]}
        assert set(lines) == set(foreign)
        for key, line in lines.items():
            hints = re.findall(r"did you mean '(\w+)'|there is: ([\w, ]+)", line)
            own = {word for pair in hints for words in pair for word in words.split(", ") if word}
            assert own <= set(part.model_fields), line
            assert own, line
            assert f"tasks.{task}.decoder.{key}: unknown key" in line


def test_another_decoder_of_a_recipe_needs_only_its_name() -> None:
    recipe = load(
        Recipe, find("own-data/joint"), ["network.tasks.depth.decoder.name=fpn", "network.encoder.pretrained=none"]
    )
    assert recipe.network.tasks["depth"].decoder == Fpn()
    network = recipe.network.build(classes=2, pretrained=False)
    assert network.decoders["depth"].stride == 4


@pytest.mark.parametrize("mixing", [{"margin": 0.2, "name": "depthmix"}, {"name": "depthmix", "margin": 0.2}])
def test_settings_of_a_part_may_come_before_its_name(mixing: dict[str, Any]) -> None:
    """classmix.yaml names another rule: what is given of depthmix is not dropped with it."""
    given = api.overrides({"objectives": {"pseudo_labels": {"mixing": mixing}}})
    depth = ["streams.unlabelled.depth={name: run, run: runs/depth}"]
    rule = load(Recipe, find("camvid/classmix"), [*depth, *given]).objectives["pseudo_labels"].mixing  # type: ignore[union-attr]
    assert (rule.name, rule.margin) == ("depthmix", 0.2)  # type: ignore[union-attr]
