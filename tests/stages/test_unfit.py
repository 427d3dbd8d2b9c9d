"""Objectives that do not fit their data, or each other, are refused before anything is prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from fathomseg.config import validate
from fathomseg.errors import FathomError
from fathomseg.objectives.pseudo_labels import PseudoLabelsObjective
from fathomseg.objectives.supervised import SupervisedObjective
from fathomseg.stages import train as stage
from fathomseg.training.build import build_networks, build_step, refuse_unfit
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import budgets
from fathomseg.training.streams import build_streams
from tests.objectives.steps import make_batch
from tests.stages import tiny_semi

DUSK = {**tiny_semi.STREETS, "domain": "dusk"}
BALANCED = {"losses": {"segmentation": {"balance": 0.5}}}
LOSSES = {"segmentation": {"weight": 2.0}}
ADJUSTED = {"pseudo_labels": {"logit_adjusted": True}}


def recipe(streams: dict[str, Any] | None = None, **objectives: Any) -> Recipe:
    named = {name: {"name": name, **settings} for name, settings in objectives.items()}
    return validate(Recipe, tiny_semi.settings(streams=streams or tiny_semi.streams(), objectives=named))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({"pseudo_labels": {"ego_vehicle": {"mask": "nowhere.png"}}}, "nowhere.png"),
        ({"feature_distance": {"stream": "labelled", "classes": ["tram"]}}, "feature_distance.classes has 'tram'"),
    ],
)
def test_what_does_not_fit_is_told_first(
    objectives: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        pytest.fail("the data is being prepared")

    monkeypatch.setattr(stage, "build_streams", late)
    made = recipe(**{"supervised": {}, "pseudo_labels": {}, **objectives})
    with pytest.raises(FathomError, match=message):
        stage.train(made, tmp_path / "run", resume=False)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_step_of_a_recipe_weighs_its_objectives(tmp_path: Path) -> None:
    made = recipe({"labelled": tiny_semi.streams()["labelled"]}, supervised={"weight": 0.5, "losses": LOSSES})
    streams = build_streams(made, budgets(made), tmp_path, Accelerator(cpu=True))
    step = build_step(made, *build_networks(made, pretrained=False), streams)
    terms = step({"labelled": make_batch(1, "label")}).terms
    assert {name: (term.weight, term.group) for name, term in terms.items()} == {
        "supervised.segmentation": (1.0, "supervised.segmentation")
    }


class TestClassWeights:
    """Those of pseudo-labels are of the supervised loss on the recipe's own data, in whatever order they come."""

    STREAMS: dict[str, Any] = {**tiny_semi.streams(), "source": {"data": DUSK}}  # noqa: RUF012
    SOURCE: dict[str, Any] = {"name": "supervised", "stream": "source", **BALANCED}  # noqa: RUF012

    def test_are_those_of_the_own_data(self, tmp_path: Path) -> None:
        for objectives in (
            {"supervised": BALANCED, "there": self.SOURCE},
            {"there": self.SOURCE, "supervised": BALANCED},
        ):
            made = recipe(self.STREAMS, **objectives, **ADJUSTED)
            refuse_unfit(made)
            streams = build_streams(made, budgets(made), tmp_path, Accelerator(cpu=True))
            step = build_step(made, *build_networks(made, pretrained=False), streams)
            home, there, pseudo = (step.objectives[name] for name in ("supervised", "there", "pseudo_labels"))
            assert isinstance(home, SupervisedObjective)
            assert isinstance(there, SupervisedObjective)
            assert isinstance(pseudo, PseudoLabelsObjective)
            mine, theirs = home.class_weights(), there.class_weights()
            assert mine is not None
            assert theirs is not None
            assert not torch.equal(mine, theirs)
            torch.testing.assert_close(pseudo.classes, mine)

    def test_a_budget_of_no_labels_leaves_it_to_the_source(self) -> None:
        none = {**self.STREAMS, "labelled": {"labels": {"count": 0}}}
        refuse_unfit(recipe(none, supervised=BALANCED, there=self.SOURCE, **ADJUSTED))

    def test_two_of_equal_standing_are_refused(self) -> None:
        both = {"supervised": BALANCED, "again": {"name": "supervised", **BALANCED}}
        with pytest.raises(FathomError, match=r"goes by the class weights of one .* supervised and again each have"):
            refuse_unfit(recipe(**both, **ADJUSTED))
        refuse_unfit(recipe(**both, pseudo_labels={}))
        refuse_unfit(recipe(supervised=BALANCED, again={"name": "supervised"}, **ADJUSTED))
