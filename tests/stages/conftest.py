"""Fixtures of the tiny run of tiny.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fathomseg.config import validate
from fathomseg.stages.train import train
from fathomseg.training.recipe import Recipe
from tests import fakes
from tests.stages import tiny


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fake CamVid of 8 training and 3 validation images."""
    return fakes.make_camvid(tmp_path_factory.mktemp("camvid"), train=8, val=3, size=tiny.SIZE)


@pytest.fixture(scope="session")
def settings(camvid: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a tiny run; keyword arguments replace whole sections."""
    return partial(tiny.settings, camvid)


@pytest.fixture(scope="session")
def recipe(settings: Callable[..., dict[str, Any]]) -> Callable[..., Recipe]:
    """The same as a validated recipe."""
    return lambda **sections: validate(Recipe, settings(**sections))


@pytest.fixture(scope="session")
def whole(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe(), folder, resume=False)
    return folder
