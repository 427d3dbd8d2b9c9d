"""`fathom select` through the command line: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from fathomseg.cli import app
from fathomseg.config import validate
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.labelled import Labels
from fathomseg.engine.guard import Interrupted
from fathomseg.engine.loop import Trainer
from fathomseg.errors import FathomError
from fathomseg.io.images import read_rgb
from fathomseg.named_recipes import find
from fathomseg.selection.annotation import load_task
from fathomseg.selection.extraction import extract
from fathomseg.selection.features import Extractor
from fathomseg.selection.result import load_selection, pool_hash
from fathomseg.stages.select import select
from fathomseg.stages.select_recipe import SelectRecipe
from tests import fakes
from tests.selection.pools import ENCODER, SIZE, STUDENT, camvid
from tests.stages.saved_run import save_depth_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return camvid(tmp_path_factory.mktemp("camvid"), images=10)


@pytest.fixture(scope="module")
def depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_depth_run(tmp_path_factory.mktemp("run"), {"name": "streets"}, pose=False)


def settings(source: CamVid, /, **changes: Any) -> dict[str, Any]:
    return {
        "data": {"name": "camvid", "root": str(source.root)},
        "size": list(SIZE),
        "criterion": {"name": "diversity", "features": ENCODER},
        "budget": 4,
        "device": "cpu",
        "threads": 1,
        "annotation": False,
        "report": False,
        **changes,
    }


def both(depth: Path) -> dict[str, Any]:
    return {
        "name": "diversity_and_difficulty",
        "features": {"name": "depth", "run": str(depth)},
        "teacher": {"name": "run", "run": str(depth)},
        "student": STUDENT,
        "first_stage": 2,
    }


def call(tmp_path: Path, tree: dict[str, Any], *words: str) -> Result:
    recipe = fakes.write_yaml(tmp_path / "recipe.yaml", tree)
    return CliRunner().invoke(app, ["select", str(recipe), *words, "--out", str(tmp_path / "out")])


def refused(tmp_path: Path, tree: dict[str, Any], *words: str) -> str:
    done = call(tmp_path, tree, *words)
    assert done.exit_code != 0
    assert not (tmp_path / "out" / "selection.json").exists()
    return str(done.exception)


def test_everything_is_written(data: CamVid, depth: Path, tmp_path: Path) -> None:
    tree = settings(data, criterion=both(depth), annotation=True, report=True)
    done = call(tmp_path, tree, "--budget", "5", "seed=3")
    assert done.exit_code == 0, (done.output, done.exception)
    out = tmp_path / "out"
    selection = load_selection(out)
    assert len(selection.chosen) == 5
    assert (selection.seed, selection.dataset, selection.split) == (3, "camvid", "train")
    assert (selection.pool_size, selection.pool_hash) == (10, pool_hash(data, data.ids("train")))
    assert selection.criterion["weight"] == 1.0
    assert selection.features is not None
    assert selection.features["level"] == 3
    assert selection.chosen[0].distance is None
    assert set(selection.chosen[4].scores) == {"diversity", "difficulty"}
    assert Labels(file=out / "selection.txt").choose(data, "train", 0) == tuple(sorted(selection.ids))
    links = sorted((out / "images").iterdir())
    assert [link.name for link in links] == [
        f"{rank:04d}_{id.replace('/', '_')}.png" for rank, id in enumerate(selection.ids, 1)
    ]
    assert [link.resolve() for link in links] == [data.files(id).image.resolve() for id in selection.ids]
    assert load_task(out / "annotation").dataset == "camvid"
    assert (out / "selection.html").stat().st_size > 1000
    assert "5 images chosen" in done.stderr


def test_copies_of_what_is_no_file_are_pictures(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path / "mine", images=1, clips=1, videos=1, frames=3, labels=None)
    mine = Folder(root=root)
    tree = settings(CamVid(root=root), data={"name": "folder", "root": str(root)}, split="all", copy_images="copy")
    done = call(tmp_path, tree, "--budget", "7", "criterion.name=random")
    assert done.exit_code == 0, (done.output, done.exception)
    for path, id in zip(
        sorted((tmp_path / "out" / "images").iterdir()), load_selection(tmp_path / "out").ids, strict=True
    ):
        assert not path.is_symlink()
        assert path.name.startswith(f"{path.name[:4]}_{id.replace('/', '_')}.")
        assert path.suffix == (".png" if mine.files(id).frame is not None else mine.files(id).image.suffix)
        np.testing.assert_array_equal(read_rgb(path), mine.image(id))


def test_a_larger_budget_begins_with_the_smaller(data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(tmp_path, settings(data, annotation=True, report=True)).exit_code == 0
    first = load_selection(tmp_path / "out").ids
    monkeypatch.setattr(Extractor, "pooled", None)  # features are kept
    more = ["select", "--resume", str(tmp_path / "out"), "--budget", "6"]
    done = CliRunner().invoke(app, more)
    assert done.exit_code == 0, (done.output, done.exception)
    second = load_selection(tmp_path / "out").ids
    assert second[:4] == first
    assert len(second) == len(list((tmp_path / "out" / "images").iterdir())) == 6
    assert {p.name for p in (tmp_path / "out").glob("annotation*")} == {"annotation", "annotation-6"}
    again = CliRunner().invoke(app, [*more, "criterion.start=random"])
    assert "keeps its settings, so criterion.start=random" in str(again.exception)


def test_a_choice_is_resumed_where_its_data_has_moved_to(tmp_path: Path) -> None:
    for name in ("a", "b"):
        camvid(tmp_path / name, images=3)
    own = {name: {"name": "camvid", "root": str(tmp_path / name)} for name in ("a", "b")}
    tree = settings(
        CamVid(root=tmp_path / "a"), data={"name": "several", "datasets": own}, criterion={"name": "random"}
    )
    assert call(tmp_path, tree).exit_code == 0
    (tmp_path / "a").rename(tmp_path / "moved")
    root = f"data.datasets.a.root={tmp_path / 'moved'}"
    done = CliRunner().invoke(app, ["select", "--resume", str(tmp_path / "out"), "--budget", "5", root])
    assert done.exit_code == 0, (done.output, done.exception)
    assert len(load_selection(tmp_path / "out").ids) == 5


@pytest.mark.parametrize("when", ["features", "student"])
def test_an_interrupted_choice_goes_on(
    when: str, data: CamVid, depth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    recipe = validate(SelectRecipe, settings(data, criterion=both(depth), budget=6))
    whole = select(recipe, tmp_path / "whole", resume=False)
    calls = {"pooled": 0, "judge": 0, "steps": 0}
    step = Trainer._step

    def interrupting(self: Trainer, number: int, batches: Any) -> None:
        step(self, number, batches)
        calls["steps"] += 1
        if calls["steps"] == 5:  # in the second stage, of 6 steps after the 3 of the first
            self.step_done = number + 1
            self.save()
            raise Interrupted(143)

    def broken(*given: Any, **named: Any) -> Any:
        extract(*given, **named)
        raise Interrupted(143)

    with monkeypatch.context() as patch:
        if when == "student":
            patch.setattr(Trainer, "_step", interrupting)
        else:
            patch.setattr("fathomseg.selection.comparing.extract", broken)
        with pytest.raises(Interrupted):
            select(recipe, tmp_path / "part", resume=False)
    assert f"fathom select --resume {tmp_path / 'part'}" in capsys.readouterr().err
    assert not (tmp_path / "part" / "selection.json").exists()
    monkeypatch.setattr(Extractor, "pooled", None)
    again = select(recipe, tmp_path / "part", resume=True)
    assert again.chosen == whole.chosen


def test_images_labelled_already_are_known(data: CamVid, tmp_path: Path) -> None:
    ids = data.ids("train")
    (tmp_path / "known.txt").write_text(f"{ids[7]}\n{ids[2]}\n")
    done = call(tmp_path, settings(data, already=str(tmp_path / "known.txt"), budget=8))
    assert done.exit_code == 0, (done.output, done.exception)
    selection = load_selection(tmp_path / "out")
    assert selection.already == (ids[2], ids[7])
    assert sorted([*selection.ids, *selection.already]) == list(ids)
    assert selection.chosen[0].nearest in selection.already


def test_labels_that_exist_count_as_labelled(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path / "mine", images=9, labelled=4, clips=0)
    data = {"name": "folder", "root": str(root)}
    tree = settings(CamVid(root=root), data={**data, "val": []}, split="all", already="labelled")
    assert call(tmp_path, tree, "--budget", "5").exit_code == 0
    assert load_selection(tmp_path / "out").already == tuple(f"images/{i:03d}" for i in range(4))
    assert "nothing to choose" in refused(tmp_path / "b", {**tree, "data": data, "split": "val"}, "--budget", "1")
    call(tmp_path / "c", {**tree, "data": data, "split": "val"}, "--budget", "1", "already=null")
    assert len(load_selection(tmp_path / "c" / "out").ids) == 1


def test_the_recipe_for_own_images_chooses_those_without_a_label(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path / "mine", images=9, labelled=4, clips=0)
    tree = yaml.safe_load(find("select-own-images").read_text(encoding="utf-8"))
    tree |= {"data": {"name": "folder", "root": str(root), "val": []}, "size": [24, 32], "device": "cpu", "threads": 1}
    done = call(tmp_path, tree | {"criterion": {"name": "random"}, "split": "all"}, "--budget", "5")
    assert done.exit_code == 0, done.output
    assert sorted(load_selection(tmp_path / "out").ids) == [f"images/{i:03d}" for i in range(4, 9)]


@pytest.mark.parametrize("recipe", ["select-own-images", "own-data/next"])
def test_a_choice_is_resumed_when_its_images_have_been_labelled(recipe: str, tmp_path: Path) -> None:
    """Some of which are held out then, by the default of a folder."""
    root = fakes.make_folder(tmp_path / "mine", images=12, labels=None, clips=1, frames=12)
    tree = yaml.safe_load(find(recipe).read_text(encoding="utf-8"))
    shared = settings(CamVid(root=root), data={"name": "folder", "root": str(root)}, prelabels=None)
    assert call(tmp_path, tree | shared, "--budget", "8").exit_code == 0
    first = load_selection(tmp_path / "out").ids
    for id in first:
        fakes.save(root / "labels" / f"{id.removeprefix('images/')}.png", np.full((24, 32), 7, np.uint16))
    assert (recipe == "own-data/next") or set(first) & set(Folder(root=root).ids("val"))
    done = CliRunner().invoke(app, ["select", "--resume", str(tmp_path / "out"), "--budget", "11"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert load_selection(tmp_path / "out").ids[:8] == first
    assert len(load_selection(tmp_path / "out").ids) == 11


def test_a_choice_is_resumed_when_its_labels_hold_out_a_clip(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path / "mine", images=0, labels=None, clips=4, frames=6)
    shared = settings(CamVid(root=root), data={"name": "folder", "root": str(root)}, split="clips")
    assert call(tmp_path, shared, "--budget", "8").exit_code == 0
    first = load_selection(tmp_path / "out").ids
    assert call(tmp_path / "whole", shared, "--budget", "11").exit_code == 0
    for id in first:
        fakes.save(root / "labels" / f"{id}.png", np.full((24, 32), 7, np.uint16))
    data = Folder(root=root)
    assert data.held_out() > set(data.ids("val")), "frames without a label are held out too"
    resume = ["select", "--resume", str(tmp_path / "out"), "--budget"]
    done = CliRunner().invoke(app, [*resume, "11"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert load_selection(tmp_path / "out").ids == load_selection(tmp_path / "whole" / "out").ids
    held = next(id for id in first if id in data.held_out()).rsplit("/", 1)[0]
    done = CliRunner().invoke(app, [*resume, "12", f"data.val=['{held}/*']"])
    assert done.exit_code != 0, "a drive that the user holds out is in no pool"


def test_without_classes_there_is_no_import_for_annotation_tools(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path / "mine", images=3, labels=None, clips=0)
    (root / "dataset.yaml").write_text("depth_scale: 0.001\n")
    data = {"name": "folder", "root": str(root)}
    tree = settings(CamVid(root=root), data=data, criterion={"name": "random"}, annotation=True, report=True, budget=2)
    done = call(tmp_path, tree)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "annotation/ is left out" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"selection.json", "selection.html", "images"}
    assert not (tmp_path / "out" / "annotation").exists()


def test_an_unreadable_image_stops_nothing(tmp_path: Path) -> None:
    own = camvid(tmp_path / "camvid", images=6)
    bad = own.ids("train")[2]
    own.files(bad).image.write_bytes(b"")
    done = call(tmp_path, settings(own), "--budget", "5")
    assert done.exit_code == 0, (done.output, done.exception)
    selection = load_selection(tmp_path / "out")
    assert [one.id for one in selection.skipped] == [bad]
    assert (selection.pool_size, len(selection.chosen)) == (5, 5)
    assert "left out: " in done.stderr
    assert "0 bytes" in done.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"budget": 11},
            "budget is 11, but the pool has 10 images to choose from (0 of 10 are given as `already`; already=labelled "
            "leaves out those with a label). Give a budget of 1 to 10.",
        ),
        ({"split": "test"}, "no split 'test'"),
        ({"criterion": {"name": "diverse"}}, "did you mean 'diversity'"),
        ({"criterion": {"name": "diversity"}}, "features: is required"),
        ({"criterion": {"name": "entropy", "run": "/nowhere"}}, "There is no run /nowhere"),
        ({"already": "/nowhere/known.txt"}, "no file /nowhere/known.txt"),
        ({"copy_images": "move"}, "copy_images"),
    ],
)
def test_what_cannot_be_done_says_why(changes: dict[str, Any], words: str, data: CamVid, tmp_path: Path) -> None:
    assert words in refused(tmp_path, settings(data, **changes))


def test_lists_of_other_ids_and_wrong_calls_say_why(data: CamVid, tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("train/nobody\n")
    assert "'train/nobody'" in refused(tmp_path, settings(data, already=str(tmp_path / "known.txt")))
    assert not (tmp_path / "out").exists(), "nothing was begun"
    assert "either a recipe" in str(CliRunner().invoke(app, ["select"]).exception)
    assert call(tmp_path, settings(data)).exit_code == 0
    assert "--resume" in str(call(tmp_path, settings(data)).exception)


def test_a_network_of_nans_says_so(data: CamVid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = camvid(tmp_path / "camvid", images=5)
    monkeypatch.setattr(Extractor, "pooled", lambda self, images, grid: np.full((len(images), 4), np.nan, np.float32))
    assert "NaN" in refused(tmp_path, settings(fresh))


def test_the_result_is_plain_json(data: CamVid, tmp_path: Path) -> None:
    assert call(tmp_path, settings(data, copy_images="none")).exit_code == 0
    tree = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert tree["format"] == 1
    assert [choice["rank"] for choice in tree["chosen"]] == [1, 2, 3, 4]
    assert not (tmp_path / "out" / "images").exists()
    assert "command" in tree["origin"]


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.make_folder(tmp_path_factory.mktemp("own"), images=2, clips=2, frames=4, size=SIZE)


class TestHeldOut:
    """Drives that are held out are in no pool, save that from which those to be scored on are chosen."""

    def chosen(self, root: Path, folder: Path, **changes: Any) -> tuple[str, ...]:
        data = {"name": "folder", "root": str(root), "val": ["clips/drive1/*"]}
        tree = {"data": data, "size": list(SIZE), "criterion": {"name": "random"}, "device": "cpu", "report": False}
        recipe = validate(SelectRecipe, {**tree, "annotation": False, "copy_images": "none", **changes})
        return select(recipe, folder, resume=False).ids

    @pytest.mark.parametrize(("split", "budget"), [("clips", 4), ("all", 6), ("clips/*", 4)])
    def test_no_frame_can_be_chosen(self, drives: Path, tmp_path: Path, split: str, budget: int) -> None:
        ids = self.chosen(drives, tmp_path, split=split, budget=budget)
        assert len(ids) == budget
        assert not [id for id in ids if "drive1" in id]
        with pytest.raises(FathomError, match="budget"):
            self.chosen(drives, tmp_path / "more", split=split, budget=budget + 1)

    def test_val_is_for_what_is_scored_on(self, drives: Path, tmp_path: Path) -> None:
        ids = self.chosen(drives, tmp_path, split="val", budget=4)
        assert set(ids) == {f"clips/drive1/{i:06d}" for i in range(4)}
        with pytest.raises(FathomError, match=r"all 4 images .* are held out.*split=val"):
            self.chosen(drives, tmp_path / "none", split="clips/drive1/*", budget=1)


def test_a_refused_choice_keeps_its_settings(data: CamVid, tmp_path: Path) -> None:
    assert call(tmp_path, settings(data, criterion={"name": "random"})).exit_code == 0
    before = (tmp_path / "out" / "config.yaml").read_text()
    saved = json.loads((tmp_path / "out" / "selection.json").read_text())
    first, second, *_ = saved["chosen"]  # as if another network had chosen them
    first["id"], second["id"] = second["id"], first["id"]
    (tmp_path / "out" / "selection.json").write_text(json.dumps(saved))
    done = CliRunner().invoke(app, ["select", "--resume", str(tmp_path / "out"), "--budget", "6"])
    assert "It is left as it is" in str(done.exception)
    assert (tmp_path / "out" / "config.yaml").read_text() == before
