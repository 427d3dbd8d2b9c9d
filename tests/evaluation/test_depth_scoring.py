"""Depth scored through a source: by hand on a toy drive, against numpy on the generated city."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import DataError, Problem
from fathomseg.evaluation.depth_scoring import FromDepthNetwork, evaluate_depth, evaluate_depth_network
from fathomseg.inference.depth_predictor import DepthPredictor
from fathomseg.metrics.depth import DepthProtocol
from tests.stages.saved_depth_run import NETWORK, RANGE
from tests.toy_drive import SIZE, ToyDepth, ToyDrive


def test_by_hand() -> None:
    """Of the range 1 to infinity nearly, disparity 0.5 and 0.25 are 2 m and 4 m; the truth is 2 m and 8 m."""
    network, dataset = ToyDepth().train(), ToyDrive(lengths=(3,), depth_from=1)
    result = evaluate_depth_network(network, (1.0, 1e9), dataset, dataset.ids("val"), SIZE, "cpu")
    assert network.training
    assert result["none"]["abs_rel"] == pytest.approx((0 + 0.5) / 2, rel=1e-6)
    assert result["none"]["rmse"] == pytest.approx(np.sqrt(16 / 2), rel=1e-6)
    assert result["none"]["delta1"] == 0.5
    assert result["scale_median"] == pytest.approx(5 / 3, rel=1e-6)  # the medians are means of the two depths
    assert result["median"]["abs_rel"] == pytest.approx((2 / 3 + 1 / 6) / 2, rel=1e-6)
    assert (result["images"], result["pixels"]) == (2, 2 * 5 * 8)  # the first frame has no depth, the first row none


def test_nothing_to_score_is_no_error() -> None:
    dataset = ToyDrive(depth_from=99)
    result = evaluate_depth_network(ToyDepth(), (1.0, 80.0), dataset, dataset.ids("val"), SIZE, "cpu")
    assert result["images"] == 0
    assert result["median"]["abs_rel"] is None


def test_flip_is_the_mean_of_the_image_and_its_mirror() -> None:
    torch.manual_seed(3)
    network = NETWORK.build(pretrained=False)
    nn.init.normal_(network.heads["disparity"].scales["2"].conv.weight, std=0.5)
    images = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    plain = DepthPredictor(network, (32, 64), RANGE)
    both = DepthPredictor(network, (32, 64), RANGE, flip=True).disparity(images)
    assert torch.equal(both, (plain.disparity(images) + plain.disparity(images.flip(3)).flip(3)) / 2)
    assert not torch.allclose(both, plain.disparity(images))
    mirrored = DepthPredictor(network, (32, 64), RANGE, flip=True).disparity(images.flip(3))
    torch.testing.assert_close(mirrored, both.flip(3))


def test_scores_equal_an_oracle_over_the_predictor() -> None:
    torch.manual_seed(3)
    network = NETWORK.build(pretrained=False)
    nn.init.normal_(network.heads["disparity"].scales["2"].conv.weight, std=0.5)
    dataset = Streets(size=(40, 72), frames=2, val_clips=2)
    predictor, protocol = DepthPredictor(network, (32, 64), RANGE), DepthProtocol(max_depth=30.0, crop="garg")
    ticks: list[int] = []
    ids = dataset.ids("val")
    source = FromDepthNetwork(predictor, dataset)
    result, rows = evaluate_depth(source, dataset, ids, protocol, lambda: ticks.append(1))
    assert list(rows) == ids
    assert len(ticks) == len(ids)
    found = []
    for id in ids:
        truth = dataset.depth(id).astype(np.float64)[16:39, 2:69]
        guess = predictor.predict(dataset.image(id)).depth.astype(np.float64)[16:39, 2:69]
        valid = (truth > 1e-3) & (truth < 30)
        scaled = np.clip(guess[valid] * np.median(truth[valid]) / np.median(guess[valid]), 1e-3, 30)
        found.append(np.mean(np.abs(scaled - truth[valid]) / truth[valid]))
        assert rows[id]["median"]["abs_rel"] == pytest.approx(found[-1], rel=1e-9)
    assert result["median"]["abs_rel"] == pytest.approx(np.mean(found), rel=1e-9)
    assert len(set(found)) == len(ids)


class Broken(ToyDrive):
    """Two frames cannot be read: the image of one, the depth of the other."""

    def image(self, id: str) -> np.ndarray:
        if id == "c0/01":
            raise DataError([Problem(id, "bad image")])
        return super().image(id)

    def depth(self, id: str) -> np.ndarray | None:
        if id == "c0/03":
            raise DataError([Problem(id, "bad depth")])
        return super().depth(id)


def test_every_bad_file_is_named_after_all_were_tried() -> None:
    dataset = Broken()
    with pytest.raises(DataError) as caught:
        evaluate_depth_network(ToyDepth(), (1.0, 80.0), dataset, dataset.ids("val"), SIZE, "cpu")
    assert [problem.reason for problem in caught.value.problems] == ["bad image", "bad depth"]
