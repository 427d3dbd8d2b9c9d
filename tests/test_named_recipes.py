"""Recipes by name: what a name means, what is listed, what an unknown name says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import ConfigError
from fathomseg.named_recipes import FOLDER, find, header, listed, lookup, names, nearest, packaged
from fathomseg.shell.recipes import lines
from fathomseg.stages.study_config import Study

ROOT = Path(__file__).resolve().parent.parent


def test_every_recipe_is_found_by_its_name_and_by_its_path_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert len(names()) == len(paths) > 80
    for path in paths:
        path_in_a_clone = str(path.relative_to(ROOT))
        assert find(path_in_a_clone).samefile(path)
        assert find(path_in_a_clone.removeprefix("recipes/").removesuffix(".yaml")).samefile(path)


def test_a_file_of_the_user_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "camvid").write_text("size: [1, 2]")
    assert find("camvid") == Path("camvid")
    assert packaged("camvid") == FOLDER / "camvid.yaml"


def test_nothing_outside_of_the_recipes_has_a_name() -> None:
    assert lookup("../pyproject.toml") is None
    assert lookup("camvid/../../mkdocs.yml") is None
    assert lookup("") is None


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"No recipe at camvid/clasmix\. Did you mean camvid/classmix.*fathom recipes"
    ):
        find("camvid/clasmix")
    assert {name.rpartition("/")[2] for name in nearest("recipes/unimatch-v2.yml")} == {"unimatch-v2"}
    assert nearest("qqqqqq") == []


def test_the_list_has_what_was_measured_and_nothing_else() -> None:
    found = {one.name: one for one in listed()}
    assert set(found) == set(names())
    assert found["camvid"].expected is not None
    assert found["camvid"].expected.startswith("mIoU 59.8 +- 2.5 on val with 24 labels")
    assert found["camvid/cutmix"].expected is None
    assert {one.verb for one in found.values()} == {"train", "pretrain", "select", "study"}
    assert found["depth-kitti"].verb == "pretrain"
    assert all(one.about and not one.about.endswith("et al") for one in found.values())


@pytest.mark.parametrize("named", [one for one in listed() if one.expected], ids=lambda one: one.name)
def test_results_that_a_recipe_names_are_there(named: object) -> None:
    expected = getattr(named, "expected", "")
    assert re.search(r"\d", expected)
    assert all((ROOT / path).is_file() for path in re.findall(r"results/[\w.]+", expected))
    assert re.search(r"results/|one seed", expected), "say where the number comes from"


def test_the_list_is_filtered_and_fits_the_terminal() -> None:
    done = CliRunner().invoke(app, ["recipes", "KITTI"])
    assert done.exit_code == 0
    assert "  depth-kitti  " in done.stdout
    assert "own-data" not in done.stdout
    shown = list(lines(listed(), 70))
    assert max(map(len, shown)) <= 100
    assert sum(line.startswith("  ") and not line.startswith("   ") for line in shown) == len(names())


def test_a_header_is_read_by_paragraphs() -> None:
    text = (
        "# One. Two\n# more.\n#\n#   fathom train recipes/x.yaml\n#\n# Time.\n# Expected: 3\n# +- 1\ndata: {}\n# no\n"
    )
    assert header(text) == ["One. Two more.", "fathom train recipes/x.yaml", "Time.", "Expected: 3 +- 1"]


def test_data_of_a_recipe_by_name_and_settings_with_data_in_front(tmp_path: Path) -> None:
    assert resolve_dataset("depth-streets", ["data.val_clips=3"]) == resolve_dataset(
        str(FOLDER / "depth-streets.yaml"), ["data.val_clips=3"]
    )
    assert resolve_dataset("streets", ["data.val_clips=3"]) == Streets(val_clips=3)
    assert resolve_dataset("streets", ["val_clips=3"]) == Streets(val_clips=3)


def test_recipes_and_choices_of_a_study_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = Study.model_validate(yaml.safe_load(find("studies/camvid").read_text(encoding="utf-8")))
    cell = next(cell for cell in study.cells() if cell.arm == "chosen" and cell.seed == 1)
    file = next(text for text in study.overrides(cell) if "labels.file=" in text).partition("=")[2].strip('"')
    assert file == str(FOLDER / "studies" / "choices" / "camvid-cells-1.txt")
