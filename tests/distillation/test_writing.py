"""`fathom distill` on a tiny teacher: what it writes, that it can be interrupted, and what it refuses to mix."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fathomseg
from fathomseg.cli import app
from fathomseg.data.datasets.folder import Folder
from fathomseg.distillation import writing
from fathomseg.distillation.files import read_part
from fathomseg.distillation.provenance import read_provenance
from fathomseg.distillation.teachers import RunTeacher
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.predictor import load
from fathomseg.inference.settings import Inference, Window
from fathomseg.stages.distill import known_data, lacks
from fathomseg.version import __version__
from tests import fakes
from tests.distillation.teachers import SIZE, contents, distill, make_run, own_data

SHAPES = [SIZE, (16, 32), (32, 24), SIZE]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return own_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, data: Folder) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), data.classes.names)


def test_it_answers_for_what_lacks_a_label_and_says_who_it_was(
    teacher: Path, data: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(teacher, data, tmp_path / "out", soft=True) == 0
    known = read_provenance(tmp_path / "out")
    ids = [id for id in data.ids("train") if not data.has_label(id)]
    assert list(known.images) == ids
    assert len(ids) < len(data.ids("train"))
    for id in ids:
        wanted = load(teacher, device="cpu").predict(data.image(id))
        np.testing.assert_array_equal(read_part(tmp_path / "out", id, "label", known.classes), wanted.label)
        sure = read_part(tmp_path / "out", id, "label_confidence", None)
        np.testing.assert_allclose(sure, wanted.confidence, atol=1 / 510 + 1e-5)
    assert (known.teacher.kind, known.teacher.source, known.fathomseg) == ("run", str(teacher), __version__)
    assert len(known.teacher.weights) == 40
    assert known.teacher.settings["working_size"] == [24, 32]
    assert known.matched == {name: name for name in data.classes.names}
    assert "dataset" in capsys.readouterr().err


@pytest.mark.parametrize("flip", [False, True])
def test_weights_of_classes_are_taken_off(data: Folder, tmp_path: Path, flip: bool) -> None:
    """Where a weighted loss is smallest, the teacher's probabilities are proportional to weight * P(class | image)."""
    names = data.classes.names
    weights = np.geomspace(10, 0.1, len(names))
    plain, run = make_run(tmp_path / "plain", names), make_run(tmp_path / "run", names, class_weights=weights.tolist())
    assert distill(run, data, tmp_path / "out", soft=True, flip=flip) == 0
    known = read_provenance(tmp_path / "out")
    assert known.teacher.settings["class_weights"] == "taken off"
    id = next(iter(known.images))
    network = load(plain, device="cpu", inference=Inference(flip=flip))
    logits = network.each([data.image(id)])[0]["segmentation"]
    wide = torch.nn.functional.interpolate(logits[None], SIZE, mode="bilinear", align_corners=False)[0]
    weighed = wide.softmax(0).numpy()
    p = weighed / weights[:, None, None]
    p /= p.sum(0)
    assert (p.argmax(0) != weighed.argmax(0)).mean() > 0.1
    assert (read_part(tmp_path / "out", id, "label", known.classes) == p.argmax(0)).mean() > 0.999
    sure = read_part(tmp_path / "out", id, "label_confidence", None)
    np.testing.assert_allclose(sure, p.max(0), atol=1 / 510 + 1e-4)
    soft = read_part(tmp_path / "out", id, "label_probabilities", None)
    np.testing.assert_allclose(soft[..., 0], p.max(0), atol=1e-2)
    assert distill(plain, data, tmp_path / "other") == 0
    assert "class_weights" not in read_provenance(tmp_path / "other").teacher.settings


