"""No step waits for the device: it runs where there is nothing to read, and no copy to it is waited for.

On PyTorch's meta device whatever needs a value on the host fails (see tests/mixing/test_no_waiting.py). What is copied
to a GPU from ordinary memory waits, too, unless it says `non_blocking`: `new_tensor` and `torch.tensor` never do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fathomseg.data.colour import ColourJitter
from fathomseg.engine.step import Step
from fathomseg.types import Batch, ClassList
from tests.objectives.scenes import ENCODER as SCENE
from tests.objectives.scenes import KNOWN, NO_NETWORK, at, frame, save_scene_run
from tests.objectives.steps import DEPTH, ENCODER, FPN, JOINT, PLAIN, POSE, UNET, make_batch, make_step, weighed

LIST = ClassList(("road", "building", "sky", "car"), ((0, 0, 0),) * 4)
BLUR = {"name": "colours", "greyscale": 0.5, "blur": {"probability": 1.0}}
LOSS = {"scale": 0.1, "below_horizon": 0.1, "far": 0.1, "mask_out_of_view": True}
GUIDES: dict[str, Any] = {name: {} for name in ("ranking", "smoothness", "triplet", "sky", "contact")}
ALL_TASKS = {
    "encoder": ENCODER,
    "tasks": {"segmentation": {"decoder": FPN}, "depth": {"decoder": UNET}, "normals": {"decoder": FPN}},
}

Made = tuple[Step, Mapping[str, Batch]]


class Waiting(TorchFunctionMode):
    """Raises where a copy from the host to another device is waited for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        off_host = isinstance(found, Tensor) and found.device.type != "cpu"
        if off_host and (func in (Tensor.new_tensor, torch.tensor, torch.as_tensor) or _copied(func, args, kwargs)):
            raise AssertionError(f"{func.__name__} copies {tuple(found.shape)} from the host and waits")
        if off_host and func is Tensor.__getitem__ and _listed(args[1]):
            raise AssertionError(f"indexing {tuple(args[0].shape)} by a list copies it from the host and waits")
        return found


def _listed(index: Any) -> bool:
    return any(isinstance(one, list) for one in (index if isinstance(index, tuple) else (index,)))


def _copied(func: Any, args: Any, kwargs: Any) -> bool:
    from_host = func in (Tensor.to, Tensor.cuda) and args[0].device.type == "cpu"
    return from_host and not (kwargs or {}).get("non_blocking", False)


def labelled(losses: Mapping[str, Any]) -> Made:
    """Supervised losses of labels, depths and normals."""
    tasks: dict[str, Any] = {"segmentation": losses, "depth": {}, "normals": {}}
    return make_step(ALL_TASKS, {"supervised": {"losses": tasks}}), {"labelled": batch(1, "label", "depth", "normals")}


def pseudo(network: Mapping[str, Any] = PLAIN, **settings: Any) -> Made:
    """Pseudo-labels beside labels, in random colours."""
    objectives = {"supervised": {}, "pseudo_labels": {"augment": BLUR, **settings}}
    if network is JOINT:
        objectives["supervised"] = {"losses": {"segmentation": {}, "depth": {}}}
    step = make_step(network, objectives, colours={"labelled": ColourJitter()})
    return step, {"labelled": batch(1, "label", "depth"), "unlabelled": batch(2, "label", "view", rows={"label": [0]})}


def video(**settings: Any) -> Made:
    """Depth from video."""
    return make_step(DEPTH, {"photometric": {"pose": POSE, **settings}}, classes=LIST), {"clips": batch(3, "frames")}


def guided() -> Made:
    """Everything classes say about depth."""
    objectives = {"photometric": {"pose": POSE}, "semantic_guidance": {"losses": GUIDES, "weigh": True}}
    return make_step(DEPTH, objectives, classes=LIST), {"clips": batch(3, "frames", "label", rows={"label": [1]})}


def held(**settings: Any) -> Made:
    """Features that stay near ImageNet's."""
    step = make_step(PLAIN, {"supervised": {}, "feature_distance": {"stream": "labelled", **settings}}, classes=LIST)
    return step, {"labelled": batch(1, "label")}


