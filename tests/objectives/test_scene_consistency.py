"""Predictions that must look like one scene: which gradients flow, how the weight grows, and what is never touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fathomseg.engine.step import Step
from fathomseg.errors import FathomError
from fathomseg.geometry.camera import inverse_depth
from fathomseg.models.saved import save_weights
from fathomseg.models.scene.inputs import painted, palette
from fathomseg.models.scene.saved import SCENE, load_scene
from fathomseg.objectives.scene_consistency import SceneConsistencyObjective
from fathomseg.types import ClassList
from tests.objectives.scenes import LIST, save_scene_run
from tests.objectives.steps import ENCODER, FPN, UNET, copied, make_batch, make_step, moved, train

APART = {
    "encoder": ENCODER,
    "tasks": {"segmentation": {"decoder": FPN}, "depth": {"encoder": "own", "decoder": UNET}},
}
METRIC = {
    "encoder": ENCODER,
    "tasks": {"segmentation": {"decoder": FPN}, "depth": {"decoder": FPN, "output": "metric", "min_depth": 1.0}},
}
BATCH = {"labelled": make_batch(1, "label", "depth")}
BOTH = {"losses": {"segmentation": {}, "depth": {}}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scene_run(tmp_path_factory.mktemp("runs") / "scene")


def step(run: Path, network: dict[str, Any] = APART, classes: ClassList = LIST, **settings: Any) -> Step:
    own = {"run": str(run), "warmup_steps": 0, **settings}
    return make_step(network, {"supervised": BOTH, "scene_consistency": own}, classes=classes)


def objective(step: Step) -> SceneConsistencyObjective:
    found = step.objectives["scene_consistency"]
    assert isinstance(found, SceneConsistencyObjective)
    return found


@pytest.mark.parametrize("network", [APART, METRIC], ids=["disparity", "metric"])
def test_it_is_one_minus_the_cosine_of_both_renderings(run: Path, network: dict[str, Any]) -> None:
    made = step(run, network).eval()
    term = made(BATCH).terms["scene_consistency"]
    with torch.no_grad():
        outputs = made.network(BATCH["labelled"].image.float() / 255)
        near, far = (0.1, 100.0) if network is APART else (1.0, 100.0)
        if network is APART:
            inverse = inverse_depth(outputs["depth"][0], near, far)
        else:
            inverse = 1 / outputs["depth"][0].abs().clamp(near, far)
        _, scene = load_scene(run)
        colours = palette(LIST.colours)
        one, other = scene(inverse, painted(outputs["segmentation"].softmax(1), colours))
    expected = (1 - torch.nn.functional.cosine_similarity(one, other)).sum()
    assert term.sum.item() == pytest.approx(expected.item(), rel=1e-4)
    assert (term.count.item(), term.weight) == (2, 0.1)


@pytest.mark.parametrize(
    ("settings", "reached"),
    [
        ({}, {"segmentation", "depth"}),
        ({"depth_weight": 0.0}, {"segmentation"}),
        ({"segmentation_weight": 0.0}, {"depth"}),
    ],
)
def test_its_gradient_reaches_both_tasks_or_one_and_never_the_scene_model(
    run: Path, settings: dict[str, float], reached: set[str]
) -> None:
    made = step(run, **settings).train()
    made(BATCH).terms["scene_consistency"].sum.backward()
    with_gradient = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    heads = {name.split(".")[2] for name in with_gradient if name.startswith("network.heads.")}
    assert heads == reached
    encoders = {name.split(".")[2] for name in with_gradient if name.startswith("network.encoders.")}
    assert encoders == {{"segmentation": "shared"}.get(task, task) for task in reached}
    assert all(name.startswith("network.") for name in with_gradient)
    assert all(p.grad is None for p in objective(made).frozen.model.parameters())


def test_weights_of_the_tasks_scale_the_gradient_and_not_the_value(run: Path) -> None:
    whole, part = step(run).train(), step(run, depth_weight=0.25).train()
    found = []
    for made in (whole, part):
        torch.manual_seed(0)
        term = made(BATCH).terms["scene_consistency"]
        term.sum.backward()
        gradients = {name: p.grad for name, p in made.named_parameters() if ".heads." in name and p.grad is not None}
        found.append((term.sum.item(), gradients))
    assert found[0][0] == found[1][0]
    for name, gradient in found[0][1].items():
        factor = 0.25 if "heads.depth" in name else 1.0
        torch.testing.assert_close(found[1][1][name], factor * gradient, rtol=1e-3, atol=1e-8)


def test_a_step_brings_the_predictions_together(run: Path) -> None:
    made = step(run, weight=100.0).train()
    before = made.eval()(BATCH).terms["scene_consistency"].sum.item()
    groups = [p for p in made.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(groups, lr=3e-3)
    for _ in range(8):
        optimiser.zero_grad()
        made(BATCH).terms["scene_consistency"].sum.backward()
        optimiser.step()
    assert made(BATCH).terms["scene_consistency"].sum.item() < before


def test_the_weight_grows_linearly(run: Path) -> None:
    made = step(run, warmup_steps=4, weight=0.5)
    seen = []
    for number in range(6):
        seen.append(made(BATCH).terms["scene_consistency"].weight)
        made.after_step(number)
    assert seen == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert step(run, weight=0.5)(BATCH).terms["scene_consistency"].weight == 0.5


def test_the_scene_model_is_neither_trained_nor_saved_nor_averaged_but_moves_along(run: Path) -> None:
    made = step(run).train()
    model = objective(made).frozen.model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    names = {*made.state_dict(), *dict(made.named_parameters()), *dict(made.named_buffers())}
    assert not [name for name in names if "tower" in name]
    before, own = {k: v.clone() for k, v in model.state_dict().items()}, copied(made)
    train(made, BATCH)
    assert moved(made, own)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    made.to(torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_padding_is_shown_to_the_scene_model_as_unknown(run: Path) -> None:
    """Whatever is predicted there, it changes nothing."""
    made = step(run, METRIC).eval()
    batch = BATCH["labelled"]
    valid = torch.ones(len(batch), *batch.image.shape[2:], dtype=torch.bool)
    valid[:, :, 24:] = False
    padded = replace(batch, valid=valid)
    outputs = made.network(batch.image.float() / 255)
    found = []
    for value in (0.0, 3.0):
        changed = {name: [x[0].clone()] if isinstance(x, list) else x.clone() for name, x in outputs.items()}
        wide = changed["depth"][0].shape[3] // 2
        changed["depth"][0][..., wide:] += 10 * value
        changed["segmentation"][:, 0, :, changed["segmentation"].shape[3] // 2 :] += value
        found.append([objective(made)._losses(b, changed).terms[""].sum.item() for b in (padded, batch)])
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert abs(found[0][1] - found[1][1]) > 1e-6


UNDER_SKY = ClassList(("a", "b", "Sky", "d"), LIST.colours)


@pytest.fixture(scope="module")
def under_sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scene_run(tmp_path_factory.mktemp("runs") / "under-sky", UNDER_SKY)


def test_depth_predicted_in_the_sky_is_not_shown(run: Path, under_sky: Path) -> None:
    """True maps are 0 there."""
    sky, none = step(under_sky, METRIC, UNDER_SKY).eval(), step(run, METRIC).eval()
    batch = BATCH["labelled"]
    outputs = sky.network(batch.image.float() / 255)
    outputs["segmentation"][:, 2, :, outputs["segmentation"].shape[3] // 2 :] += 1e4  # probability 1 on the right
    found = []
    for value in (0.0, 30.0):
        depth = outputs["depth"][0].clone()
        depth[..., depth.shape[3] * 3 // 4 :] += value
        changed = {**outputs, "depth": [depth]}
        found.append([objective(one)._losses(batch, changed).terms[""].sum.item() for one in (sky, none)])
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-7)
    assert abs(found[0][1] - found[1][1]) > 1e-6


def test_depth_does_not_teach_where_the_sky_is(under_sky: Path) -> None:
    made = step(under_sky, classes=UNDER_SKY, segmentation_weight=0.0).train()
    made(BATCH).terms["scene_consistency"].sum.backward()
    heads = made.network.heads.named_parameters()
    assert {name.split(".")[0] for name, p in heads if p.grad is not None and p.grad.abs().sum() > 0} == {"depth"}


def test_another_scene_model_than_before_is_refused(run: Path, tmp_path: Path) -> None:
    made = step(run, warmup_steps=4)
    made.after_step(1)
    state = made.state_dict()
    again = step(run, warmup_steps=4)
    again.load_state_dict(state)
    assert objective(again).warmed(4) == pytest.approx(0.5)
    other = save_scene_run(tmp_path / "other")
    _, model = load_scene(other)
    save_weights(other / SCENE, {name: value + 1 for name, value in model.state_dict().items()})
    with pytest.raises(FathomError, match="is not the one this run began with"):
        step(other, warmup_steps=4).load_state_dict(state)


def test_other_classes_are_refused(run: Path) -> None:
    with pytest.raises(FathomError, match="knows 4 classes, which are not the 4 of this data: class 1 is b"):
        step(run, classes=ClassList(tuple("axcd"), LIST.colours))
