"""Missing runs are reported before anything starts, with the settings that need them and the command to make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg.config import validate
from fathomseg.engine.checkpoint import FILE as CHECKPOINT
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, load_card
from fathomseg.io.files import CONFIG
from fathomseg.named_recipes import find
from fathomseg.stages import select, train
from fathomseg.training.needed_runs import refuse_missing_runs
from fathomseg.training.phases import phase_recipes
from fathomseg.training.recipe import Recipe
from tests.stages import tiny_depth


def test_the_depth_run_of_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the folder of the training, too: there is no data either."""
    monkeypatch.chdir(tmp_path)
    expected = (
        "There is no run runs/depth. streams.unlabelled.depth.run and init_from.run ask for a run that has "
        "reached its end. First make it by `fathom pretrain recipes/own-data/depth.yaml`, or give another run: "
        "streams.unlabelled.depth.run=FOLDER init_from.run=FOLDER"
    )
    with pytest.raises(FathomError) as raised:
        train.trained(find("own-data/semi-supervised"), [], None, None)
    assert str(raised.value) == expected
    with pytest.raises(FathomError, match=r"pretrain recipes/own-data/depth\.yaml 'data\.root=my data'`, or give"):
        train.trained(find("own-data/semi-supervised"), ["data.root=my data"], None, None)
    with pytest.raises(
        FathomError, match=r"criterion\.teacher\.run and criterion\.features\.run ask .*pretrain recipes"
    ):
        select.chosen(find("own-data/select"), [], None, None, None)
    with pytest.raises(
        FathomError, match=r"criterion\.run and prelabels ask .* by `fathom train recipes/own-data/semi"
    ):
        select.chosen(find("own-data/next"), [], None, None, None)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["studies/camvid", "studies/adapt-streets-camvid"])
def test_the_depth_run_of_a_study(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a clone may have that run
    config = tiny_depth.settings(init_from={"run": "runs/depth-kitti-streets"})
    with pytest.raises(FathomError, match=r"make it by `fathom pretrain recipes/depth-kitti-streets\.yaml`"):
        refuse_missing_runs([validate(Recipe, config)], find(name), Path("own"))


def test_a_run_that_was_stopped_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = "runs/depth stopped before its last step; resume it: fathom train --resume runs/depth"
    for place in ("runs/depth/first", "runs/depth"):  # of a run in phases, and of a single training
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / CHECKPOINT).write_bytes(b"")
        (tmp_path / "runs/depth" / CONFIG).touch()
        with pytest.raises(FathomError, match=f"{expected}\nOr give another run for streams"):
            train.trained(find("own-data/semi-supervised"), [], None, None)
        with pytest.raises(FathomError, match=rf"^{expected}$"):
            load_card(Path("runs/depth"))
        (tmp_path / "runs/depth" / CONFIG).unlink()
        with pytest.raises(FathomError, match="runs/depth holds no model"):  # runs may lie in it
            load_card(Path("runs/depth"))
        (tmp_path / place / CHECKPOINT).unlink()


def test_runs_that_are_there_and_those_of_earlier_phases_are_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / CARD).write_text("{}")
    start = {"init_from": {"run": str(tmp_path / "depth")}, "data": {"name": "streets"}, "size": [32, 64]}
    recipe = validate(Recipe, {**start, "phases": {"first": [], "second": ["train.steps=1"]}})
    phases = phase_recipes(recipe, tmp_path / "own")
    assert phases["second"].init_from is not None
    assert phases["second"].init_from.run == tmp_path / "own" / "first"
    refuse_missing_runs(phases.values(), None, tmp_path / "own")
    with pytest.raises(FathomError, match=r"init_from\.run asks for a run .* by `fathom train` or `fathom pretrain`"):
        refuse_missing_runs(phases.values(), None, tmp_path / "elsewhere")
