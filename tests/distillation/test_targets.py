"""A teacher's predictions in the streams of a training: for the images that lack the target, checked, moved along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from accelerate import Accelerator

from fathomseg.config import validate
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.loading import BatchSlice, Steps, loader
from fathomseg.data.transforms import View, cut
from fathomseg.distillation.files import path_of, write_predictions
from fathomseg.distillation.provenance import (
    ImageNote,
    Provenance,
    StoredClasses,
    image_source,
    pixels_hash,
    read_provenance,
)
from fathomseg.distillation.teachers import TeacherNote
from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import budgets
from fathomseg.training.streams import Streams, build_streams
from fathomseg.types import IGNORE, Batch, Sample
from tests import fakes

SIZE = (24, 32)
NOTE = TeacherNote(kind="run", source="runs/teacher", weights="0" * 40, settings={})


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.make_camvid(tmp_path_factory.mktemp("camvid"), train=6, val=2, size=SIZE)


def written(folder: Path, camvid: Path, gives: str = "label", unit: str | None = None, confidence: bool = True) -> Path:
    """A folder of made-up predictions of all training images: class 3 (or 7 units of depth) on the left, class 1 (or
    nothing) on the right, half sure of the left and a fifth of the right."""
    data = CamVid(root=camvid)
    ids = data.ids("train")
    classes = StoredClasses.of(data, ids) if gives == "label" else None
    left = np.arange(SIZE[1])[None].repeat(SIZE[0], 0) < SIZE[1] // 2
    answer: dict[str, Any] = {}
    if gives == "label":
        answer["label"] = np.where(left, 3, 1).astype(np.uint8)
        answer["label_classes"] = np.stack([answer["label"], np.full(SIZE, 5, np.uint8)], axis=2)
        answer["label_probabilities"] = np.stack([np.full(SIZE, 0.6), np.full(SIZE, 0.3)], axis=2).astype(np.float32)
    else:
        answer[gives] = np.where(left, 7, 0).astype(np.float32)
    if confidence:
        answer[f"{gives}_confidence"] = np.where(left, 0.5, 0.2).astype(np.float32)
    for id in ids:
        write_predictions(folder, id, answer, classes)
    Provenance(
        task="segmentation" if gives == "label" else "depth",
        gives=gives,  # type: ignore[arg-type]
        teacher=NOTE,
        dataset="camvid",
        split="train",
        unit=unit,  # type: ignore[arg-type]
        classes=classes,
        confidence="there" if confidence else None,
        soft="there" if gives == "label" else None,
        date="today",
        images={id: ImageNote(pixels=pixels_hash(data.image(id)), source=image_source(data, id)) for id in ids},
    ).write(folder)
    return folder


def recipe(camvid: Path, task: str, folder: Path, how: dict[str, Any] | None = None, **more: Any) -> Recipe:
    """Two labelled images, and everything the teacher says."""
    still = {"geometry": {"scale": [1, 1], "flip": 0}}
    decoder = {"decoder": {"name": "fpn"}}
    tasks = {"segmentation": decoder, "depth": {**decoder, "output": "metric"}}
    wanted = ["segmentation"] if task == "segmentation" else ["segmentation", "depth"]
    tree = {
        "data": {"name": "camvid", "root": str(camvid)},
        "size": list(SIZE),
        "network": {"tasks": {name: tasks[name] for name in wanted}},
        "streams": {"labelled": {"labels": {"count": 2}, "distilled": {task: {"folder": str(folder)}}, **still}},
        "objectives": {
            "supervised": {"losses": {key: {} for key in wanted}, "distilled": {task: how or {}}},
        },
        **more,
    }
    return validate(Recipe, tree)


def built(settings: Recipe, folder: Path) -> tuple[Streams, dict[str, tuple[str, ...]]]:
    chosen = budgets(settings)
    return build_streams(settings, chosen, folder, Accelerator(cpu=True)), chosen


def batch_of(streams: Streams, count: int, name: str = "labelled") -> Batch:
    (batch,) = loader(streams.by_name[name], Steps(BatchSlice(count), 0, 1), workers=0, pin=False)
    return batch


class TestStreams:
    def test_only_what_lacks_a_label_has_the_teachers(self, camvid: Path, tmp_path: Path) -> None:
        how = {"soft": True, "weigh": True}
        streams, chosen = built(recipe(camvid, "segmentation", written(tmp_path / "t", camvid), how), tmp_path)
        batch = batch_of(streams, 6)
        known = np.array([id in chosen["labelled"] for id in batch.ids])
        assert known.sum() == 2
        np.testing.assert_array_equal(batch.present["label"].numpy(), known)
        np.testing.assert_array_equal(batch.present["distilled_label"].numpy(), ~known)
        label = batch.targets["distilled_label"].numpy()
        assert (label[known] == IGNORE).all()
        assert (label[~known][:, :, :16] == 3).all()
        assert (label[~known][:, :, 16:] == 1).all()
        assert (batch.targets["label"].numpy()[~known] == IGNORE).all()
        sure = batch.targets["distilled_label_confidence"].numpy()
        np.testing.assert_allclose(sure[~known][:, 0, [0, -1]], [[0.5, 0.2]] * 4, atol=1 / 510)
        assert batch.targets["distilled_label_classes"].shape == (6, 2, *SIZE)
        soft = batch.targets["distilled_label_probabilities"].numpy()[~known]
        np.testing.assert_allclose(soft[:, :, 3, 3], [[0.6, 0.3]] * 4, atol=1e-5)
        counted = streams.by_name["labelled"].label_pixels(11)
        data = CamVid(root=camvid)
        truth = sum(np.bincount(data.label(id).ravel(), minlength=256)[:11] for id in chosen["labelled"])
        truth[[1, 3]] += 4 * SIZE[0] * SIZE[1] // 2
        np.testing.assert_array_equal(counted.numpy(), truth)

    def test_nothing_that_is_not_used_is_opened(self, camvid: Path, tmp_path: Path) -> None:
        folder = written(tmp_path / "t", camvid)
        for kind in ("confidence", "soft"):
            for path in (folder / kind).rglob("*.*"):
                path.write_bytes(b"nothing")
        streams, _ = built(recipe(camvid, "segmentation", folder), tmp_path)
        assert {name for name in batch_of(streams, 6).targets if "distilled" in name} == {"distilled_label"}
        with pytest.raises(DataError, match="confidence"):
            built(recipe(camvid, "segmentation", folder, {"min_confidence": 0.5}), tmp_path)

    def test_a_stream_of_the_teacher_opens_no_label_that_a_budget_hides(self, camvid: Path, tmp_path: Path) -> None:
        folder = str(written(tmp_path / "t", camvid))
        rest = {"distilled": {"segmentation": {"folder": folder}}, "labelled_too": False}
        streams = {"labelled": {"labels": {"count": 2}}, "rest": rest}
        taught = {"supervised": {"stream": ["labelled", "rest"], "distilled": {"segmentation": {}}}}
        settings = recipe(camvid, "segmentation", Path(folder), streams=streams, objectives=taught)
        made, chosen = built(settings, tmp_path)
        assert chosen["rest"] == ()
        assert set(made.by_name["rest"].ids) == set(CamVid(root=camvid).ids("train")) - set(chosen["labelled"])
        assert not batch_of(made, 4, "rest").has("label")
        streams["rest"] = {**rest, "labelled_too": True}
        settings = recipe(camvid, "segmentation", Path(folder), streams=streams, objectives=taught)
        made, chosen = built(settings, tmp_path)
        assert chosen["rest"] == chosen["labelled"]
        assert len(made.by_name["rest"].ids) == 6

    def test_nor_where_other_options_of_the_same_data_are_given(self, camvid: Path, tmp_path: Path) -> None:
        folder = str(written(tmp_path / "t", camvid))
        own = {"name": "camvid", "root": str(camvid), "frame_step": 1}
        streams = {
            "labelled": {"labels": {"count": 2}},
            "rest": {"data": own, "distilled": {"segmentation": {"folder": folder}}},
        }
        taught = {"supervised": {"stream": ["labelled", "rest"], "distilled": {"segmentation": {}}}}
        settings = recipe(camvid, "segmentation", Path(folder), streams=streams, objectives=taught)
        chosen = budgets(settings)
        assert len(chosen["labelled"]) == 2
        assert chosen["rest"] == chosen["labelled"]

    def test_images_that_are_scored_stay_out(self, camvid: Path, tmp_path: Path) -> None:
        settings = recipe(camvid, "segmentation", written(tmp_path / "t", camvid), evaluation={"split": "train"})
        with pytest.raises(FathomError, match="both 'train': no training may see what it is scored on"):
            built(settings, tmp_path)

    def test_frames_that_have_a_label_use_it_and_the_others_the_teachers(self, camvid: Path, tmp_path: Path) -> None:
        """Where no label is needed, so that a budget leaves the others in."""
        pseudo = {"teacher": "finished", "mixing": {"name": "classmix"}}
        folder = str(written(tmp_path / "t", camvid))
        streams = {"labelled": {}, "rest": {"labels": {"count": 2}, "distilled": {"segmentation": {"folder": folder}}}}
        objectives = {"supervised": {}, "pseudo_labels": {**pseudo, "stream": "rest"}}
        settings = recipe(camvid, "segmentation", Path(folder), streams=streams, objectives=objectives)
        made, chosen = built(settings, tmp_path)
        batch = batch_of(made, 6, "rest")
        own, teachers = batch.present["label"].tolist(), batch.present["distilled_label"].tolist()
        assert {id for id, there in zip(batch.ids, own, strict=True) if there} == set(chosen["rest"])
        assert len(chosen["rest"]) == 2
        assert not any(x and y for x, y in zip(own, teachers, strict=True))
        assert sum(teachers) == 4

    def test_nor_are_the_true_labels_of_what_is_held_out_used(self, tmp_path: Path) -> None:
        root = fakes.make_folder(tmp_path / "own", images=4, size=SIZE)
        data = Folder(root=root, val="images/000")
        folder = tmp_path / "t"
        Provenance(
            task="segmentation",
            gives="label",
            teacher=NOTE,
            dataset="folder",
            split="train",
            classes=StoredClasses.of(data, data.ids("train")),
            date="today",
            images={},
        ).write(folder)
        streams = {"labelled": {"split": "all", "distilled": {"segmentation": {"folder": str(folder)}}}}
        tree = {"data": {"name": "folder", "root": str(root), "val": ["images/000"]}, "streams": streams}
        settings = recipe(tmp_path, "segmentation", folder, **tree)
        streams_of_all, chosen = built(settings, tmp_path)
        assert chosen == {"labelled": ("images/001", "images/002", "images/003")}
        assert streams_of_all.by_name["labelled"].ids == chosen["labelled"]

    def test_depth_in_metres(self, camvid: Path, tmp_path: Path) -> None:
        folder = written(tmp_path / "m", camvid, "depth", "metres", confidence=False)
        streams, _ = built(recipe(camvid, "depth", folder), tmp_path)
        batch = batch_of(streams, 6)
        assert batch.targets["distilled_depth"].shape == (6, 1, *SIZE)
        assert (batch.targets["distilled_depth"][..., :16] == 7).all()
        assert (batch.targets["distilled_depth"][..., 16:] == 0).all()
        with pytest.raises(FathomError, match=r"without confidence.*--flip"):
            built(recipe(camvid, "depth", folder, {"weigh": True}), tmp_path)

    def test_relative_depth_is_never_taken_for_metres(self, camvid: Path, tmp_path: Path) -> None:
        folder = written(tmp_path / "r", camvid, "depth", "relative")
        with pytest.raises(FathomError, match=r"relative: its teacher does not know metres.*distilled\.depth\.scale"):
            built(recipe(camvid, "depth", folder), tmp_path)
        still = {"geometry": {"scale": [1, 1], "flip": 0}}
        scaled = {"labelled": {"labels": {"count": 2}, "distilled": {"depth": {"folder": str(folder), "scale": 2.5}}}}
        scaled["labelled"] |= still
        streams, _ = built(recipe(camvid, "depth", folder, streams=scaled), tmp_path)
        assert (batch_of(streams, 6).targets["distilled_depth"][..., :16] == 17.5).all()
        disparity = written(tmp_path / "d", camvid, "disparity", "relative")
        with pytest.raises(FathomError, match=r"unknown scale and offset.*name: maps"):
            built(recipe(camvid, "depth", disparity), tmp_path)

    def test_another_image_than_the_teacher_saw_is_told(self, camvid: Path, tmp_path: Path) -> None:
        own = fakes.make_camvid(tmp_path / "own", train=6, val=2, size=SIZE)
        folder = written(tmp_path / "t", own)
        moved = tmp_path / "moved"
        own.rename(moved)
        built(recipe(moved, "segmentation", folder), tmp_path)  # the same pixels in another place
        path = CamVid(root=moved).files(CamVid(root=moved).ids("train")[0]).image
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
        with pytest.raises(DataError, match=r"has changed since .* run `fathom distill` again"):
            built(recipe(moved, "segmentation", folder), tmp_path)

    def test_missing_files_and_other_tasks_are_told(self, camvid: Path, tmp_path: Path) -> None:
        folder = written(tmp_path / "t", camvid)
        with pytest.raises(FathomError, match="predictions of segmentation, not of depth"):
            built(recipe(camvid, "depth", folder), tmp_path)
        with pytest.raises(FathomError, match="write one with `fathom distill`"):
            built(recipe(camvid, "segmentation", tmp_path), tmp_path)
        path_of(folder, next(iter(read_provenance(folder).images)), "label").unlink()
        with pytest.raises(DataError, match="there is no such file"):
            built(recipe(camvid, "segmentation", folder), tmp_path)

    def test_classes_go_by_name(self, camvid: Path, tmp_path: Path) -> None:
        folder = written(tmp_path / "t", camvid)
        tree = json.loads((folder / "provenance.json").read_text())
        names = tree["classes"]["names"]
        names[3], names[1] = names[1], names[3]
        (folder / "provenance.json").write_text(json.dumps(tree))
        streams, _ = built(recipe(camvid, "segmentation", folder), tmp_path)
        label = batch_of(streams, 6).targets["distilled_label"].numpy()
        assert set(np.unique(label[:, :, :16])) == {1, IGNORE}
        names[0] = "spaceship"
        (folder / "provenance.json").write_text(json.dumps(tree))
        with pytest.raises(FathomError, match="class 'spaceship', which the training does not have"):
            built(recipe(camvid, "segmentation", folder), tmp_path)


def test_it_moves_with_the_view() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(8, 10, 3)).astype(np.float32)
    given = {
        "label": rng.integers(0, 5, (8, 10)).astype(np.uint8),
        "label_confidence": rng.random((8, 10), np.float32),
        "label_classes": rng.integers(0, 5, (8, 10, 4)).astype(np.uint8),
        "depth": rng.random((8, 10), np.float32),
        "normals": normals,
    }
    image = np.zeros((8, 10, 3), np.uint8)
    real = Sample("a", image, label=given["label"], depth=given["depth"], normals=normals)
    for view in (View(2, 1, (4, 6), (8, 12), True, 2.0), View(-2, 3, (8, 9), (8, 9))):
        seen, wanted = cut(Sample("a", image, distilled=given), view).distilled, cut(real, view)
        np.testing.assert_array_equal(seen["label"], wanted.label)
        np.testing.assert_array_equal(seen["depth"], wanted.depth)
        np.testing.assert_array_equal(seen["normals"], wanted.normals)
        assert seen["label_classes"].shape == (*view.size, 4)
        alone = cut(Sample("a", image, depth=given["label_confidence"]), View(*_undivided(view))).depth
        np.testing.assert_array_equal(seen["label_confidence"], alone)


def _undivided(view: View) -> tuple[Any, ...]:
    return view.top, view.left, view.window, view.size, view.flip


def test_what_does_not_fit_is_told_before_anything_is_opened(camvid: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no objective learns from them.*distilled\.segmentation=\{\}"):
        recipe(camvid, "segmentation", tmp_path, objectives={"supervised": {}})
    with pytest.raises(ConfigError, match=r"which no stream of it has.*distilled\.segmentation\.folder=FOLDER"):
        recipe(camvid, "segmentation", tmp_path, streams={"labelled": {}})
    for loss, how, reason in (
        ({"ohem": {}}, {"weigh": True}, "ohem and annealing choose pixels"),
        ({"smoothing": 0.1}, {"soft": True}, "smoothing is for hard labels"),
        ({"focal": 2.0}, {"soft": True}, "the focal loss is for hard labels"),
        ({"region": {"name": "dice"}}, {"weigh": True}, "a loss of areas takes hard labels"),
    ):
        supervised = {"losses": {"segmentation": loss}, "distilled": {"segmentation": how}}
        with pytest.raises(ConfigError, match=reason):
            recipe(camvid, "segmentation", tmp_path, objectives={"supervised": supervised})
    with pytest.raises(ConfigError, match="soft targets are probabilities of classes"):
        recipe(camvid, "depth", tmp_path, {"soft": True})
    with pytest.raises(ConfigError, match="distilled has 'edges'; a teacher writes segmentation, depth, normals"):
        recipe(camvid, "segmentation", tmp_path, streams={"labelled": {"distilled": {"edges": {"folder": "x"}}}})
