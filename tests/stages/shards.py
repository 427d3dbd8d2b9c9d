"""What each process of test_shards.py runs: one recipe by DDP, in shards, and in shards with an interruption.

Accelerate shards on GPUs alone, so its state is changed here as it would be there; all else is what a user runs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import accelerate
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from fathomseg.engine import loop
from fathomseg.engine.guard import Interrupted
from fathomseg.stages import train as stage

BLOCK = "BasicBlock"


def main(folder: Path) -> None:
    """Train into folders of `folder`, which holds `recipe.yaml`."""
    recipe = folder / "recipe.yaml"
    stage.trained(recipe, [], folder / "ddp", None)
    with patch.object(stage, "accelerator", in_shards):
        stage.trained(recipe, [], folder / "fsdp", None)
        with patch.object(loop.Trainer, "save", interrupted(loop.Trainer.save, 4)):
            try:
                stage.trained(recipe, [], folder / "resumed", None)
            except Interrupted:
                pass
            else:
                raise AssertionError("it was not interrupted")
        if os.environ["RANK"] == "0":
            shutil.copytree(folder / "resumed", folder / "half")
        stage.trained(None, [], None, folder / "resumed")


def in_shards(config: loop.Loop) -> accelerate.Accelerator:
    """What a GPU would be given, on gloo."""
    found = loop.accelerator(config)
    found.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=[BLOCK]
    )
    for state in (PartialState._shared_state, AcceleratorState._shared_state):
        state["distributed_type"] = DistributedType.FSDP
    return found


def interrupted(save: Callable[[loop.Trainer], None], step: int) -> Any:
    """`save`, after which this step is the last."""

    def saved(trainer: loop.Trainer) -> None:
        save(trainer)
        if trainer.step_done == step:
            raise Interrupted(143)

    return saved


if __name__ == "__main__":
    main(Path(sys.argv[1]))
