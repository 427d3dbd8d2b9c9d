"""Links, directions, encoders and towers that recipes of synchronised networks name, and the network as published,
built from the recipe, trained for two steps of noise."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from fathomseg.config import load
from fathomseg.engine.step import Step
from fathomseg.models.links.encoder_links import EncoderLinks
from fathomseg.training.recipe import Recipe
from tests.objectives.scenes import KNOWN, at, frame
from tests.objectives.steps import copied, make_batch, make_step, moved, train

FOLDER = Path(__file__).resolve().parent.parent / "recipes" / "sync"
SIZE = (64, 96)
BOTH = {"depth_to_segmentation", "segmentation_to_depth"}
SMALL = {
    "efficientnet-zero-conv": ["network.encoder={model: test_efficientnet, pretrained: none}"],
    "unet-zero-conv": ["network.encoder.channels=4"],
}
UNETS = ("network.encoder", "network.tasks.segmentation.decoder", "network.tasks.depth.decoder")

PAIR = "efficientnet-zero-conv"
LINKS = ("name=plain", "name=cross_stitch", "name=nddr", *(f"direction={way}" for way in sorted(BOTH)))
CASES: dict[str, tuple[str, list[str]]] = {
    **{link: (PAIR, [f"network.links.{link}"]) for link in (*LINKS, "detach=true", "start_step=1")},
    **{net: (PAIR, [f"network.encoder.model={net}"]) for net in ("test_resnet", "test_convnext")},
    "U-Net of the other blocks": (
        "unet-zero-conv",
        [f"{where}.blocks={{kind: resnet, groups: 2, heads: 2, head_width: 4}}" for where in UNETS],
    ),
}


def step_of(name: str, *settings: str, **known: Any) -> Step:
    recipe = load(Recipe, FOLDER / f"{name}.yaml", [*SMALL.get(name, []), *settings])
    objectives = {key: objective.model_dump() for key, objective in recipe.objectives.items()}
    return make_step(recipe.network.model_dump(), objectives, **known).train()


@pytest.mark.parametrize(("name", "settings"), CASES.values(), ids=CASES)
def test_two_networks_and_every_link_learn_in_two_steps(name: str, settings: list[str]) -> None:
    step = step_of(name, *settings)
    links = step.network.links
    assert isinstance(links, EncoderLinks)
    wanted = {way for way in BOTH if settings == [f"network.links.direction={way}"]} or BOTH
    assert {name.partition(".")[0] for name in links.names} == wanted
    # The norms of a decoder take away what a bias adds: its gradient is rounding.
    own = {f"network.links.{name}" for name, _ in links.named_parameters() if not name.endswith("bias")}
    before, after = copied(step), []
    for number in range(2):
        step.begin_step(number)
        batches = {"labelled": make_batch(number, "label", size=SIZE), "everything": make_batch(9, "depth", size=SIZE)}
        train(step, batches)
        after.append(moved(step, before))
    assert own <= after[1]
    assert not own & after[0] or "network.links.start_step=1" not in settings, "absent until their step"
    for task in ("depth", "segmentation"):
        assert any(name.startswith(f"network.encoders.{task}.") for name in after[1])
        assert any(name.startswith(f"network.decoders.{task}.") for name in after[1])


@pytest.mark.parametrize("towers", ["shared", "two"])
def test_the_scene_model_learns_with_one_tower_and_with_two(towers: str) -> None:
    step = step_of("scene-streets", f"objectives.contrastive.encoder.towers={towers}", **KNOWN)
    before = copied(step)
    for number in range(2):
        pairs = at(make_batch(number, "label", "depth", count=4), [frame(clip, 0) for clip in range(4)])
        train(step, {"labelled": pairs})
    learned = {name.split(".")[4] for name in moved(step, before) if ".embeddings." in name}
    assert learned == ({"depth"} if towers == "shared" else {"depth", "segmentation"})


def test_the_command_for_the_network_as_published_gives_its_size() -> None:
    """56.35 million parameters for each task, with a last convolution to three channels; the small one has a 30th."""
    lines = [line.lstrip("# ") for line in (FOLDER / "unet-zero-conv.yaml").read_text().splitlines()]
    small, published = (shlex.split(line)[3:] for line in lines if line.startswith("fathom train "))
    counts = []
    for settings in (small, published):
        with torch.device("meta"):
            network = load(Recipe, FOLDER / "unet-zero-conv.yaml", settings).network.build(3)
        for task in ("segmentation", "depth"):
            parts = (network.encoders[task], network.decoders[task])
            counts.append(sum(p.numel() for part in parts for p in part.parameters()))
    assert counts[2:] == 2 * [56_352_851 - (3 * 64 + 3)]
    assert max(counts[:2]) < counts[2] / 30