def test_images_keep_their_proportions(data: Folder, tmp_path: Path) -> None:
    """As `fathom predict` keeps them: images of 3:4 before a network trained at 1:2."""
    wide = make_run(tmp_path / "wide", data.classes.names, size=(24, 48))
    assert distill(wide, data, tmp_path / "out") == 0
    known, plain = read_provenance(tmp_path / "out"), load(wide, device="cpu")
    assert plain.size_for(SIZE) != (24, 48)
    for id in known.images:
        wanted = plain.predict(data.image(id)).label
        np.testing.assert_array_equal(read_part(tmp_path / "out", id, "label", known.classes), wanted)
    assert known.teacher.settings["precision"] == plain.precision == "fp32"
    of_many = [np.random.default_rng(i).integers(0, 255, (*size, 3), np.uint8) for i, size in enumerate(SHAPES)]
    answers = RunTeacher(str(wide), "depth", "ema", "cpu", flip=False).predict(of_many, None, soft=False)
    for image, answer in zip(of_many, answers, strict=True):
        np.testing.assert_allclose(answer["depth"], plain.predict(image).depth, rtol=1e-4)


@pytest.mark.parametrize(("key", "then"), [("proportions", None), ("precision", "bf16")])
def test_what_was_predicted_otherwise_is_not_gone_on_with(
    teacher: Path, data: Folder, tmp_path: Path, key: str, then: str | None
) -> None:
    """Of stretched images, by a version before; or on a GPU."""
    assert distill(teacher, data, tmp_path / "out") == 0
    path = tmp_path / "out" / "provenance.json"
    tree = json.loads(path.read_text())
    tree["teacher"]["settings"] |= {key: then}
    path.write_text(json.dumps(tree))
    with pytest.raises(FathomError, match=rf"teacher\.settings\.{key}: {then!r} there"):
        distill(teacher, data, tmp_path / "out")


def test_a_new_version_goes_on_with_a_folder(teacher: Path, data: Folder, tmp_path: Path) -> None:
    assert distill(teacher, data, tmp_path / "out") == 0
    path = tmp_path / "out" / "provenance.json"
    path.write_text(path.read_text().replace(f'"fathomseg": "{__version__}"', '"fathomseg": "0.0.1"'))
    next((tmp_path / "out" / "ids").rglob("*.png")).unlink()
    assert distill(teacher, data, tmp_path / "out") == 0
    assert read_provenance(tmp_path / "out").fathomseg == "0.0.1"


def test_depth_and_normals_have_the_agreement_with_the_mirror_as_confidence(
    teacher: Path, data: Folder, tmp_path: Path
) -> None:
    for task, part in (("depth", "depth"), ("normals", "normals")):
        out = tmp_path / task
        assert distill(teacher, data, out, task, flip=True) == 0
        known = read_provenance(out)
        assert list(known.images) == list(data.ids("train"))
        id = data.ids("train")[0]
        network = load(teacher, device="cpu", inference=Inference(flip=True))
        wanted = getattr(network.predict(data.image(id)), part)
        np.testing.assert_allclose(read_part(out, id, part, None), wanted, rtol=1e-3, atol=1e-4)
        plain = load(teacher, device="cpu")
        one = getattr(plain.predict(data.image(id)), part)
        other = getattr(plain.predict(np.ascontiguousarray(data.image(id)[:, ::-1])), part)[:, ::-1]
        if part == "depth":
            sure = np.minimum(one, other) / np.maximum(one, other)
        else:
            sure = (one * other * [-1, 1, 1]).sum(2).clip(0, 1)
        assert sure.std() > 0.01
        np.testing.assert_allclose(read_part(out, id, f"{part}_confidence", None), sure, atol=1 / 510 + 1e-4)
    assert read_provenance(tmp_path / "depth").unit == "metres"


