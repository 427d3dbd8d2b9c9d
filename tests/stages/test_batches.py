"""Several processes: uneven batches are refused first, and the others wait for the one that prepares."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fathomseg.config import validate
from fathomseg.engine.loop import Loop, accelerator
from fathomseg.errors import FathomError
from fathomseg.stages import train as stage
from fathomseg.training import phases as phases_stage
from fathomseg.training.batches import refuse_uneven
from fathomseg.training.recipe import Recipe
from tests.stages import tiny

FOUR = SimpleNamespace(num_processes=4, process_index=1, is_main_process=False)
BOTH: dict[str, Any] = {
    "streams": {"labelled": {}, "unlabelled": {"batch": 6}},
    "objectives": {"supervised": {}, "pseudo_labels": {}},
}


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"train": {"batch": 2}}, r"train\.batch = 2 cannot be shared out over 4 processes .* multiple of 4"),
        (BOTH, r"streams\.unlabelled\.batch = 6 cannot be shared out over 4 processes"),
        ({"phases": {"first": ["train.batch=8"], "last": ["train.batch=6"]}}, r"train\.batch = 6 cannot be shared out"),
    ],
)
def test_a_batch_that_four_processes_cannot_share_is_told_before_anything_is_prepared(
    sections: dict[str, Any], words: str, camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stage, phases_stage):
        monkeypatch.setattr(module, "accelerator", lambda _: FOUR)
    recipe = validate(Recipe, tiny.settings(camvid, **sections))
    with pytest.raises(FathomError, match=words):
        stage.train(recipe, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


def test_a_stream_without_labels_gives_nothing_to_share(recipe: Callable[..., Recipe]) -> None:
    streams = {"labelled": {}, "more": {"labels": {"count": 0}, "batch": 3}}
    empty = recipe(streams=streams, objectives={"supervised": {"stream": list(streams)}})
    refuse_uneven(empty, FOUR)  # type: ignore[arg-type]


def test_processes_wait_for_hours() -> None:
    handler = accelerator(Loop(device="cpu")).init_handler
    assert handler is not None
    assert handler.to_kwargs()["timeout"] >= timedelta(days=1)
