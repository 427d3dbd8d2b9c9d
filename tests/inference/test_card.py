"""Models on disk: what was saved comes back, and damaged, foreign and missing files are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fathomseg.config import validate
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import (
    CARD,
    POSE,
    WEIGHTS,
    ModelCard,
    as_weights,
    load_card,
    load_model,
    load_pose,
    save_card,
)
from fathomseg.inference.export import narrowed
from fathomseg.inference.onnx import CARD_KEYS
from fathomseg.losses.segmentation import balancing_weights
from fathomseg.training.recipe import Recipe
from fathomseg.training.saving import _card
from fathomseg.training.streams import Streams
from fathomseg.types import ClassList
from tests.objectives.steps import PLAIN, make_step
from tests.stages.saved_run import build, network_of, save_run

BOTH = ("segmentation", "depth")
CLASSES = ClassList(("road", "car"), ((0, 0, 0), (255, 0, 0)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"), CLASSES, {}, (32, 64), BOTH, pose=True)


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(saved, tmp_path / "run")


def image(seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_network_and_its_motion_come_back(saved: Path) -> None:
    card, network = load_model(saved)
    assert (card.size, card.class_list, list(card.tasks)) == ((32, 64), CLASSES, list(BOTH))
    assert not network.training
    found, expected = network(image()), build(network_of(BOTH), 2, seed=0)(image())
    torch.testing.assert_close(found["segmentation"], expected["segmentation"])
    torch.testing.assert_close(found["depth"], expected["depth"])
    assert not torch.equal(load_model(saved, WEIGHTS["last"])[1](image())["segmentation"], found["segmentation"])
    motion = load_pose(saved)
    motion.motion.weight.mul_(1e4)  # what is seen passes through a random encoder, of which next to nothing is left
    one, two, K = image(0), image(1), torch.eye(3)[None]
    there, back = torch.cat(motion(one, two, K)), torch.cat(motion(two, one, K))
    assert torch.isfinite(there).all()
    assert not torch.equal(there, back)
    assert {path.name for path in saved.iterdir()} == {CARD, POSE, "config.yaml", *WEIGHTS.values()}
    assert json.loads((saved / CARD).read_text())["format"] == 1


def test_a_network_of_depth_needs_no_classes_and_one_that_segments_does(tmp_path: Path) -> None:
    depth = save_run(tmp_path, None, {}, tasks=("depth",))
    assert load_card(depth).known_classes is None
    assert load_card(save_run(tmp_path / "both", CLASSES, {}, tasks=BOTH)).known_classes == CLASSES
    with pytest.raises(
        FathomError, match=r"no network for camera motion\. Give a run with the objective `photometric`"
    ):
        load_pose(depth)
    with pytest.raises(ConfigError, match="2 to 254 classes"):
        validate(ModelCard, {"network": {"tasks": {"segmentation": {}}}, "size": [4, 4]})
    with pytest.raises(ConfigError, match="3 class names but 2 colours"):
        validate(ModelCard, {"network": {}, "classes": list("abc"), "colours": [[0, 0, 0]] * 2, "size": [4, 4]})


def test_missing_files_say_what_is_there(run: Path, tmp_path: Path) -> None:
    (run / WEIGHTS["last"]).unlink()
    there = r"weight files in it: model\.safetensors, pose\.safetensors"
    with pytest.raises(FathomError, match=rf"no weights last\.safetensors; {there}"):
        load_model(run, WEIGHTS["last"])
    (run / POSE).unlink()
    with pytest.raises(FathomError, match=r"no weights pose\.safetensors"):
        load_pose(run)
    with pytest.raises(FathomError, match=r"^.* holds no model\. Give a folder"):
        load_card(tmp_path)
    assert as_weights("last") == "last"
    with pytest.raises(FathomError, match="no weights 'best'; choose from ema, last"):
        as_weights("best")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not a model of a format"),
        ('{"format": 2}', "not a model of a format"),
        ('{"format": 1}', "size: is required"),
    ],
)
def test_foreign_cards_are_refused(run: Path, text: str, message: str) -> None:
    (run / CARD).write_text(text)
    with pytest.raises(FathomError, match=message):
        load_model(run)


def test_damaged_or_foreign_weights_are_refused(saved: Path, run: Path) -> None:
    path = run / WEIGHTS["ema"]
    state, whole = load_file(saved / path.name), path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FathomError, match="damaged or no safetensors"):
        load_model(run)
    state["heads.segmentation.1.bias"] = torch.zeros(7)
    state["extra"] = state.pop("heads.segmentation.1.weight")
    save_file(state, path)
    with pytest.raises(
        FathomError, match=r"(?s)3 tensors differ.*extra: not part.*bias: is \[7\], should be \[2\].*missing"
    ):
        load_model(run)
    path.replace(run / POSE)
    with pytest.raises(FathomError, match="does not hold the weights of the network"):
        load_pose(run)


def test_class_weights_of_a_training_are_in_its_card(tmp_path: Path) -> None:
    objectives = {"supervised": {"losses": {"segmentation": {"balance": 0.5}}}}
    recipe = validate(
        Recipe, {"data": {"name": "streets"}, "size": [32, 64], "network": PLAIN, "objectives": objectives}
    )
    pixels = torch.arange(100, 100 + len(Streets().classes))
    step = make_step(PLAIN, objectives, pixels=pixels.tolist())
    card = _card(recipe, step, Streams({}, {}))
    assert card.class_weights == pytest.approx(balancing_weights(pixels, 0.5).tolist())
    save_card(tmp_path, card)
    assert load_card(tmp_path) == card
    assert narrowed(card, {}).class_weights == ()
    assert "class_weights" in CARD_KEYS, "an exported teacher has them, too"
