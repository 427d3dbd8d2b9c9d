"""The files shown in docs/data.md are valid."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from fathomseg import config
from fathomseg.data.datasets.description import CameraEntry, Description
from fathomseg.data.datasets.resolve import dataset_kinds

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_files_of_the_page_are_valid() -> None:
    described, camera = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    assert config.load(Description, described).label_map().values == (7, 26, 2)
    assert config.load(CameraEntry, camera).camera().width == 1242


def test_every_dataset_is_on_the_page() -> None:
    assert [name for name in dataset_kinds() if f"`{name}`" not in PAGE and name != "folder"] == []
