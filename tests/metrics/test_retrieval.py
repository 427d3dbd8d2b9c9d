"""Retrieval with known answers."""

from __future__ import annotations

import pytest
import torch

from fathomseg.metrics.retrieval import MEANING, ranks, retrieval, scores


def test_ranks_by_hand() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.7], [0.3, 0.2, 0.3]], dtype=torch.float64)
    assert ranks(similarity).tolist() == [0, 2, 1], "a tie is lost"


def test_nan_finds_nothing() -> None:
    nan = float("nan")
    similarity = torch.tensor([[nan, 0.1, 0.2], [nan, 0.5, 0.4], [0.1, 0.2, 0.3]])
    assert ranks(similarity).tolist() == [2, 1, 0]
    found = retrieval(torch.full((8, 4), nan), torch.eye(8)[:, :4])
    assert found["depth_to_segmentation"] == found["segmentation_to_depth"] == {"top1": 0, "top5": 0}


def test_equal_vectors_find_each_other() -> None:
    basis = torch.eye(8)
    found = retrieval(basis, basis)
    assert found["depth_to_segmentation"] == found["segmentation_to_depth"] == {"top1": 1, "top5": 1}
    assert found["chance"] == {"top1": 1 / 8, "top5": 5 / 8}


def test_the_two_directions_differ() -> None:
    """All segmentations but the first look like the second depth: from them one is found, from depth two."""
    depth = torch.eye(3)
    segmentation = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.9, 0.1]])
    found = retrieval(depth, segmentation)
    assert found["depth_to_segmentation"]["top1"] == pytest.approx(1)
    assert found["segmentation_to_depth"]["top1"] == pytest.approx(2 / 3)


def test_a_model_that_says_the_same_of_everything_finds_nothing() -> None:
    same = torch.ones(20, 4) / 2
    found = retrieval(same, same)
    assert found["depth_to_segmentation"] == {"top1": 0, "top5": 0}


def test_random_vectors_find_what_chance_finds() -> None:
    rng = torch.Generator().manual_seed(0)
    found = retrieval(*(torch.randn(400, 64, generator=rng) for _ in range(2)))
    assert found["chance"]["top5"] == 5 / 400
    assert found["depth_to_segmentation"]["top5"] == pytest.approx(5 / 400, abs=0.015)


def test_small_pools_and_what_is_told() -> None:
    found = scores(torch.eye(2), torch.eye(2), left_out=3, apart=7)
    assert (found["pool"], found["left_out"], found["apart"]) == (2, 3, 7)
    assert found["chance"] == {"top1": 0.5, "top5": 1.0}
    assert set(MEANING) >= {"pool", "left_out", "apart", "chance", "top1", "top5"}