def test_an_interrupted_folder_ends_with_the_same_bytes(
    teacher: Path, data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert distill(teacher, data, tmp_path / "whole", everything=True, soft=True) == 0

    class Pulled(Exception):
        pass

    write, calls = writing.write_predictions, []

    def pull(folder: Path, id: str, *rest: object) -> None:
        calls.append(id)
        if len(calls) == 3:
            raise Pulled
        write(folder, id, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "write_predictions", pull)
    with pytest.raises(Pulled):
        distill(teacher, data, tmp_path / "cut", everything=True, soft=True)
    monkeypatch.undo()
    assert 0 < len(read_provenance(tmp_path / "cut").images) < len(data.ids("train"))
    assert distill(teacher, data, tmp_path / "cut", everything=True, soft=True) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    next((tmp_path / "cut" / "soft").rglob("*.npz")).unlink()
    assert distill(teacher, data, tmp_path / "cut", everything=True, soft=True) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_what_is_done_is_not_done_again_unless_the_image_has_changed(
    teacher: Path, data: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data.root, tmp_path / "data")
    copy = Folder(root=tmp_path / "data")
    assert distill(teacher, copy, tmp_path / "out", batch=1) == 0
    before = read_provenance(tmp_path / "out")
    capsys.readouterr()
    assert distill(teacher, copy, tmp_path / "out", batch=1) == 0
    assert f"of 0 of {len(copy.ids('train'))} images" in capsys.readouterr().err
    changed = next(iter(before.images))
    path = copy.files(changed).image
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    assert distill(teacher, Folder(root=copy.root), tmp_path / "out", batch=1) == 0
    assert f"of 1 of {len(copy.ids('train'))} images" in capsys.readouterr().err
    after = read_provenance(tmp_path / "out")
    assert [id for id in after.images if after.images[id].pixels != before.images[id].pixels] == [changed]


def test_nothing_is_mixed(teacher: Path, data: Folder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert distill(teacher, data, out) == 0
    other = make_run(tmp_path / "other", data.classes.names, seed=1)
    before = contents(out)
    with pytest.raises(FathomError, match=r"another teacher[^\n]*\n  teacher\.weights: '[0-9a-f]+' there"):
        distill(other, data, out)
    with pytest.raises(FathomError, match=r"teacher\.settings\.flip: False there, True now"):
        distill(teacher, data, out, flip=True)
    with pytest.raises(FathomError, match="task: 'segmentation' there, 'depth' now"):
        distill(teacher, data, out, "depth")
    assert contents(out) == before
    shutil.copytree(teacher, tmp_path / "moved")
    assert distill(tmp_path / "moved", data, out) == 0  # the same weights in another place
    assert contents(out) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(FathomError, match=r"not empty and holds no provenance\.json"):
        distill(teacher, data, tmp_path / "full")


def test_what_cannot_be_asked_is_told(teacher: Path, data: Folder, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="no task 'edges'; a teacher predicts segmentation, depth, normals"):
        distill(teacher, data, tmp_path / "o", "edges")
    with pytest.raises(FathomError, match="--soft keeps probabilities of classes"):
        distill(teacher, data, tmp_path / "o", "depth", soft=True)
    with pytest.raises(FathomError, match="give segmentation or depth, not normals"):
        distill("hf:a/b", data, tmp_path / "o", "normals")
    with pytest.raises(FathomError, match="leave it out"):
        distill(teacher, data, tmp_path / "o", "depth", gives="depth")
    assert not (tmp_path / "o").exists()


def test_an_unreadable_image_stops_nothing(teacher: Path, data: Folder, tmp_path: Path) -> None:
    shutil.copytree(data.root, tmp_path / "data")
    copy = Folder(root=tmp_path / "data")
    lacking = [id for id in copy.ids("train") if not copy.has_label(id)]
    copy.files(lacking[0]).image.write_bytes(b"no image")
    words = ["--task", "segmentation", "--out", str(tmp_path / "out"), "--device", "cpu", "--batch", "2"]
    assert CliRunner().invoke(app, ["distill", str(teacher), str(copy.root), *words]).exit_code == 1
    assert list(read_provenance(tmp_path / "out").images) == lacking[1:]
    same = {name: name for name in data.classes.names}
    found = fathomseg.distill(
        teacher, copy.root, tmp_path / "again", task="segmentation", device="cpu", classes=same, batch=2
    )
    assert Path(found) == tmp_path / "again"
    assert [(one.where, "image" in one.reason) for one in found.problems] == [(str(copy.files(lacking[0]).image), True)]
    assert found.images == len(lacking) - 1
    assert contents(Path(found)).keys() == contents(tmp_path / "out").keys()


def test_a_label_outside_the_budget_counts_as_lacking(teacher: Path, tmp_path: Path) -> None:
    camvid = fakes.make_camvid(tmp_path / "camvid", train=4, val=1, size=(24, 32))
    recipe = tmp_path / "few.yaml"
    tree = {
        "data": {"name": "camvid", "root": str(camvid)},
        "size": [24, 32],
        "streams": {"labelled": {"labels": {"count": 1}}},
    }
    recipe.write_text(json.dumps(tree))
    dataset, labelled = known_data(str(recipe), [])
    assert labelled is not None
    assert len(labelled) == 1
    hidden = [id for id in dataset.ids("train") if lacks(dataset, id, "segmentation", labelled)]
    assert set(hidden) == set(dataset.ids("train")) - labelled
    assert known_data("camvid", [f"root={camvid}"]) == (dataset, None)
    assert not any(lacks(dataset, id, "segmentation", None) for id in dataset.ids("train"))
    more = known_data(str(recipe), ["streams.labelled.labels.count=3", "evaluation.split=null"])[1]
    assert more is not None
    assert labelled < more
    for unused in ("train.steps=7", "size=[8,8]", "streams.labelled.batch=2", "evaluation.report=false"):
        with pytest.raises(ConfigError, match=rf"'{re.escape(unused)}' is not used by `fathom distill`, which takes"):
            known_data(str(recipe), [unused])


def test_a_run_sees_images_as_the_settings_of_inference_say(teacher: Path, data: Folder, tmp_path: Path) -> None:
    slide = ["evaluation.inference.mode=slide", "evaluation.inference.window.size=[16,16]"]
    assert distill(teacher, data, tmp_path / "out", overrides=slide) == 0
    known = read_provenance(tmp_path / "out")
    assert (known.teacher.settings["mode"], known.teacher.settings["window"]["size"]) == ("slide", [16, 16])
    inference = Inference(mode="slide", window=Window(size=(16, 16)))
    slid, whole = load(teacher, device="cpu", inference=inference), load(teacher, device="cpu")
    differ = 0
    for id in known.images:
        found = read_part(tmp_path / "out", id, "label", known.classes)
        np.testing.assert_array_equal(found, slid.predict(data.image(id)).label)
        differ += int((found != whole.predict(data.image(id)).label).sum())
    assert differ
    with pytest.raises(FathomError, match=r"teacher\.settings\.mode: 'slide' there, 'whole' now"):
        distill(teacher, data, tmp_path / "out")
    with pytest.raises(FathomError, match="tiles, as no teacher can"):
        distill(teacher, data, tmp_path / "no", overrides=["evaluation.inference.mode=tiles"])
    with pytest.raises(FathomError, match="mode=slide' is for runs; hf:a/b sees images"):
        distill("hf:a/b", data, tmp_path / "no", overrides=slide)
    assert not (tmp_path / "no").exists()


def test_no_teacher_labels_what_is_held_out(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = own_data(tmp_path / "data")
    away = data.ids("all")[-1]
    (data.root / "splits").mkdir()
    (data.root / "splits" / "val.txt").write_text(f"{away}\n")
    assert distill(teacher, data, tmp_path / "out", split="all") == 0
    images = read_provenance(tmp_path / "out").images
    assert images
    assert away not in images
    assert "held out and left out" in " ".join(capsys.readouterr().err.split())
