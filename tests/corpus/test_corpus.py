"""Odd inputs, kind by kind: each works exactly, or is refused in words that name the file and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus import networks
from tests.corpus.case import Place, run
from tests.corpus.kinds import _KINDS, CASES

VERBS = {"check", "train", "pretrain", "select", "import-labels", "evaluate", "predict", "export", "distill", "study"}
DATASETS = {
    "folder",
    "clips",
    "camvid",
    "cityscapes",
    "kitti",
    "nyuv2",
    "idd_lite",
    "vkitti2",
    "gta5",
    "synthia",
    "mapillary",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.make(tmp_path_factory.mktemp("networks"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, made: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    run(CASES[name], Place(root, made))


def test_every_kind_verb_and_dataset_is_met() -> None:
    assert sum(len(kind.CASES) for kind in _KINDS) == len(CASES) >= 120  # no name twice
    assert all(len(kind.CASES) >= 7 for kind in _KINDS)
    assert {case.words[0] for case in CASES.values()} >= VERBS
    assert {case.data for case in CASES.values()} >= DATASETS
