"""A training whose images would have no others to be mixed with is refused before anything is prepared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fathomseg.errors import FathomError
from fathomseg.stages.train import train
from fathomseg.training.batches import refuse_unmixed
from tests.stages import tiny_semi
from tests.stages.tiny_semi import recipe, streams

OWN = {"streams": streams(unlabelled={"batch": 4})}


def semi(batch: int, accumulate: int = 1, mixing: str = "classmix", **sections: Any) -> dict[str, Any]:
    """Pseudo-labels with such batches."""
    loop = {**tiny_semi.LOOP, "batch": batch, "accumulate": accumulate}
    objectives = {"supervised": {}, "pseudo_labels": {"mixing": {"name": mixing}}}
    return tiny_semi.settings(train=loop, **{"objectives": objectives, **sections})


def processes(number: int) -> Any:
    return SimpleNamespace(num_processes=number, process_index=number - 1)


@pytest.mark.parametrize(
    ("tree", "number", "words"),
    [
        (semi(1), 1, r"train\.batch = 1 over 1 processes x 1 accumulation steps .* Give train\.batch=2 or more"),
        (semi(2, 2), 1, r"train\.batch=4 or more"),
        (semi(8, mixing="cutmix"), 8, r"8 processes .* train\.batch=16 or more"),
        (semi(16, 1, **OWN), 4, r"'unlabelled' .* streams\.unlabelled\.batch = 4 .* streams\.unlabelled\.batch=8"),
    ],
)
def test_one_image_cannot_be_mixed(tree: dict[str, Any], number: int, words: str) -> None:
    with pytest.raises(FathomError, match=words):
        refuse_unmixed(recipe(tree), processes(number))


@pytest.mark.parametrize(
    ("tree", "number"),
    [
        (semi(2), 1),
        (semi(4, 2), 1),
        (semi(16), 8),
        (semi(1, mixing="none"), 1),
        (semi(1, **OWN), 1),
        (tiny_semi.settings(objectives={"supervised": {}}, streams={"labelled": {}}, train={"batch": 1}), 1),
        (semi(2, objectives={"supervised": {}, "pseudo_labels": {"partner": "labelled"}}), 2),
    ],
)
def test_what_can_be_mixed_or_is_not_passes(tree: dict[str, Any], number: int) -> None:
    refuse_unmixed(recipe(tree), processes(number))


@pytest.mark.parametrize("phases", [{}, {"first": ["train.batch=2"], "last": ["train.accumulate=1"]}])
def test_nothing_is_prepared(phases: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="leaves one image without another"):
        train(recipe(semi(1, phases=phases)), tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()
