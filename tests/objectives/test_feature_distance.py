"""The encoder is held near the one it began as: the distance by hand, and what it moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fathomseg.engine.step import Step
from fathomseg.errors import FathomError
from fathomseg.models.network import SHARED
from fathomseg.objectives.base import Base, Nets
from fathomseg.objectives.feature_distance import FeatureDistance, FeatureDistanceObjective, shows
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import IGNORE, ClassList
from tests.objectives.steps import DEPTH, PLAIN, POSE, Counted, copied, make_batch, make_step, moved, train, weighed

CLASS_LIST = ClassList(tuple("abcd"), tuple((i, i, i) for i in range(4)))
CLIPS = {"clips": make_batch(3, "frames")}


def step(**settings: Any) -> Step:
    return make_step(DEPTH, {"photometric": {"pose": POSE}, "feature_distance": {"weight": 1.0, **settings}})


def original(step: Step) -> torch.nn.Module:
    objective = step.objectives["feature_distance"]
    assert isinstance(objective, FeatureDistanceObjective)
    return objective.original


def grown(step: Step) -> Step:
    with torch.no_grad():
        for parameter in step.network.encoder_parameters():
            parameter.mul_(1.1)
    return step


def test_value_by_hand() -> None:
    """Two images of 3 x 2 x 3 features: all 0 beside 2, and all 5 beside 2."""
    made = step(weight=0.5)
    deepest = torch.zeros(2, 3, 2, 3)
    deepest[1] = 5.0
    original(made).forward = lambda image: [torch.full_like(deepest, 2.0)]  # type: ignore[method-assign]
    objective, clips = made.objectives["feature_distance"], CLIPS["clips"]
    assert isinstance(objective, FeatureDistanceObjective)
    request = objective.request(clips, Base.of(clips, None), Nets(made.network, made.ema.network))
    assert request.outputs == {"features"}
    term = request.losses({"features": deepest}, []).terms[""]
    assert term.sum.item() == pytest.approx(2 * 18**0.5 + 3 * 18**0.5)
    assert term.count.item() == 2


def test_equal_encoders_are_at_no_distance_and_others_at_one_worked_out_in_float64() -> None:
    made = step().eval()
    assert made(CLIPS).terms["feature_distance"].sum.item() == 0
    term = grown(made)(CLIPS).terms["feature_distance"]
    image = CLIPS["clips"].image.float() / 255
    with torch.no_grad():
        ours, wanted = (e(image)[-1].double().numpy() for e in (made.network.encoders[SHARED], original(made)))
    expected = sum(((ours[i] - wanted[i]) ** 2).sum() ** 0.5 for i in range(len(ours)))
    assert expected > 0
    assert term.sum.item() == pytest.approx(expected, rel=1e-5)
    assert term.count.item() == 2


def test_its_gradient_reaches_the_encoder_alone() -> None:
    made = grown(step()).train()
    made(CLIPS).terms["feature_distance"].sum.backward()
    reached = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached
    assert all(name.startswith("network.encoders.") for name in reached)


def test_the_original_is_saved_and_never_moves() -> None:
    made = step().train()
    before = copied(made)
    names = {name for name in before if name.startswith("objectives.feature_distance.original.")}
    assert len(names) == len(original(made).state_dict()) > 0
    train(made, CLIPS)
    assert not original(made).training
    assert not moved(made, before) & names
    assert "network.encoders.shared.net.conv1.0.weight" in moved(made, before)
    assert not any(p.requires_grad for p in original(made).parameters())


def test_it_costs_no_further_pass_of_the_encoder() -> None:
    made = step().train()
    counted = Counted(student=made.network.encoders[SHARED], original=original(made))
    weighed(made(CLIPS)).backward()
    assert counted.calls == {"student": [(True, True, 2)], "original": [(False, False, 2)]}


def test_beside_classes_on_images_without_frames() -> None:
    """It needs nothing but images, and only features are computed for it alone."""
    made = make_step(PLAIN, {"supervised": {}, "feature_distance": {"stream": "unlabelled"}}).train()
    counted = Counted(decoder=made.network.decoders["segmentation"])
    result = made({"labelled": make_batch(1, "label"), "unlabelled": make_batch(2)})
    assert set(result.terms) == {"supervised.segmentation", "feature_distance"}
    assert len(counted.calls["decoder"]) == 1


class TestClasses:
    def test_cells_that_one_of_the_classes_fills_by_hand(self) -> None:
        label = torch.zeros(1, 4, 8, dtype=torch.uint8)
        label[0, :2, :2] = 2  # all of the first cell
        label[0, 0, 4:6], label[0, 1, 4] = 2, 2  # three quarters of the third
        label[0, 2:, :2] = torch.tensor([[2, 3], [2, 3]])  # half of either class
        label[0, 2:, 2:4] = IGNORE
        found = shows(label, [2, 3], (2, 4), 0.75)
        assert found.tolist() == [[[True, False, True, False], [False, False, False, False]]]
        assert shows(label, [2, 3], (2, 4), 0.8).sum() == 1
        assert shows(label, [2, 3], (2, 4), 0.5).sum() == 3

    @pytest.mark.parametrize(("filled", "settings", "cells"), [(16, {}, 3), (12, {}, 3), (12, {"min_ratio": 0.8}, 0)])
    def test_the_mean_is_over_their_cells(self, filled: int, settings: dict[str, Any], cells: int) -> None:
        """Of 16 rows each, of which the class fills the first `filled`."""
        distance = {"stream": "labelled", "classes": ["c"], "weight": 0.005, **settings}
        made = make_step(PLAIN, {"supervised": {}, "feature_distance": distance}, classes=CLASS_LIST)
        batch = make_batch(1, "label")
        batch.targets["label"].zero_()
        batch.targets["label"][0, :filled] = 2
        features = torch.zeros(2, 3, 2, 3)
        features[0, :, 0] = 4.0
        original(made).forward = lambda image: [torch.zeros_like(features)]  # type: ignore[method-assign]
        objective = made.objectives["feature_distance"]
        assert isinstance(objective, FeatureDistanceObjective)
        request = objective.request(batch, Base.of(batch, None), Nets(made.network, made.ema.network))
        term = request.losses({"features": features}, []).terms[""]
        assert term.count.item() == cells
        assert term.sum.item() == pytest.approx(cells * 48**0.5)

    def test_labels_are_needed_and_names_must_be_known(self) -> None:
        config = FeatureDistance(classes=("c",))
        assert config.needs(NetworkConfig()) == {"label"}
        assert FeatureDistance().needs(NetworkConfig()) == frozenset()
        with pytest.raises(FathomError, match=r"classes has 'bus', which is no class there; there is: a, b, c, d"):
            make_step(
                PLAIN,
                {"supervised": {}, "feature_distance": {"stream": "labelled", "classes": ["bus"]}},
                classes=CLASS_LIST,
            )

    def test_names_are_matched_as_everywhere_and_before_anything_is_built(self) -> None:
        names = ClassList(("road", "traffic light", "Person"), tuple((i, i, i) for i in range(3)))
        config = FeatureDistance(classes=("person", "Traffic-Light"))
        config.refuse(names)
        made = make_step(
            PLAIN,
            {"supervised": {}, "feature_distance": {"stream": "labelled", "classes": config.classes}},
            classes=names,
        )
        objective = made.objectives["feature_distance"]
        assert isinstance(objective, FeatureDistanceObjective)
        assert objective.classes == (2, 1)
        with pytest.raises(FathomError, match=r"feature_distance\.classes has 'rider'.*there is: road, traffic light"):
            FeatureDistance(classes=("rider",)).refuse(names)
