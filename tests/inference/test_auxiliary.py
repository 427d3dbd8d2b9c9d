"""A task that only helps in training: it is saved with the network, and people never get to see it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.errors import FathomError
from fathomseg.inference.card import ModelCard, load_model
from fathomseg.inference.export import narrowed
from fathomseg.inference.predictor import load
from fathomseg.models.links import NoLinks
from fathomseg.stages.predict import predicted
from fathomseg.types import ClassList
from tests.fakes import save
from tests.objectives.steps import Counted
from tests.stages.saved_run import save_run

CLASSES = ClassList(("road", "car"), ((0, 0, 0), (255, 0, 0)))
TASKS = ("segmentation", "depth", "source_depth")
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"), CLASSES, {}, tasks=TASKS)


def test_it_comes_back_with_the_network_and_is_no_task_of_the_card(saved: Path) -> None:
    card, network = load_model(saved)
    assert network.tasks == TASKS
    assert list(card.tasks) == ["segmentation", "depth"]


def test_it_is_neither_predicted_nor_computed(saved: Path) -> None:
    predictor = load(saved, device="cpu")
    counted = Counted(depth=predictor.network.heads["depth"], source_depth=predictor.network.heads["source_depth"])  # type: ignore[index]
    found = predictor.predict(IMAGE)
    assert counted.calls == {"depth": [(False, False, 1)], "source_depth": []}
    alone = load(saved, device="cpu", tasks=["depth"]).predict(IMAGE)
    np.testing.assert_array_equal(found.disparity, alone.disparity)
    with pytest.raises(FathomError, match="has no task 'source_depth'; it predicts segmentation, depth"):
        load(saved, device="cpu", tasks=["source_depth"])


def test_no_file_of_it_is_written(saved: Path, tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.png", IMAGE)
    assert not predicted(str(saved), str(tmp_path / "photos"), str(tmp_path / "out"), device="cpu").problems
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert folders == {"ids", "overlays", "disparity", "views"}


def test_an_exported_network_does_not_have_it(saved: Path) -> None:
    card, _ = load_model(saved)
    small = narrowed(card, card.tasks)
    assert list(small.network.tasks) == ["segmentation", "depth"]
    assert (small.network.links, small.classes, small.depth_unit) == (NoLinks(), card.classes, card.depth_unit)
    assert ModelCard.model_validate(small.model_dump()) == small
