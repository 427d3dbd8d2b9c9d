"""Depth scores against numbers worked by hand, a slow numpy oracle and the properties the protocol promises."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.errors import FathomError
from fathomseg.metrics.depth import (
    ALIGNMENTS,
    ERRORS,
    MEANING,
    DepthProtocol,
    DepthScores,
    crop_window,
    fit_disparity,
    median,
)
from tests.typecheck import unchecked


def t(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


def scene(seed: int, shape: tuple[int, int] = (24, 40)) -> tuple[torch.Tensor, torch.Tensor]:
    """A truth with holes and points beyond 80 m, and a prediction of another scale that is wrong here and there."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(math.log(2), math.log(120), shape))
    prediction = 0.1 * depth * np.exp(0.3 * rng.normal(size=shape))
    return t(prediction), t(np.where(rng.random(shape) < 0.4, 0, depth))


def scored(prediction: torch.Tensor, truth: torch.Tensor, protocol: DepthProtocol | None = None) -> dict:
    found = DepthScores(protocol).update("a", prediction, truth)
    assert found is not None
    return found  # type: ignore[return-value]


def oracle(prediction: np.ndarray, truth: np.ndarray, low: float = 1e-3, high: float = 80.0) -> dict[str, list[float]]:
    """Zhou et al.'s protocol, one pixel at a time in float64."""
    pairs = [(float(p), float(g)) for p, g in zip(prediction.ravel(), truth.ravel(), strict=True) if low < g < high]
    guess, true = [p for p, _ in pairs], [g for _, g in pairs]
    ratio = float(np.median(true)) / float(np.median(guess))
    design = np.stack([1 / np.array(guess), np.ones(len(guess))], axis=1)
    fit = design @ np.linalg.lstsq(design, 1 / np.array(true), rcond=None)[0]
    found = {}
    depths = {"none": guess, "median": [ratio * p for p in guess], "scale_shift": [1 / max(d, 1 / high) for d in fit]}
    for how, depth in depths.items():
        sums = [0.0] * 7
        for p, g in zip(depth, true, strict=True):
            p = min(max(p, low), high)
            worse = max(p / g, g / p)
            parts = (abs(p - g) / g, (p - g) ** 2 / g, (p - g) ** 2, math.log(p / g) ** 2)
            for i, part in enumerate((*parts, worse < 1.25, worse < 1.25**2, worse < 1.25**3)):
                sums[i] += part / len(true)
        sums[2], sums[3] = math.sqrt(sums[2]), math.sqrt(sums[3])
        found[how] = sums
    return found