def scene_model() -> Made:
    """A scene model of depth maps and segmentations."""
    step = make_step(NO_NETWORK, {"contrastive": {"encoder": SCENE}}, **KNOWN)
    return step, {"labelled": at(batch(1, "label", "depth"), [frame(0, 0), frame(1, 0)])}


def consistent(run: Path) -> Made:
    """Two predictions that must look like one scene."""
    both = {"losses": {"segmentation": {}, "depth": {}}}
    own = {"run": str(run), "warmup_steps": 0}
    step = make_step(JOINT, {"supervised": both, "scene_consistency": own}, classes=KNOWN["classes"])
    return step, {"labelled": batch(1, "label", "depth")}


def batch(seed: int, *kinds: str, rows: Mapping[str, list[int]] | None = None) -> Batch:
    """Noise; with "view" the whole images of which these are views."""
    made = make_batch(seed, *(kind for kind in kinds if kind != "view"), rows=rows)
    if "view" not in kinds:
        return made
    view = torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.5, -0.2]]).expand(len(made), 2, 3)
    return replace(made, targets={**made.targets, "whole": made.image, "view": view})


CASES: dict[str, Callable[[Path], Made]] = {
    "ohem": lambda _: labelled({"ohem": {"threshold": 0.6}}),
    "annealing": lambda _: labelled({"annealing": {}, "balance": 0.5}),
    "dice": lambda _: labelled({"region": {"name": "dice"}}),
    "pseudo-labels": lambda _: pseudo(masking={}, ego_vehicle={"bottom": 0.2}, normalize_by="all"),
    "policies": lambda _: pseudo(mixing={"name": "none"}, target={"name": "soft"}, augment={"name": "randaugment"}),
    "two-views": lambda _: pseudo(views=2, complementary_dropout=True, mixing={"name": "cutmix"}),
    "depthmix": lambda _: pseudo(JOINT, mixing={"name": "depthmix"}, weighting={"name": "fraction", "per": "batch"}),
    "video": lambda _: video(loss=LOSS),
    "aligned": lambda _: video(align=True, moving={"name": "residual_flow"}),
    "guided": lambda _: guided(),
    "features": lambda _: held(),
    "features-of-things": lambda _: held(classes=["car"]),
    "scene-model": lambda _: scene_model(),
    "consistent": consistent,
}
QUICK = ("pseudo-labels", "depthmix")
EVERY = pytest.mark.parametrize("case", [pytest.param(c, marks=[] if c in QUICK else pytest.mark.slow) for c in CASES])


@pytest.fixture(scope="session")
def scene_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scene_run(tmp_path_factory.mktemp("runs") / "scene")


@EVERY
def test_a_step(case: str, scene_run: Path) -> None:
    step, batches = CASES[case](scene_run)
    step, moved = step.to("meta"), {name: one.to("meta") for name, one in batches.items()}
    with Waiting():
        loss = weighed(step(moved))
        step.counts(moved)
    loss.backward()
    assert loss.is_meta


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_a_step_on_a_gpu(case: str, scene_run: Path) -> None:
    """In bfloat16, as a training without settings is, with PyTorch's own alarm for everything that is waited for."""
    step, batches = CASES[case](scene_run)
    step, moved = step.to("cuda"), {name: one.to("cuda") for name, one in batches.items()}
    for debug in ("default", "error"):  # what is set up once may wait
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(debug)
        try:
            with torch.autocast("cuda", torch.bfloat16):
                loss = weighed(step(moved))
            loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(loss)


def test_this_test_can_fail() -> None:
    x = torch.empty(2, device="meta")
    for waiting in (
        lambda: x.new_tensor([1.0, 2.0]),
        lambda: x.new_tensor(1.0),
        lambda: torch.tensor([1.0], device="meta"),
        lambda: torch.ones(2).to("meta"),
        lambda: torch.ones(2).to(x),
    ):
        with Waiting(), pytest.raises(AssertionError, match="waits"):
            waiting()
    with Waiting():
        torch.ones(2).to("meta", non_blocking=True)
        x.new_full((), 1.0)
        torch.tensor([1.0])
