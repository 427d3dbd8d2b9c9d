"""The scores against numbers worked by hand, and against slow numpy and OpenCV oracles written from the definitions."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.errors import FathomError
from fathomseg.metrics.segmentation import (
    MEANING,
    BoundaryIoU,
    Calibration,
    Confusion,
    SegmentationScores,
    boundary,
    class_accuracy,
    class_iou,
    frequency_weighted_iou,
    mean_iou,
    mean_over,
    pixel_accuracy,
)
from tests.typecheck import unchecked

TRUTH = [[0, 0, 1], [0, 1, 1], [2, 2, 255]]
GUESS = [[0, 1, 1], [0, 1, 1], [2, 0, 3]]
"""Worked by hand: class 0 has 2 of 3 right and 1 false, class 1 3 of 3 and 1 false, class 2 1 of 2; no class 3."""


def u8(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.uint8)


def confusion(classes: int, prediction: object, truth: object) -> torch.Tensor:
    sums = Confusion(classes)
    sums.update(u8(prediction), u8(truth))
    return sums.matrix


def oracle_iou(prediction: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    """Sets of pixel positions, as IoU is defined."""
    known = truth != 255
    values = []
    for c in range(classes):
        p = set(zip(*np.nonzero((prediction == c) & known), strict=True))
        t = set(zip(*np.nonzero((truth == c) & known), strict=True))
        values.append(len(p & t) / len(p | t) if t else math.nan)
    return values


def oracle_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """A mask minus its erosion as in section 5 of the paper's reference: zero padding, 3x3 erosion `distance` times."""
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)


