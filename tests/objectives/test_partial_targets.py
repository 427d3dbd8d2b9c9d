"""Batches in which only some samples, or none, have what an objective learns from: the others count nowhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fathomseg.engine.step import Step
from fathomseg.losses.segmentation import upsample
from fathomseg.types import Batch, StepResult
from tests.objectives.steps import ENCODER, POSE, SIZE, UNET, make_batch, make_step, weighed

TASKS = {"segmentation": {"decoder": UNET, "dropout": 0}, "depth": {"decoder": UNET}}
NETWORK = {"encoder": ENCODER, "tasks": TASKS, "links": {"name": "padnet"}, "norm": "frozen"}
OWN = {task: {**settings, "encoder": "own"} for task, settings in TASKS.items()}
LINKED = {**NETWORK, "tasks": OWN, "links": {"name": "plain"}}
DEPTH = {"encoder": ENCODER, "tasks": {"depth": {"decoder": UNET}}, "norm": "frozen"}
STILL = {"pose": {**POSE, "norm": "frozen"}, "stream": "labelled"}
EXTRA = {"below_horizon": 0.1, "scale": 0.1, "tie_breaker": 0.0}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "label": (NETWORK, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}, "label"),
    "depth": (NETWORK, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}, "depth"),
    "label, linked": (LINKED, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}, "label"),
    "depth, linked": (LINKED, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}, "depth"),
    "depth by l1": (DEPTH, {"supervised": {"losses": {"depth": {"error": "l1"}}}}, "depth"),
    "disparity": (DEPTH, {"supervised": {"losses": {"depth": {"target": "disparity", "error": "l1"}}}}, "disparity"),
    "frames": (DEPTH, {"photometric": {**STILL, "loss": EXTRA}}, "frames"),
    "frames, aligned": (DEPTH, {"photometric": {**STILL, "align": True, "loss": EXTRA}}, "frames"),
    "frames beside labels": (NETWORK, {"supervised": {}, "photometric": {**STILL, "loss": EXTRA}}, "frames"),
}
KINDS = {
    "label": ("label", "depth"),
    "depth": ("label", "depth"),
    "frames": ("label", "frames"),
    "disparity": ("disparity",),
}


def case(name: str) -> tuple[Step, str]:
    network, objectives, kind = CASES[name]
    return make_step(network, objectives).train(), kind


def batch(kind: str, having: list[int] | None = None) -> Batch:
    """Four samples, of which only these have the target."""
    names = ("frames", "camera") if kind == "frames" else (kind,)
    rows = {} if having is None else dict.fromkeys(names, having)
    return make_batch(1, *KINDS[kind], count=4, rows=rows)


def without(batch: Batch, *names: str) -> Batch:
    targets = {name: target for name, target in batch.targets.items() if name not in names}
    return Batch(batch.ids, batch.keys, batch.image, targets, {name: batch.present[name] for name in targets})


def learned(step: Step, batch: Batch) -> tuple[StepResult, dict[str, Tensor]]:
    """The result of a batch and the gradient of every parameter."""
    step.zero_grad()
    torch.manual_seed(0)
    result = step({"labelled": batch})
    weighed(result).backward()
    return result, {name: p.grad.clone() for name, p in step.named_parameters() if p.grad is not None}


def terms_of(result: StepResult, kind: str) -> dict[str, tuple[float, float]]:
    """Sums and counts of the terms that learn from a kind of target."""
    about = {"label": "segmentation", "depth": "depth", "disparity": "depth", "frames": "photometric"}[kind]
    return {name: (t.sum.item(), t.count.item()) for name, t in result.terms.items() if about in name}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_samples_that_have_it(name: str) -> None:
    step, kind = case(name)
    some = batch(kind, [0, 3])
    assert some.rows(kind) == [0, 3]
    (mixed, _), (part, _) = learned(step, some), learned(step, some.take([0, 3]))
    found, expected = terms_of(mixed, kind), terms_of(part, kind)
    assert found.keys() == expected.keys()
    assert all(count > 0 for _, count in expected.values())
    for term, (total, count) in expected.items():
        assert found[term] == (pytest.approx(total, rel=1e-4, abs=1e-6), count), term


@pytest.mark.parametrize("name", CASES)
def test_what_stands_in_the_rows_of_the_others_does_not_matter(name: str) -> None:
    """Were they to count, the whole batch would have another loss."""
    step, kind = case(name)
    (some, _), (whole, _) = learned(step, batch(kind, [0, 3])), learned(step, batch(kind))
    a, b = terms_of(some, kind), terms_of(whole, kind)
    assert all(a[term][1] < b[term][1] for term in a)


@pytest.mark.parametrize("missing", ["in no sample", "in no batch"])
@pytest.mark.parametrize("name", CASES)
def test_without_any_every_term_is_there_and_has_no_say(name: str, missing: str) -> None:
    """Terms, logs and gradients have the same names and the same order, or processes would wait for each other."""
    step, kind = case(name)
    whole = batch(kind)
    names = ("frames", "camera") if kind == "frames" else (kind,)
    none = batch(kind, []) if missing == "in no sample" else without(whole, *names)
    assert not none.has(kind)
    (usual, full), (empty, gradient) = learned(step, whole), learned(step, none)
    assert list(empty.terms) == list(usual.terms)
    assert list(empty.logs) == list(usual.logs)
    assert all(value == (0, 0) for value in terms_of(empty, kind).values())
    assert gradient.keys() == full.keys()
    others = terms_of(empty, kind).keys() != empty.terms.keys()
    if not others:
        assert all((g == 0).all() for g in gradient.values())
    else:
        head = "segmentation" if kind == "label" else "depth"
        assert all((g == 0).all() for name, g in gradient.items() if name.startswith(f"network.heads.{head}"))


def test_frames_of_labelled_images_teach_beside_the_labels_of_others() -> None:
    """Sample 0 has a label, sample 1 neighbours, sample 2 both, sample 3 neither."""
    step = make_step(NETWORK, {"supervised": {}, "photometric": {**STILL, "loss": EXTRA}}).train()
    rows = {"label": [0, 2], "frames": [1, 2], "camera": [1, 2]}
    data = make_batch(1, "label", "frames", count=4, rows=rows)
    result, _ = learned(step, data)
    labels, _ = learned(step, data.take([0, 2]))
    frames, _ = learned(step, data.take([1, 2]))
    for kind, part in (("label", labels), ("frames", frames)):
        for name, (total, count) in terms_of(part, kind).items():
            assert terms_of(result, kind)[name] == (pytest.approx(total, rel=1e-4, abs=1e-6), count)


def test_truth_takes_the_place_of_pseudo_labels_on_the_samples_that_have_it() -> None:
    bare = {part: {"name": "none"} for part in ("weighting", "mixing", "augment")}
    network = {"encoder": ENCODER, "tasks": {"segmentation": {"decoder": UNET, "dropout": 0}}}
    step = make_step(network, {"supervised": {}, "pseudo_labels": bare}).eval()
    some = make_batch(2, "label", rows={"label": [1]})
    with torch.no_grad():
        logits = upsample(step.network(some.image / 255)["segmentation"], SIZE)
        wanted = torch.stack([logits[0].argmax(0), some.targets["label"][1].long()])
        term = step({"labelled": make_batch(1, "label"), "unlabelled": some}).terms["pseudo_labels"]
    assert term.sum.item() == pytest.approx(F.cross_entropy(logits, wanted, reduction="sum").item(), rel=1e-5)
    assert term.count == 2 * 32 * 48
