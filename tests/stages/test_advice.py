"""What is advised when memory runs out: only settings that are accepted, for every stream with a batch of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fathomseg.config import load, validate
from fathomseg.engine.guard import Interrupted
from fathomseg.engine.loop import Loop
from fathomseg.errors import FathomError
from fathomseg.models.ema import reached_at
from fathomseg.training.advice import averaging_advice, memory_advice, resume_advice
from fathomseg.training.recipe import Recipe
from tests.stages import tiny_semi


def recipe(batch: int = 4, accumulate: int = 1, mixing: str = "depthmix", **own: int) -> dict[str, Any]:
    """A joint run with these batches, of images of 64 x 96 whose crop is not given."""
    streams = {name: {} if name not in own else {"batch": own[name]} for name in ("labelled", "unlabelled", "clips")}
    loop = {"batch": batch, "accumulate": accumulate}
    tree = tiny_semi.joint(size=[64, 96], streams=streams, train=loop)
    tree["objectives"]["pseudo_labels"]["mixing"] = {"name": mixing}
    return tree


def advised(tree: dict[str, Any], processes: int = 1) -> dict[str, str]:
    """The settings that are advised, each of which the recipe takes."""
    with pytest.raises(FathomError) as error, memory_advice(validate(Recipe, tree), processes):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")
    assert str(error.value).endswith("The device said: CUDA out of memory.")
    found = dict(re.findall(r"^  ([\w.]+)=(\S+)", str(error.value), flags=re.M))
    load(Recipe, tree, [f"{setting}={value}" for setting, value in found.items()])
    return found


def test_every_setting_with_its_value() -> None:
    expected = {
        "train.accumulate": "2",
        "train.precision": "bf16",
        "train.batch": "2",
        "streams.labelled.geometry.crop": "[48,72]",
    }
    assert advised(recipe()) == expected
    assert advised(recipe(unlabelled=14)) == {**expected, "streams.unlabelled.batch": "7"}


def test_a_crop_is_made_smaller() -> None:
    tree = recipe()
    tree["streams"]["labelled"] = {"geometry": {"crop": [32, 64]}}
    assert advised(tree)["streams.labelled.geometry.crop"] == "[24,48]"


@pytest.mark.parametrize(
    ("batch", "accumulate", "own", "more"),
    [
        (6, 1, {}, "2"),
        (6, 2, {}, "3"),
        (6, 3, {}, "6"),
        (9, 1, {"clips": 6}, "3"),
        (4, 4, {}, None),
        (4, 1, {"clips": 3}, None),
    ],
)
def test_batches_are_cut_only_into_parts_that_all_can_be_cut_into(
    batch: int, accumulate: int, own: dict[str, int], more: str | None
) -> None:
    assert advised(recipe(batch, accumulate, "none", **own)).get("train.accumulate") == more


@pytest.mark.parametrize(
    ("tree", "processes", "parts", "half"),
    [
        (recipe(2), 1, None, {}),
        (recipe(2, mixing="none"), 1, "2", {"train": "1"}),
        (recipe(4), 1, "2", {"train": "2"}),
        (recipe(8), 2, "2", {"train": "4"}),
        (recipe(4), 2, None, {}),
        (recipe(6, 3), 1, None, {}),
        (recipe(2, unlabelled=4), 1, "2", {"train": "1", "streams.unlabelled": "2"}),
        (recipe(4, unlabelled=2), 1, None, {"train": "2"}),
        (recipe(6, 2, mixing="none"), 1, "3", {}),
    ],
)
def test_no_advice_leaves_an_image_without_one_to_be_mixed_with(
    tree: dict[str, Any], processes: int, parts: str | None, half: dict[str, str]
) -> None:
    found = advised(tree, processes)
    assert found.get("train.accumulate") == parts
    assert {name.removesuffix(".batch"): size for name, size in found.items() if name.endswith(".batch")} == half


def test_nothing_is_advised_that_cannot_be_halved() -> None:
    assert "train.batch" not in advised(recipe(batch=1))


def test_other_errors_pass() -> None:
    settings = validate(Recipe, recipe())
    with pytest.raises(RuntimeError, match="shapes"), memory_advice(settings):
        raise RuntimeError("shapes do not fit")
    with pytest.raises(FathomError, match="Out of memory"), memory_advice(settings):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


def test_one_value_for_batchnorm_is_told_in_settings() -> None:
    fault = r"a batch of .*network\.norm=frozen or network\.norm=group"
    with pytest.raises(FathomError, match=fault), memory_advice(validate(Recipe, recipe())):
        torch.nn.functional.batch_norm(torch.zeros(1, 4, 1, 1), None, None, training=True)


@pytest.mark.parametrize(("decay", "reached"), [(0.9, 81), (0.99, 891), (0.996, 2241), (0.999, 8991), (0.0, 0)])
def test_a_decay_that_a_training_is_too_short_for_is_told(decay: float, reached: int) -> None:
    """Against the first step in which s / (s + 9) is as large."""
    assert next(s for s in range(10_000) if s / (s + 9) >= decay - 1e-12) == reached == reached_at(decay)
    assert averaging_advice(Loop(steps=reached + 1, ema_decay=decay)) is None
    if reached:
        advice = averaging_advice(Loop(steps=reached, ema_decay=decay))
        assert advice is not None
        assert f"is not reached in {reached} steps: it takes {reached + 1}" in advice
    assert "grows to 0.978 " in str(averaging_advice(Loop(steps=400, ema_decay=0.99)))


def test_a_command_that_resumes_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Interrupted), resume_advice("train", Path("my runs/a")):
        raise Interrupted("stopped")
    assert "fathom train --resume 'my runs/a'" in capsys.readouterr().err
