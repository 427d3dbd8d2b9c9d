"""`depth` in metres: what is decoded, what is learned, and what it cannot be learned from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fathomseg.config import validate
from fathomseg.errors import ConfigError
from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.tasks import Depth, DepthLoss
from fathomseg.training.build import model_card
from fathomseg.training.recipe import Recipe
from fathomseg.types import Batch
from tests.models.networks import TINY, config, images, unet

METRIC = Depth(output="metric", min_depth=1.0, max_depth=80.0)


def batch(depth: torch.Tensor) -> Batch:
    image = torch.zeros(len(depth), 3, *depth.shape[2:], dtype=torch.uint8)
    return Batch(
        ("a",) * len(depth), (0,) * len(depth), image, {"depth": depth}, {"depth": torch.ones(len(depth)).bool()}
    )


def recipe(depth: dict[str, Any], **sections: Any) -> Recipe:
    tree = {
        "data": {"name": "streets"},
        "size": [48, 96],
        "network": {"encoder": TINY, "tasks": {"depth": depth}},
        "objectives": {"supervised": {"losses": {"depth": {}}}},
        **sections,
    }
    return validate(Recipe, tree)


def test_the_map_is_metres_without_a_sign_and_the_fields_agree() -> None:
    output = torch.tensor([[[[-3.0, 20.0, 0.0, 500.0]]]])
    metres = METRIC.map([output])
    assert metres.tolist() == [[[[3.0, 20.0, 0.0, 500.0]]]]
    fields = METRIC.decode(metres[0], (1, 4))
    assert fields["depth"].tolist()[0] == pytest.approx([3, 20, 1, 80], rel=1e-5)
    torch.testing.assert_close(disparity_to_depth(fields["disparity"], 1.0, 80.0), fields["depth"])
    assert fields["disparity"].min() == 0
    assert fields["disparity"].max() == 1
    torch.testing.assert_close(METRIC.disparity([output])[0, 0], fields["disparity"])


@pytest.mark.parametrize("head", ["plain", "separable"])
def test_it_begins_at_the_depth_of_the_first_disparity_on_one_scale(head: str) -> None:
    network = config({"depth": {"decoder": unet(), "output": "metric", "head": head, "start": 0.2}}).build().eval()
    with torch.no_grad():
        (metres,) = network(images(1, 48, 64))["depth"]
    assert metres.shape == (1, 1, 48, 64)
    expected = disparity_to_depth(torch.tensor(0.2), 0.1, 100.0)
    torch.testing.assert_close(metres.mean(), expected, rtol=0.2, atol=0)


def test_berhu_of_metres_by_hand() -> None:
    """relu(p) = 0 2 9 4 against 1 2 4 unknown: errors 1 0 5; c = 0.2 * 5 = 1; (25 + 1) / 2 = 13."""
    criterion = DepthLoss().build(METRIC, None)
    total, count = criterion(
        [torch.tensor([[[[-7.0, 2.0, 9.0, 4.0]]]])], batch(torch.tensor([[[[1.0, 2.0, 4.0, 0.0]]]])), 0.0
    )
    assert (total.item(), count.item()) == pytest.approx((1 + 0 + 13, 3))
    l1 = DepthLoss(error="l1").build(METRIC, None)
    total, count = l1([torch.tensor([[[[-7.0, 2.0, 9.0, 4.0]]]])], batch(torch.tensor([[[[1.0, 2.0, 4.0, 0.0]]]])), 0.0)
    assert (total.item(), count.item()) == pytest.approx((6, 3))


@pytest.mark.parametrize("truth", [0.0, 5.0])
def test_no_error_and_no_truth_are_no_division_by_zero(truth: float) -> None:
    predicted = torch.full((1, 1, 2, 3), 5.0, requires_grad=True)
    total, count = DepthLoss().build(METRIC, None)([predicted], batch(torch.full((1, 1, 2, 3), truth)), 0.0)
    total.backward()
    assert (total.item(), count.item()) == (0, 6 if truth else 0)
    assert predicted.grad.isfinite().all()


def test_metres_are_learned() -> None:
    torch.manual_seed(0)
    network, image = (
        config({"depth": {"decoder": unet(stride=4), "output": "metric", "start": 0.01}}).build().train(),
        images(1, 64, 64),
    )
    truth = torch.linspace(5, 30, 64).view(1, 1, 64, 1).expand(1, 1, 64, 64).contiguous()
    criterion = DepthLoss().build(Depth(output="metric"), None)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    errors = []
    for _ in range(60):
        total, count = criterion(network(image)["depth"], batch(truth), 0.0)
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
        errors.append((total / count).item())
    assert errors[-1] < 0.1 * errors[0]


def losses(**loss: Any) -> dict[str, Any]:
    return {"objectives": {"supervised": {"losses": {"depth": loss}}}}


VIDEO = {"objectives": {"photometric": {}}, "streams": {"clips": {}}}
MAPS = {"streams": {"labelled": {"depth": {"name": "dataset"}}}}
KEPT = {"streams": {"labelled": {"depth": {"name": "run", "run": "runs/teacher", "normalise": {"over": "none"}}}}}
DISPARITY = losses(target="disparity", error="l1")


@pytest.mark.parametrize(
    ("depth", "sections", "unit", "alignment"),
    [
        ({"output": "metric"}, {}, "metres", "none"),
        ({}, {}, "metres", "none"),
        ({}, VIDEO, "relative", "median"),
        ({}, losses(error="scale_shift_invariant"), "relative", "scale_shift"),
        ({"output": "metric"}, losses(error="scale_shift_invariant"), "relative", "scale_shift"),
        ({}, {**losses(target="disparity", error="scale_shift_invariant"), **MAPS}, "relative", "scale_shift"),
        ({}, {**DISPARITY, **MAPS}, "relative", "scale_shift"),
        ({}, {**DISPARITY, **KEPT}, "relative", "median"),
        ({}, {**losses(target="disparity", error="scale_shift_invariant"), **KEPT}, "relative", "scale_shift"),
        ({"unit": "metres"}, VIDEO, "metres", "none"),
    ],
)
def test_the_card_states_the_unit_and_the_alignment(
    depth: dict[str, Any], sections: dict[str, Any], unit: str, alignment: str
) -> None:
    card = model_card(recipe(depth, **sections))
    assert (card.depth_unit, card.depth_alignment) == (unit, alignment)
    result = {"settings": {"alignment": alignment}, alignment: {"rmse": 2.0, "abs_rel": 0.1, "delta1": 0.9}}
    task = card.tasks["depth"]
    assert task.main_score(result).name == f"{alignment}.rmse"
    assert task.headline(result) == {"abs_rel": 0.1, "delta1": 0.9}


@pytest.mark.parametrize(
    ("depth", "sections", "message"),
    [
        ({"scales": 2}, {}, "output=metric has one scale, but scales=2"),
        ({}, {"objectives": {"supervised": {"losses": {"depth": {"error": "log"}}}}}, "may predict 0, .* berhu or l1"),
        (
            {},
            {
                "objectives": {"supervised": {"losses": {"depth": {"target": "disparity"}}}},
                "streams": {"labelled": {"depth": {"name": "dataset"}}},
            },
            "output=metric is learned from true depth: set losses.depth.target=depth",
        ),
        (
            {},
            {"objectives": {"photometric": {}}, "streams": {"clips": {}}},
            "'photometric': it learns disparity, but network.tasks.depth.output=metric: set it to disparity",
        ),
    ],
)
def test_what_does_not_fit(depth: dict[str, Any], sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe({"output": "metric", **depth}, **sections)


def test_a_separable_head_has_no_more_than_it_says() -> None:
    head = METRIC.model_copy(update={"head": "separable"}).build_early_head(16, 0)
    assert sum(p.numel() for p in head.parameters()) == 16 + 9 * 16 + 1
    assert isinstance(head.disparity.conv, nn.Conv2d)