def random_maps(seed: int, classes: int, shape: tuple[int, int], blob: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A blocky truth with ignored pixels and a prediction that is wrong in places."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-shape[0] // blob), -(-shape[1] // blob)))
    truth = np.kron(coarse, np.ones((blob, blob), int))[: shape[0], : shape[1]]
    prediction = np.where(rng.random(shape) < 0.3, rng.integers(0, classes, shape), truth)
    truth = np.where(rng.random(shape) < 0.1, 255, truth)
    return prediction.astype(np.uint8), truth.astype(np.uint8)


def test_hand_worked_3x3() -> None:
    matrix = confusion(4, GUESS, TRUTH)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 3, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert class_iou(matrix)[:3].tolist() == [2 / 4, 3 / 4, 1 / 2]
    assert class_iou(matrix)[3].isnan()
    assert mean_iou(matrix).item() == pytest.approx((2 / 4 + 3 / 4 + 1 / 2) / 3)
    assert pixel_accuracy(matrix).item() == 6 / 8
    assert class_accuracy(matrix)[:3].tolist() == [2 / 3, 1, 1 / 2]
    assert frequency_weighted_iou(matrix).item() == pytest.approx((3 * 2 / 4 + 3 * 3 / 4 + 2 * 1 / 2) / 8)


def test_a_class_only_predicted_has_no_iou_but_costs_the_others() -> None:
    matrix = confusion(3, [[0, 2], [1, 1]], [[0, 0], [1, 1]])
    assert class_iou(matrix)[2].isnan()
    assert mean_iou(matrix).item() == (1 / 2 + 1) / 2


@pytest.mark.parametrize("seed", range(5))
def test_iou_equals_sets_of_pixels(seed: int) -> None:
    prediction, truth = random_maps(seed, 6, (37, 23))
    expected = oracle_iou(prediction, truth, 6)
    np.testing.assert_array_equal(class_iou(confusion(6, prediction, truth)).numpy(), expected)


def test_ignored_pixels_count_nowhere() -> None:
    prediction, truth = random_maps(0, 5, (20, 20))
    changed = np.where(truth == 255, 4 - prediction, prediction)
    assert not np.array_equal(changed, prediction)
    results = []
    for guess in (prediction, changed):
        scores = SegmentationScores("abcde")
        scores.update(u8(guess), torch.full((20, 20), 0.5), u8(truth))
        results.append(scores.result())
    assert results[0] == results[1]


def test_predictions_outside_the_class_list_are_an_error_that_says_how_many() -> None:
    with pytest.raises(FathomError, match=r"3 pixels of the predictions .* 0\.\.2 "):
        confusion(3, [[7, 3], [255, 0]], [[0, 1], [2, 0]])
    with pytest.raises(FathomError, match=r"1 pixels of the labels .* 0\.\.2 "):
        confusion(3, [[0, 1]], [[3, 1]])


def test_a_foreign_prediction_under_an_ignored_label_is_no_error() -> None:
    assert confusion(2, [[200, 1]], [[255, 1]]).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("shape", [(9, 14), (1, 7), (5, 5), (4, 9)])
@pytest.mark.parametrize("distance", [1, 2, 3])
def test_boundary_equals_opencv_erosion_of_every_class(shape: tuple[int, int], distance: int) -> None:
    labels = random_maps(1, 3, shape, blob=5)[0]
    labels[: shape[0] // 2] = 1  # something large enough to survive erosion
    expected = np.zeros(shape, bool)
    for c in range(3):
        expected |= oracle_boundary(labels == c, distance)
    np.testing.assert_array_equal(boundary(u8(labels), distance).numpy(), expected)


def test_boundary_of_a_uniform_map_is_the_frame() -> None:
    frame = boundary(u8(np.zeros((7, 8))), 2)
    assert frame.sum() == 7 * 8 - 3 * 4
    assert not frame[2:5, 2:6].any()


@pytest.mark.parametrize("seed", range(4))
def test_boundary_iou_equals_its_definition(seed: int) -> None:
    sums, intersection, union = BoundaryIoU(4), np.zeros(4), np.zeros(4)
    for image, shape in enumerate([(60, 80), (150, 90)]):
        prediction, truth = random_maps(10 * seed + image, 4, shape, blob=25)
        sums.update(u8(prediction), u8(truth))
        distance = round(0.02 * math.hypot(*shape))
        assert distance == (2 if image == 0 else 3)
        for c in range(4):
            t = oracle_boundary(truth == c, distance)
            p = oracle_boundary((prediction == c) & (truth != 255), distance)
            intersection[c] += (t & p).sum()
            union[c] += (t | p).sum()
    np.testing.assert_allclose(sums.class_iou().numpy(), intersection / union, rtol=1e-15)


def test_boundary_iou_by_hand_sees_a_shift_that_iou_hardly_does() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[:, 20:] = 1
    prediction = np.roll(truth, 1, axis=1)
    prediction[:, 0] = 0  # the boundary between the halves moved right by one pixel; distance is 1
    sums = BoundaryIoU(2)
    sums.update(u8(prediction), u8(truth))
    # Class 0 has the frames of a 20x40 and a 21x40 rectangle as boundaries.
    t, p = oracle_boundary(truth == 0, 1), oracle_boundary(prediction == 0, 1)
    assert (t.sum(), p.sum()) == (116, 118)
    shared = 40 + 2 * 19  # the outer column, and both outer rows of the 19 other common columns
    assert sums.class_iou()[0].item() == shared / (116 + 118 - shared)
    assert mean_iou(confusion(2, prediction, truth)).item() > 0.9


def test_calibration_by_hand() -> None:
    sums = Calibration()
    # Bins of 1/15: 0.5 and 0.52 in bin 8 (0.4667, 0.5333], 0.95 in the last. One of the first two is right.
    sums.update(u8([[0, 1, 2, 0]]), torch.tensor([[0.5, 0.52, 0.95, 0.1]]), u8([[0, 0, 2, 255]]))
    table = sums.table()
    assert [row["pixels"] for row in table] == [0] * 7 + [2] + [0] * 6 + [1]
    assert table[7]["accuracy"] == 0.5
    assert table[7]["confidence"] == pytest.approx(0.51, abs=1e-7)
    assert sums.error() == pytest.approx((2 * abs(0.5 - 0.51) + abs(1 - 0.95)) / 3, abs=1e-7)


def test_calibration_equals_a_float64_oracle() -> None:
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.random(5000), [0.0, 1.0, 0.2]]).astype(np.float32)
    prediction, truth = rng.integers(0, 4, (2, confidence.size))
    truth[rng.random(confidence.size) < 0.1] = 255
    sums = Calibration()
    sums.update(u8(prediction), torch.from_numpy(confidence), u8(truth))
    total, valid = 0.0, truth != 255
    for m in range(15):
        low, high = np.float32(m / 15), np.float32((m + 1) / 15)
        inside = valid & (confidence <= high) & ((confidence > low) | (m == 0))
        total += abs((prediction == truth)[inside].sum() - confidence[inside].astype(np.float64).sum())
    assert sums.error() == pytest.approx(total / valid.sum(), abs=1e-7)


