"""Training in shards (FSDP) is training by DDP, and resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from fathomseg.engine import sharding
from fathomseg.errors import FathomError
from fathomseg.stages import train
from tests.stages import shards, tiny_semi
from tests.stages.runs import metrics, nearly_the_same_run, same_run

NETWORK = {
    "encoder": tiny_semi.ENCODER,
    "tasks": {"segmentation": {"decoder": {"name": "fpn", "channels": 8}, "dropout": 0.2}},
    "norm": "frozen",
}
SETTINGS = tiny_semi.settings(
    network=NETWORK,
    data={**tiny_semi.STREETS, "val_clips": 1, "frames": 5},  # 5 images to score: 3 and 2
    train={**tiny_semi.LOOP, "batch": 4},
    evaluation={"report": False, "every": 2},
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(SETTINGS))
    ranks.launched(folder, 240, shards.__file__)
    return folder


@pytest.mark.long
def test_losses_and_weights_are_those_of_ddp(trained: Path) -> None:
    nearly_the_same_run(trained / "ddp", trained / "fsdp")


@pytest.mark.long
def test_it_resumes_bit_for_bit(trained: Path) -> None:
    same_run(trained / "fsdp", trained / "resumed")


@pytest.mark.long
def test_its_checkpoint_is_that_of_a_training_without_shards(trained: Path, tmp_path: Path) -> None:
    states = [torch.load(trained / name / "checkpoint.pt", weights_only=True) for name in ("ddp", "fsdp")]
    for one, other in zip(*(tensors(state) for state in states), strict=True):
        assert type(other) is torch.Tensor
        assert other.shape == one.shape
    shutil.copytree(trained / "half", tmp_path / "half")
    train.trained(None, [], None, tmp_path / "half")  # one process goes on
    assert metrics(tmp_path / "half")[-1]["step"] == metrics(trained / "fsdp")[-1]["step"]


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in tensors(value)]
    return [state] if isinstance(state, torch.Tensor) else []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fsdp_version": 1}, "fsdp_version: 2"),
        ({"activation_checkpointing": True}, "fsdp_activation_checkpointing: false"),
        ({"transformer_cls_names_to_wrap": ["Block"]}, r"cls_to_wrap of: BatchNorm2d, Conv2d"),
    ],
)
def test_what_it_cannot_do_is_told(settings: dict[str, Any], words: str) -> None:
    usual = {"fsdp_version": 2, "activation_checkpointing": False, "cpu_offload": None}
    plugin = SimpleNamespace(**{**usual, "transformer_cls_names_to_wrap": None, **settings})
    step: Any = SimpleNamespace(modules=lambda: [torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1)])
    with pytest.raises(FathomError, match=words):
        sharding.plan(plugin, step)