def test_by_hand() -> None:
    # Valid: truth 10, 20, 40; predicted 5, 10, 30. Truth 0 and 90 do not count. Medians 20 and 10: factor 2.
    found = scored(t([[5, 10, 30, 7, 9]]), t([[10, 20, 40, 0, 90]]))
    assert found["image"] == {"scale": 2.0, "pixels": 3}
    none, scaled = found["none"], found["median"]  # scaled: 10, 20, 60
    assert none["abs_rel"] == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert none["sq_rel"] == pytest.approx((25 / 10 + 100 / 20 + 100 / 40) / 3)
    assert none["rmse"] == pytest.approx(math.sqrt((25 + 100 + 100) / 3))
    assert none["rmse_log"] == pytest.approx(math.sqrt((2 * math.log(2) ** 2 + math.log(4 / 3) ** 2) / 3))
    assert (none["delta1"], none["delta2"], none["delta3"]) == (0, pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert scaled["abs_rel"] == pytest.approx(0.5 / 3)
    assert scaled["rmse"] == pytest.approx(20 / math.sqrt(3))
    assert (scaled["delta1"], scaled["delta2"], scaled["delta3"]) == (pytest.approx(2 / 3), 1, 1)  # 60 / 40 < 1.25^2


def test_disparity_alignment_by_hand() -> None:
    # Predicted disparities 1, 2, 3 against true 0.1, 0.2, 0.6: slope 0.25, mean 0.3, so 0.05, 0.3, 0.55.
    fitted = fit_disparity(torch.tensor([1.0, 2, 3]).double(), torch.tensor([0.1, 0.2, 0.6]).double())
    np.testing.assert_allclose(fitted.numpy(), [0.05, 0.3, 0.55])
    found = scored(t([[1, 1 / 2, 1 / 3]]), t([[10, 5, 1 / 0.6]]))
    expected = (abs(20 - 10) / 10 + abs(1 / 0.3 - 5) / 5 + abs(1 / 0.55 - 1 / 0.6) * 0.6) / 3
    assert found["scale_shift"]["abs_rel"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_oracle(seed: int) -> None:
    prediction, truth = scene(seed)
    found, expected = scored(prediction, truth), oracle(prediction.numpy(), truth.numpy())
    for how in ALIGNMENTS:
        np.testing.assert_allclose([found[how][error] for error in ERRORS], expected[how], rtol=1e-9)
    assert found["none"]["abs_rel"] > 0.8
    assert 0.1 < found["median"]["abs_rel"] < 0.4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_median_scaling_forgives_the_scale_and_nothing_else_does(seed: int, factor: float) -> None:
    prediction, truth = scene(seed, (6, 10))
    prediction, truth = prediction.double(), truth.double()
    before, after = scored(prediction, truth), scored(factor * prediction, truth)
    assert after["image"]["scale"] == pytest.approx(before["image"]["scale"] / factor, rel=1e-12)
    for error in ERRORS:
        assert after["median"][error] == pytest.approx(before["median"][error], rel=1e-9)
        assert after["scale_shift"][error] == pytest.approx(before["scale_shift"][error], rel=1e-6)
    if not 0.9 < factor < 1.1:
        assert after["none"]["abs_rel"] != pytest.approx(before["none"]["abs_rel"], rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(0, 1))
def test_disparity_alignment_forgives_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    truth = scene(seed, (6, 10))[1].double()
    disparity = torch.where(truth > 0, scale / truth.clamp(min=1e-9) + shift, 1)
    found = scored(1 / disparity, truth)
    assert found["scale_shift"]["abs_rel"] == pytest.approx(0, abs=1e-9)
    assert found["scale_shift"]["delta1"] == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_perfect_prediction_has_no_error(seed: int) -> None:
    truth = scene(seed, (6, 10))[1]
    found = scored(torch.where(truth > 0, truth, 1.0), truth)
    assert found["image"]["scale"] == 1
    for how in ALIGNMENTS:
        assert [found[how][error] for error in ERRORS] == pytest.approx([0, 0, 0, 0, 1, 1, 1], abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 6))
def test_order_and_split_over_ranks_do_not_change_a_bit(order: list[int], cut: int) -> None:
    def total(indices: list[int]) -> DepthScores:
        scores = DepthScores()
        for i in indices:
            scores.update(f"image {i}", *scene(i, (7, 9)))
        return scores

    first, second = total(order[:cut]), total([*order[cut:], order[0]])  # one image is seen by both
    first.images |= second.images  # as `all_reduce` does
    assert first.result() == total(list(range(6))).result()


def test_the_mean_is_over_images_not_pixels() -> None:
    scores = DepthScores()
    scores.update("one pixel", t([[20.0]]), t([[10.0]]))
    scores.update("four pixels", t([[10.0, 10, 10, 10]]), t([[10.0, 10, 10, 10]]))
    result = scores.result()
    assert result["none"]["abs_rel"] == 0.5
    assert result["median"]["abs_rel"] == 0
    assert (result["images"], result["pixels"]) == (2, 5)
    assert result["scale_median"] == 0.75  # of 0.5 and 1
    assert result["scale_std"] == pytest.approx(np.std([0.5 / 0.75, 1 / 0.75]))


def test_predictions_are_clamped_to_the_range_after_alignment() -> None:
    found = scored(t([[1000.0, 1e-6]]), t([[40.0, 10.0]]), DepthProtocol(min_depth=5, max_depth=80))
    assert found["none"]["abs_rel"] == pytest.approx((40 / 40 + 5 / 10) / 2)


def test_a_crop_leaves_out_the_rest() -> None:
    assert crop_window("garg", (375, 1242)) == (153, 371, 44, 1197)
    assert crop_window("eigen", (375, 1242)) == (124, 342, 44, 1197)
    truth = torch.full((100, 200), 10.0)
    prediction = truth.clone()
    prediction[:40] = 20
    assert scored(prediction, truth)["none"]["abs_rel"] == pytest.approx(0.4)
    assert scored(prediction, truth, DepthProtocol(crop="garg"))["none"]["abs_rel"] == 0
    eigen = scored(prediction, truth, DepthProtocol(crop="eigen"))
    assert eigen["none"]["abs_rel"] == pytest.approx((40 - 33) / (91 - 33))
    assert eigen["image"]["pixels"] == (91 - 33) * (192 - 7)


@pytest.mark.parametrize("values", [[3.0], [1, 2], [5, 1, 3], [4, 1, 3, 2], [2, 2, 2, 9]])
def test_the_median_is_that_of_numpy(values: list[float]) -> None:
    assert median(torch.tensor(values).double()).item() == np.median(values)


def test_flat_predictions_give_numbers() -> None:
    truth = t([[5.0, 10, 20, 40]])
    found = scored(torch.full((1, 4), 0.3), truth)
    assert found["median"]["abs_rel"] == pytest.approx(np.mean(np.abs(15 - truth.numpy()) / truth.numpy()))
    middle = 1 / (1 / truth.double()).mean().item()
    assert found["scale_shift"]["rmse"] == pytest.approx(math.sqrt(np.mean((truth.numpy() - middle) ** 2)))
    assert scored(torch.full((1, 1), 0.3), t([[5.0]]))["scale_shift"]["rmse"] == pytest.approx(0)


def test_images_without_truth_count_nowhere() -> None:
    scores = DepthScores()
    assert scores.update("a", t([[1.0, math.nan]]), t([[0.0, math.nan]])) is None
    result = scores.result()
    assert result["median"]["abs_rel"] is result["scale_median"] is result["scale_std"] is None
    assert (result["images"], result["images_without_truth"]) == (0, 1)
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_prediction_that_is_no_depth_is_an_error_where_it_counts(bad: float) -> None:
    with pytest.raises(FathomError, match="img: the predicted depth is not positive and finite at 1 pixels"):
        DepthScores().update("img", t([[bad, 1.0, bad]]), t([[10.0, 10, 0]]))


def test_what_does_not_fit_is_refused() -> None:
    words = r"a: a predicted depth of \(2, 2\) pixels for a truth of \(2, 3\)"
    with unchecked(), pytest.raises(FathomError, match=words):
        DepthScores().update("a", torch.ones(2, 2), torch.ones(2, 3))
    with pytest.raises(FathomError, match="0 < min_depth < max_depth"):
        DepthProtocol(min_depth=0)
    with unchecked(), pytest.raises(FathomError, match="no crop 'gorg'; there is: none, garg, eigen"):
        DepthProtocol(crop="gorg")  # type: ignore[arg-type]


def test_result_is_json_and_its_keys_are_explained() -> None:
    scores = DepthScores()
    for i in range(3):
        scores.update(str(i), *scene(i))
    result = json.loads(json.dumps(scores.result(), allow_nan=False))
    assert {*result, *ERRORS} == MEANING.keys()
    expected = np.mean([scores.images[str(i)]["median"]["rmse"] for i in range(3)])
    assert result["median"]["rmse"] == pytest.approx(expected)
    assert result["scale_median"] == pytest.approx(10, rel=0.1)
    assert 0 < result["scale_std"] < 0.1


def test_all_ranks_hold_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(found: list[object], mine: object) -> None:
        other = DepthScores()
        other.update("1", *scene(1))
        found[:] = [mine, [(other.images, other.without_truth)]]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    scores, expected = DepthScores(), DepthScores()
    scores.update("0", *scene(0))
    scores.all_reduce()
    for i in (1, 0):
        expected.update(str(i), *scene(i))
    assert scores.result() == expected.result()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_gives_the_same_scores() -> None:
    prediction, truth = scene(0, (200, 300))
    here, there = scored(prediction, truth), scored(prediction.cuda(), truth.cuda())
    for how in ALIGNMENTS:
        assert there[how] == pytest.approx(here[how], rel=1e-9)