@pytest.mark.parametrize("bad", [math.nan, 1.5, -0.1, math.inf])
def test_a_confidence_that_is_none_is_an_error(bad: float) -> None:
    sums = Calibration()
    sums.update(u8([[0, 1]]), torch.tensor([[0.5, bad]]), u8([[0, 1]]))
    with pytest.raises(FathomError, match="1 pixels have a confidence that is NaN"):
        sums.error()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 5))
def test_order_and_split_over_ranks_do_not_change_a_bit(order: list[int], cut: int) -> None:
    images = [(*random_maps(i, 4, (11 + i, 17)), np.random.default_rng(i)) for i in range(5)]
    triples = [(u8(p), torch.from_numpy(r.random(p.shape).astype(np.float32)), u8(t)) for p, t, r in images]

    def scored(indices: list[int]) -> SegmentationScores:
        scores = SegmentationScores("abcd")
        for i in indices:
            scores.update(*triples[i])
        return scores

    first, second = scored(order[:cut]), scored(order[cut:])
    for mine, theirs in zip(first._sums(), second._sums(), strict=True):
        mine.counts += theirs.counts  # as `all_reduce` does
    assert first.result() == scored(list(range(5))).result()


def test_result_is_json_and_its_keys_are_explained() -> None:
    scores = SegmentationScores(["road", "car", "sky", "bus"])
    own = scores.update(u8(GUESS), torch.full((3, 3), 0.75), u8(TRUTH))
    result = json.loads(json.dumps(scores.result(), allow_nan=False))
    assert own.item() == result["miou"] == pytest.approx(7 / 12)
    assert result["ece"] == 0.0  # 6 of 8 are right at a confidence of 0.75
    assert result["classes"][3] == {
        "name": "bus",
        "iou": None,
        "boundary_iou": None,
        "accuracy": None,
        "pixels": 0,
        "predicted_pixels": 0,
    }
    assert (result["images"], result["pixels"], result["classes_present"]) == (1, 8, 3)
    assert MEANING.keys() - {"miou_shared"} <= result.keys(), "that one is added by `mean_over`"


def test_nothing_labelled_gives_nulls_not_nan() -> None:
    scores = SegmentationScores("ab")
    assert scores.update(u8([[0, 1]]), None, u8([[255, 255]])).isnan()
    result = scores.result()
    assert [result[key] for key in ("miou", "boundary_miou", "pixel_accuracy", "ece")] == [None] * 4
    json.dumps(result, allow_nan=False)


def test_sizes_must_match() -> None:
    with unchecked(), pytest.raises(FathomError, match=r"\(2, 2\) pixels for a label of \(2, 3\)"):
        SegmentationScores("ab").update(
            torch.zeros(2, 2, dtype=torch.uint8), None, torch.zeros(2, 3, dtype=torch.uint8)
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_gives_the_same_counts() -> None:
    prediction, truth = random_maps(3, 5, (64, 96))
    confidence = torch.rand(64, 96)
    results = []
    for device in ("cpu", "cuda"):
        scores = SegmentationScores("abcde", device)
        scores.update(*(x.to(device) for x in (u8(prediction), confidence, u8(truth))))
        results.append(scores.result())
    assert results[0] == results[1]


def test_the_mean_over_some_classes_passes_over_what_the_truth_does_not_show() -> None:
    rows = [{"name": name, "iou": iou} for name, iou in (("a", 0.2), ("b", 0.6), ("c", None), ("d", 0.9))]
    assert mean_over({"classes": rows}, ("a", "b", "c")) == pytest.approx(0.4)
    assert mean_over({"classes": rows}, ("d",)) == 0.9
    assert mean_over({"classes": rows}, ("c",)) is None
