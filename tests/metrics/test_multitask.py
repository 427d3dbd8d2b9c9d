"""Delta_m by hand."""

from __future__ import annotations

import pytest

from fathomseg.errors import FathomError
from fathomseg.metrics.multitask import MainScore, delta_m, relative_change


def iou(value: float | None) -> MainScore:
    return MainScore("miou", value, lower_is_better=False)


def rmse(value: float) -> MainScore:
    return MainScore("none.rmse", value, lower_is_better=True)


def test_the_direction_of_each_score() -> None:
    """The survey's NYUv2 row of a multi-task baseline: 43.9 -> 44.4 mIoU, 0.585 -> 0.587 m."""
    changes = {
        "segmentation": relative_change(iou(44.4), iou(43.9)),
        "depth": relative_change(rmse(0.587), rmse(0.585)),
    }
    assert changes == pytest.approx({"segmentation": 0.5 / 43.9, "depth": -0.002 / 0.585})
    assert 100 * delta_m(changes) == pytest.approx(0.41, abs=0.015)


def test_what_is_undefined() -> None:
    assert relative_change(iou(None), iou(0.5)) is None
    assert relative_change(iou(0.5), iou(0.0)) is None
    assert delta_m({"a": 0.1, "b": None}) is None
    assert delta_m({}) is None


def test_other_scores_are_refused() -> None:
    with pytest.raises(FathomError, match=r"none\.rmse cannot be compared with median\.rmse"):
        relative_change(rmse(1.0), MainScore("median.rmse", 1.0, lower_is_better=True))
