"""What each stream reads, and what it must never read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from accelerate import Accelerator

from fathomseg.config import validate
from fathomseg.data.colour import ColourJitter
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.nyuv2 import NyuV2
from fathomseg.data.datasets.several import Several
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.datasets.vkitti2 import VKitti2
from fathomseg.data.intrinsics import Intrinsics, pinhole
from fathomseg.data.labelled import Labels
from fathomseg.data.loading import BatchSlice, Steps, loader
from fathomseg.depth_sources import OwnDepth, RunDepth, prepare
from fathomseg.errors import ConfigError, FathomError
from fathomseg.io.depth_maps import write_scale
from fathomseg.objectives import Supervised
from fathomseg.training import matching
from fathomseg.training import streams as streams_module
from fathomseg.training.build import colours
from fathomseg.training.data_record import check_classes
from fathomseg.training.domains import held_for, matched, own_norms, same_data, shared_classes
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_config import StreamConfig, learned_as_is
from fathomseg.training.stream_ids import budgets
from fathomseg.training.streams import Streams, build_streams, refuse_mixed_cameras
from fathomseg.training.warnings import tell_labels_used, tell_shared_clips
from fathomseg.types import IGNORE, Batch
from tests import fakes
from tests.stages import tiny_depth, tiny_semi
from tests.stages.saved_run import save_run

SIZE = (24, 32)
LABELS = {"labels": {"name": "supervised", "stream": "frames"}}
DEPTHMIX = {"supervised": {}, "pseudo_labels": {"mixing": {"name": "depthmix"}}}


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.make_camvid(tmp_path_factory.mktemp("camvid"), train=6, val=5, size=SIZE)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs and two drives of five frames, of each of which the second has a label."""
    root = fakes.make_folder(tmp_path_factory.mktemp("own"), images=2, clips=2, frames=5, size=SIZE)
    for clip in range(2):
        label = fakes.stored_label(fakes.scene(clip, SIZE, 4)[1], "ids")
        fakes.save(root / f"labels/clips/drive{clip}/000001.png", label)
    return root


def recipe(root: Path, **sections: Any) -> Recipe:
    tree = {
        "data": {"name": "camvid", "root": str(root)},
        "size": list(SIZE),
        "streams": streams_of(),
        "objectives": {"supervised": {}, "pseudo_labels": {}},
        **sections,
    }
    return validate(Recipe, tree)


def streams_of(**unlabelled: Any) -> dict[str, Any]:
    """Two labelled images, and unlabelled ones with these settings; none is moved unless they say so."""
    geometry = {"geometry": {"scale": [1, 1], "flip": 0}}
    return {"labelled": {"labels": {"count": 2}, **geometry}, "unlabelled": {**geometry, **unlabelled}}


def built(settings: Recipe, folder: Path) -> tuple[Streams, tuple[str, ...]]:
    chosen = budgets(settings)
    return build_streams(settings, chosen, folder, Accelerator(cpu=True)), chosen.get("labelled", ())


def batches(streams: Streams, name: str, batch: int, steps: int = 1) -> list[Batch]:
    return list(loader(streams.by_name[name], Steps(BatchSlice(batch), 0, steps), workers=0, pin=False))


class TestEvaluatedImages:
    """No image that is scored is in any stream, however its dataset is spelled."""

    def test_of_the_same_data(self, camvid: Path, tmp_path: Path) -> None:
        streams, _ = built(recipe(camvid), tmp_path)
        assert set(streams.by_name) == {"labelled", "unlabelled"}
        for stream in streams.by_name.values():
            assert all(id.startswith("train/") for id in stream.ids)
        assert len(streams.by_name["unlabelled"].ids) == 6

    def test_of_a_split_that_would_hold_nothing_else(self, camvid: Path, tmp_path: Path) -> None:
        with pytest.raises(
            FathomError, match=r"No image is left in stream 'unlabelled'.*another streams\.unlabelled\.split"
        ):
            built(recipe(camvid, streams=streams_of(split="val")), tmp_path)

    def test_of_images_whose_labels_are_all_in_use(self, tmp_path: Path) -> None:
        data = {"name": "folder", "root": str(fakes.make_folder(tmp_path / "mydata"))}
        streams = {"labelled": {}, "unlabelled": {"labelled_too": False}}
        words = r"the labels of all \d are in use, and streams\.unlabelled\.labelled_too=false.*are in clips and all: "
        with pytest.raises(FathomError, match=words + r"set streams\.unlabelled\.split=clips\."):
            built(recipe(tmp_path, data=data, streams=streams), tmp_path / "run")
        streams["unlabelled"]["split"] = "clips"  # type: ignore[assignment]
        found, _ = built(recipe(tmp_path, data=data, streams=streams), tmp_path / "run")
        assert len(found.by_name["unlabelled"].ids) == 5

    def test_of_the_same_images_among_several_datasets(self, camvid: Path, tmp_path: Path) -> None:
        own = {"name": "camvid", "root": str(camvid)}
        streets = {**tiny_semi.STREETS, "frames": 2}
        several = {"name": "several", "datasets": {"here": own, "town": streets}}
        streams, _ = built(recipe(camvid, streams=streams_of(data=several, split="val")), tmp_path)
        assert streams.by_name["unlabelled"].ids == ("town/val/0000/000000", "town/val/0000/000001")

    def test_of_a_generated_city_with_other_settings(self, tmp_path: Path) -> None:
        unlabelled = {"data": {**tiny_semi.STREETS, "val_clips": 2}, "split": "val"}
        settings = validate(Recipe, tiny_semi.settings(streams=tiny_semi.streams(unlabelled=unlabelled)))
        streams, _ = built(settings, tmp_path)
        assert streams.by_name["unlabelled"].ids == tuple(f"val/0001/{frame:06d}" for frame in range(4))

    def test_of_clips(self, tmp_path: Path) -> None:
        streams, _ = built(validate(Recipe, tiny_semi.joint()), tmp_path)
        clips = streams.by_name["clips"]
        used = {other for neighbours in (clips.neighbours or {}).values() for other in neighbours.values()}
        assert clips.ids
        assert all(id.startswith("train/") for id in {*clips.ids, *used})
        with pytest.raises(FathomError, match="no training may see what it is scored on"):
            built(
                validate(Recipe, tiny_semi.joint(streams=tiny_semi.streams(clips={"split": "val"}))), tmp_path / "other"
            )

    def test_of_clips_of_another_spelling(self, tmp_path: Path) -> None:
        clips = {"data": {"name": "several", "datasets": {"a": {**tiny_semi.STREETS, "val_clips": 2}}}, "split": "val"}
        streams, _ = built(validate(Recipe, tiny_semi.joint(streams=tiny_semi.streams(clips=clips))), tmp_path)
        assert {id.split("/")[2] for id in streams.by_name["clips"].ids} == {"0001"}

    @pytest.mark.parametrize(("split", "scored"), [("val", "val"), (None, "train")])
    def test_of_a_label_budget_that_names_their_split(self, camvid: Path, split: str | None, scored: str) -> None:
        streams = {"labelled": {"split": split, "labels": {}}}
        settings = recipe(camvid, streams=streams, objectives={"supervised": {}}, evaluation={"split": scored})
        told = rf"streams\.labelled\.split and evaluation\.split are both '{scored}': no training may see"
        with pytest.raises(FathomError, match=told):
            budgets(settings)

    def test_val_is_a_split_like_others_if_it_is_not_scored(self, drives: Path, tmp_path: Path) -> None:
        """Its drive, too: it is held out to be scored on."""
        data = {"name": "folder", "root": str(drives), "val": ["clips/drive1/*"]}
        streams = {"labelled": {"split": "val"}, "unlabelled": {"split": "val"}}
        found, _ = built(recipe(drives, data=data, streams=streams, evaluation={"split": None}), tmp_path)
        assert found.by_name["labelled"].ids == ("clips/drive1/000001",)
        assert found.by_name["unlabelled"].ids == tuple(f"clips/drive1/{frame:06d}" for frame in range(5))

    def test_of_a_label_budget_of_another_spelling(self, camvid: Path) -> None:
        several = {"name": "several", "datasets": {"here": {"name": "camvid", "root": str(camvid)}}}
        streams = {"labelled": {"data": several, "split": "val"}}
        with pytest.raises(FathomError, match=r"All 5 images of split 'val' of several .* held out to be scored on"):
            budgets(recipe(camvid, streams=streams, objectives={"supervised": {}}))


class TestLabelsThatNobodyNeeds:
    """`labels` of video says whose labels may be opened; frames without one are learned from all the same."""

    def guided(self, root: Path, **clips: Any) -> Recipe:
        data = {"name": "folder", "root": str(root), "val": []}
        given = {"camera": {"name": "field_of_view"}, "geometry": {"scale": [1, 1], "flip": 0}, **clips}
        guidance = {"losses": {"smoothness": {}}}
        depth = {"depth": {"decoder": {"stride": 4}}}
        return recipe(
            root,
            data=data,
            network={"tasks": depth},
            streams={"clips": given},
            objectives={"photometric": {}, "semantic_guidance": guidance},
        )

    @pytest.mark.parametrize("count", [None, 1, 0])
    def test_frames_without_a_label_stay(self, drives: Path, tmp_path: Path, count: int | None) -> None:
        settings = self.guided(drives, labels={"count": count})
        chosen = budgets(settings)["clips"]
        labelled = {"clips/drive0/000001", "clips/drive1/000001"}
        assert set(chosen) <= labelled
        assert len(chosen) == (2 if count is None else count)
        streams, _ = built(settings, tmp_path)
        ids = {f"clips/drive{drive}/{frame:06d}" for drive in range(2) for frame in (1, 2, 3)}
        assert set(streams.by_name["clips"].ids) == ids
        (batch,) = batches(streams, "clips", 6)
        assert set(batch.ids) == ids
        assert batch.present["frames"].all()
        has = batch.present.get("label", torch.zeros(6, dtype=torch.bool)).tolist()
        assert {id for id, there in zip(batch.ids, has, strict=True) if there} == set(chosen)
        data = Folder(root=drives, val=())
        for row, id in enumerate(batch.ids if chosen else ()):
            truth = torch.from_numpy(data.label(id)) if id in chosen else torch.full(SIZE, IGNORE)
            assert torch.equal(batch.targets["label"][row], truth.to(torch.uint8))

    def test_a_budget_counts_the_labels_of_frames(self, drives: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Not those of the photographs beside them, which are no frames."""
        settings = self.guided(drives, labels={"count": 2})
        tell_labels_used(settings, budgets(settings))
        assert "clips: 2 labels are used, of 10 images in clips of folder." in capsys.readouterr().err

    def test_of_images_without_neighbours(self, camvid: Path, tmp_path: Path) -> None:
        """Pseudo-labels use labels where there are some, and need none."""
        streams, _ = built(recipe(camvid, streams=streams_of(labels={"count": 3}, labelled_too=False)), tmp_path)
        assert len(streams.by_name["unlabelled"].ids) == 6
        (batch,) = batches(streams, "unlabelled", 6)
        assert batch.present["label"].sum() == 3


class TestLabels:
    def test_only_those_of_the_budget_are_known(self, camvid: Path, tmp_path: Path) -> None:
        streams, labelled = built(recipe(camvid), tmp_path)
        (batch,) = batches(streams, "unlabelled", 6)
        truth = {id: CamVid(root=camvid).label(id) for id in labelled}
        assert len(truth) == 2
        for id, label, known in zip(
            batch.ids, batch.targets["label"].numpy(), batch.present["label"].tolist(), strict=True
        ):
            assert known == (id in truth)
            if known:
                np.testing.assert_array_equal(label, truth[id])
            else:
                assert (label == IGNORE).all()

    def test_other_images_of_the_same_ids_have_none(self, tmp_path: Path) -> None:
        """Another city has drives of the same names."""
        for seed, known in ((0, True), (1, False)):
            unlabelled = {"data": {**tiny_semi.STREETS, "seed": seed, "val_clips": 2}}
            tree = tiny_semi.settings(streams=tiny_semi.streams(unlabelled=unlabelled))
            streams, _ = built(validate(Recipe, tree), tmp_path / str(seed))
            assert bool(streams.by_name["unlabelled"].labels_of) == known

    def test_none_is_read_if_the_truth_is_not_wanted(self, camvid: Path, tmp_path: Path) -> None:
        objectives = {"supervised": {}, "pseudo_labels": {"truth": False}}
        streams, _ = built(recipe(camvid, objectives=objectives), tmp_path)
        (batch,) = batches(streams, "unlabelled", 6)
        assert not batch.has("label")
        assert streams.by_name["unlabelled"].kinds == ("image",)

    def test_the_labelled_images_can_be_left_out(self, camvid: Path, tmp_path: Path) -> None:
        streams, labelled = built(recipe(camvid, streams=streams_of(labelled_too=False)), tmp_path)
        assert set(streams.by_name["unlabelled"].ids).isdisjoint(labelled)
        assert len(streams.by_name["unlabelled"].ids) == 4


class TestOtherData:
    def test_images_of_other_classes_will_do(self, camvid: Path, tmp_path: Path) -> None:
        """IDD-Lite has other classes than CamVid; its labels are not read."""
        idd = fakes.make_idd_lite(tmp_path / "idd", sequences=4)
        for path in (idd / "gtFine").rglob("*.png"):
            path.write_bytes(b"no label")
        settings = recipe(camvid, streams=streams_of(data={"name": "idd_lite", "root": str(idd)}))
        streams, _ = built(settings, tmp_path / "run")
        (batch,) = batches(streams, "unlabelled", 3)
        assert not batch.has("label")
        assert tuple(batch.image.shape) == (3, 3, *SIZE)

    def test_a_folder_without_labels_will_do(self, camvid: Path, tmp_path: Path) -> None:
        folder = tmp_path / "mine"
        for number in range(3):
            fakes.save(folder / "images" / f"{number}.png", fakes.scene(number, SIZE, 3)[0])
        fakes.write_yaml(folder / "dataset.yaml", {"classes": ["a", "b"]})
        streams, _ = built(
            recipe(camvid, streams=streams_of(data={"name": "folder", "root": str(folder)})), tmp_path / "r"
        )
        (batch,) = batches(streams, "unlabelled", 3)
        assert not batch.has("label")
        assert len(set(batch.ids)) == 3

    def test_a_bad_image_is_named_before_training(self, camvid: Path, tmp_path: Path) -> None:
        folder = tmp_path / "mine"
        fakes.save(folder / "images" / "good.png", fakes.scene(0, SIZE, 3)[0])
        (folder / "images" / "bad.png").write_bytes(b"no picture")
        fakes.write_yaml(folder / "dataset.yaml", {"classes": ["a", "b"]})
        with pytest.raises(FathomError, match=r"bad\.png"):
            built(recipe(camvid, streams=streams_of(data={"name": "folder", "root": str(folder)})), tmp_path / "r")


class TestOtherClasses:
    """Labels of a source with other classes become the recipe's, in the loader."""

    SOURCE: ClassVar[dict[str, Any]] = {"data": {**tiny_semi.STREETS, "size": list(SIZE)}, "labels": {"count": 2}}

    def tree(self, camvid: Path, **source: Any) -> Recipe:
        streams = {**streams_of(), "source": {**self.SOURCE, "geometry": {"scale": [1, 1], "flip": 0}, **source}}
        objectives = {"supervised": {"stream": ["source", "labelled"]}, "pseudo_labels": {}}
        return recipe(camvid, streams=streams, objectives=objectives)

    def test_labels_have_our_indices(self, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        settings = self.tree(camvid, classes="streets-camvid")
        streams, _ = built(settings, tmp_path)
        (batch,) = batches(streams, "source", 2)
        source, names = settings.dataset("source"), CamVid(root=camvid).classes.names
        meaning = {"vegetation": "tree", "sidewalk": "pavement", "person": "pedestrian", "truck": "car"}
        meaning |= dict.fromkeys(("traffic light", "traffic sign"), "sign") | dict.fromkeys(
            ("rider", "bicycle"), "bicyclist"
        )
        for id, label in zip(batch.ids, batch.targets["label"].numpy(), strict=True):
            theirs = source.label(id)
            assert theirs is not None
            for index, name in enumerate(source.classes.names):
                ours = IGNORE if name == "terrain" else names.index(meaning.get(name, name))
                assert (label[theirs == index] == ours).all()
        pixels = streams.by_name["source"].label_pixels(11)
        assert pixels[names.index("road")] == sum((b == 3).sum() for b in batch.targets["label"])
        told = capsys.readouterr().err
        assert "source: classes of camvid <- streets" in told
        assert "bicyclist   rider, bicycle" in told
        assert "(ignored)   terrain" in told

    def test_what_has_no_partner_is_no_longer_learned(self, camvid: Path, tmp_path: Path) -> None:
        streams, _ = built(self.tree(camvid), tmp_path)
        (batch,) = batches(streams, "source", 2)
        shared = {"sky", "building", "pole", "road", "fence", "car"}
        names = CamVid(root=camvid).classes.names
        assert {names[i] for i in np.unique(batch.targets["label"]) if i != IGNORE} <= shared
        assert shared_classes(self.tree(camvid)) == tuple(name for name in names if name in shared)
        assert shared_classes(self.tree(camvid, classes="streets-camvid")) == (), "the source has them all"
        assert shared_classes(recipe(camvid)) == ()

    def test_what_one_stream_says_of_the_classes_holds_for_the_same_data(self, camvid: Path, tmp_path: Path) -> None:
        """Else one image would have two labels in one step: that of the budget, and the truth of a pseudo-label."""
        names = CamVid(root=camvid).classes.names
        told = {"road": "pavement", "bicyclist": None}
        streams = streams_of(data={"name": "camvid", "root": str(camvid), "frame_step": 1})
        streams["labelled"]["classes"] = told
        settings = recipe(camvid, streams=streams)
        assert matched(settings, "unlabelled") == matched(settings, "labelled")
        made, chosen = built(settings, tmp_path)
        (ours,), (theirs,) = batches(made, "labelled", 2), batches(made, "unlabelled", 6)
        for id, label in zip(ours.ids, ours.targets["label"], strict=True):
            assert id in chosen
            assert torch.equal(label, theirs.targets["label"][theirs.ids.index(id)])
            assert names.index("road") not in label
        streams["unlabelled"]["classes"] = {"bicyclist": None}
        with pytest.raises(
            ConfigError, match=r"streams\.labelled\.classes and streams\.unlabelled\.classes .*two mean"
        ):
            budgets(recipe(camvid, streams=streams))
        streams["unlabelled"]["classes"] = {"Road": "Pavement", "Bicyclist": None}
        budgets(recipe(camvid, streams=streams))

    def test_no_partner_at_all_is_an_error(self, camvid: Path, tmp_path: Path) -> None:
        data = {"name": "folder", "root": str(tmp_path / "mine")}
        fakes.write_yaml(tmp_path / "mine" / "dataset.yaml", {"classes": ["a", "b"]})
        with pytest.raises(FathomError, match=r"None of the 2 classes.*with streams\.source\.classes: a YAML file"):
            budgets(self.tree(camvid, data=data))

    @pytest.mark.parametrize("count", [0, 2])
    def test_no_target_labels_are_the_same_recipe_with_another_number(
        self, camvid: Path, tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings = self.tree(camvid, classes="streets-camvid")
        labelled = {**settings.streams, "labelled": StreamConfig(labels=Labels(count=count))}
        settings = settings.model_copy(update={"streams": labelled})
        streams, ids = built(settings, tmp_path)
        assert len(ids) == count
        assert set(streams.by_name) == {"source", "unlabelled"} | ({"labelled"} if count else set())
        (batch,) = batches(streams, "unlabelled", 6)
        assert batch.has("label") == (count > 0)
        assert len(set(batch.ids)) == 6
        assert ("labelled: a budget of no labels" in capsys.readouterr().err) == (count == 0)

    def test_no_labels_anywhere_is_an_error(self, camvid: Path, tmp_path: Path) -> None:
        streams = {**streams_of(), "labelled": {"labels": {"count": 0}}}
        with pytest.raises(FathomError, match=r"'supervised' has nothing to learn from: its streams \(labelled\)"):
            built(recipe(camvid, streams=streams), tmp_path)


class TestEndlessStreams:
    def tree(self, camvid: Path, **source: Any) -> Recipe:
        data = {**tiny_semi.STREETS, "size": list(SIZE), "endless": True}
        streams = {**streams_of(), "source": {"data": data, "classes": "streets-camvid", **source}}
        objectives = {"supervised": {"stream": ["source", "labelled"]}, "pseudo_labels": {}}
        return recipe(camvid, streams=streams, objectives=objectives)

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams_module, "_COUNTED", 2)

    def test_every_step_sees_new_frames_with_labels(self, camvid: Path, tmp_path: Path) -> None:
        settings = self.tree(camvid)
        assert set(budgets(settings)) == {"labelled"}
        streams, _ = built(settings, tmp_path)
        found = batches(streams, "source", 2, steps=2)
        assert len({id for batch in found for id in batch.ids}) == 4
        assert all(batch.present["label"].all() for batch in found)
        assert streams.by_name["source"].label_pixels(11).sum() > 0
        again, _ = built(settings, tmp_path)
        assert [b.ids for b in batches(again, "source", 2, steps=2)] == [b.ids for b in found]

    def test_classes_are_checked_on_a_few_frames(
        self, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A class that the frames do not show may come yet; one without a partner does not."""
        fence = CamVid(root=camvid).classes.names.index("fence")

        def told(classes: Any) -> str:
            settings = self.tree(camvid, classes=classes)
            streams, _ = built(settings, tmp_path)
            for stream in streams.by_name.values():
                assert (stream.label_counts[:11] > 0).sum() >= 2
                stream.label_counts[fence] = 0
            capsys.readouterr()
            check_classes(settings, streams, main=True)
            return capsys.readouterr().err

        assert "fence" not in told("streets-camvid")
        assert "no pixel has the class fence" in told({"fence": None, "sidewalk": "pavement"})

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (
                {"labels": {"count": 3}},
                r"a label budget \(streams\.source\.labels\) needs .*leave that out, or give str",
            ),
            ({"depth": {"name": "run", "run": "runs/depth"}}, r"streams\.source\.depth .*needs all its images listed"),
            (
                {"distilled": {"segmentation": {"folder": "t"}}},
                r"streams\.source\.distilled needs all its images listed",
            ),
            ({"split": "val"}, r"only the split 'train'"),
        ],
    )
    def test_what_needs_a_list_is_refused_before_anything_is_read(
        self, camvid: Path, source: dict[str, Any], message: str
    ) -> None:
        pseudo = {"name": "pseudo_labels", "stream": ["source"], "mixing": {"name": "depthmix"}}
        taught = {"distilled": {"segmentation": {}}} if "distilled" in source else {}
        objectives = {"supervised": {"stream": ["source", "labelled"], **taught}, "pseudo_labels": {}}
        streams = {**self.tree(camvid).model_dump(exclude_unset=True)["streams"]}
        streams["source"] |= source
        with pytest.raises(ConfigError, match=message):
            recipe(
                camvid, streams=streams, objectives={**objectives, **({"source": pseudo} if "depth" in source else {})}
            )

    @pytest.mark.parametrize("name", ["rare_classes", "matching_geometry"])
    def test_so_is_sampling_before_anything_is_read(self, camvid: Path, name: str) -> None:
        with pytest.raises(ConfigError, match=rf"streams\.source\.sampling={name} needs all its images listed"):
            self.tree(camvid, sampling={"name": name})

    @pytest.mark.parametrize(
        ("objective", "what"),
        [
            ({"name": "contrastive"}, r"objectives\.other"),
            ({"name": "photometric", "pose": {"name": "flow"}}, "learning from neighbouring frames"),
        ],
    )
    def test_so_are_objectives(self, camvid: Path, objective: dict[str, Any], what: str) -> None:
        """A scene model goes by the place of every sample in its clip."""
        objectives = {"supervised": {}, "pseudo_labels": {}, "other": {**objective, "stream": "source"}}
        tasks = {"segmentation": {}, **({"depth": {}} if objective["name"] == "photometric" else {})}
        with pytest.raises(ConfigError, match=rf"streams\.source is endless, but {what} needs all its images listed"):
            recipe(
                camvid,
                streams=self.tree(camvid).model_dump(exclude_unset=True)["streams"],
                objectives=objectives,
                network={"tasks": tasks},
            )

    def test_its_own_depth_gives_disparity_as_prepared_maps_do(self, camvid: Path, tmp_path: Path) -> None:
        pseudo = {"stream": ["source"], "mixing": {"name": "depthmix"}}
        depth = {"name": "dataset"}
        still = {"geometry": {"scale": [1, 1], "flip": 0}}
        streams = {**self.tree(camvid, depth=depth, **still).model_dump()["streams"]}
        del streams["unlabelled"]
        both = {"supervised": {"stream": ["source", "labelled"]}, "pseudo_labels": pseudo}
        settings = recipe(camvid, streams=streams, objectives=both)
        made, _ = built(settings, tmp_path)
        (batch,) = batches(made, "source", 2)
        data = settings.dataset("source")
        maps = prepare(OwnDepth(), data, batch.ids, SIZE, folder=tmp_path / "maps")
        for id, found in zip(batch.ids, batch.targets["disparity"][:, 0].numpy(), strict=True):
            np.testing.assert_allclose(found, maps(id), atol=1e-4)


class TestPairs:
    """A source whose images are mixed into those of the target, one by one."""

    OBJECTIVES: ClassVar[dict[str, Any]] = {
        "supervised": {"stream": ["source", "labelled"]},
        "pseudo_labels": {"partner": "source", "mixing": {"name": "depthmix"}, "teacher_sees": "view"},
    }

    def tree(self, camvid: Path, source: dict[str, Any] | None = None, **sections: Any) -> Recipe:
        still = {"geometry": {"scale": [1, 1], "flip": 0}}
        data = {**tiny_semi.STREETS, "size": list(SIZE), "train_clips": 3}
        usual = {"data": data, "classes": "streets-camvid", "depth": {"name": "dataset"}, **still}
        streams = {
            "source": {**usual, **(source or {})},
            "labelled": {"labels": {"count": 0}},
            "unlabelled": {"data": {**data, "domain": "dusk"}, "depth": {"name": "dataset"}, **still},
        }
        return recipe(camvid, **{"streams": streams, "objectives": self.OBJECTIVES, **sections})

    MATCHING: ClassVar[dict[str, Any]] = {"sampling": {"name": "matching_geometry", "candidates": 12}}

    @pytest.mark.slow
    def test_the_image_drawn_is_the_one_whose_depth_fits_best(self, camvid: Path, tmp_path: Path) -> None:
        """Of all images, compared by whole maps of disparity at full size."""
        streams, _ = built(self.tree(camvid, self.MATCHING), tmp_path)
        source, target = streams.by_name["source"], streams.by_name["unlabelled"]
        assert source.disparity is not None
        assert target.disparity is not None
        first, last = round(0.156 * SIZE[0]), round((1 - 0.195) * SIZE[0])
        ranks = []
        for position in range(6):
            wanted = np.log1p(target.disparity(target.id_at(position))[first:last])
            apart = {id: np.nanmean(np.abs(wanted - np.log1p(source.disparity(id)[first:last]))) for id in source.ids}
            ranks.append(sorted(apart, key=apart.__getitem__).index(source.id_at(position)))
        assert len(source.ids) == 12
        assert max(ranks) <= 1, "maps of 16 x 32 may take the second best for the best"
        assert ranks.count(0) >= 4

    @pytest.mark.slow
    def test_processes_and_micro_batches_see_the_pairs_of_one(self, camvid: Path, tmp_path: Path) -> None:
        streams, _ = built(self.tree(camvid, self.MATCHING), tmp_path)

        def pairs(share: BatchSlice) -> list[tuple[str, str]]:
            both = [
                [id for batch in loader(streams.by_name[name], Steps(share, 0, 2), 0, False) for id in batch.ids]
                for name in ("source", "unlabelled")
            ]
            return list(zip(*both, strict=True))

        whole = pairs(BatchSlice(4))
        ranks = [pair for rank in range(2) for pair in pairs(BatchSlice(4, rank=rank, world=2))]
        assert sorted(ranks) == sorted(whole)
        assert pairs(BatchSlice(4, accumulate=2)) == whole

    def test_small_maps_are_kept_in_the_cache(
        self, camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, _ = built(self.tree(camvid, self.MATCHING), tmp_path / "a")
        monkeypatch.setattr(matching, "smaller", lambda _: pytest.fail("a map was read again"))
        again, _ = built(self.tree(camvid, self.MATCHING), tmp_path / "b")
        ids = [[made.by_name["source"].id_at(position) for position in range(5)] for made in (first, again)]
        assert ids[0] == ids[1]

    def test_the_source_is_read_with_labels_and_disparity(self, camvid: Path, tmp_path: Path) -> None:
        tree = self.tree(camvid)
        assert tree.needs("source") == {"label", "disparity"}
        (batch,) = batches(built(tree, tmp_path)[0], "source", 2)
        assert {"label", "disparity"} <= batch.targets.keys()

    def test_both_have_the_depth_of_a_run_of_their_own(self, camvid: Path, tmp_path: Path) -> None:
        """Self-supervised depth of each domain."""
        streams = self.tree(camvid).model_dump(exclude_unset=True)["streams"]
        runs = {}
        for seed, name in enumerate(("source", "unlabelled")):
            run = save_run(tmp_path / name, None, {"name": "streets"}, tasks=("depth",), seed=seed)
            streams[name]["depth"] = {"name": "run", "run": str(run)}
            runs[name] = RunDepth(run=run)
        settings = recipe(camvid, streams=streams, objectives=self.OBJECTIVES)
        made, _ = built(settings, tmp_path)
        for name, run in runs.items():
            (batch,) = batches(made, name, 2)
            maps = prepare(run, settings.dataset(name), batch.ids, SIZE, folder=tmp_path / "maps" / name)
            for id, found in zip(batch.ids, batch.targets["disparity"][:, 0].numpy(), strict=True):
                np.testing.assert_allclose(found, maps(id), atol=1e-4)
        other = prepare(runs["source"], settings.dataset("unlabelled"), batch.ids, SIZE, folder=tmp_path / "maps" / "o")
        assert np.abs(other(batch.ids[0]) - maps(batch.ids[0])).max() > 0.01

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ({"batch": 3}, r"'source' and 'unlabelled' are paired.*batches of 3 and 8: give streams\.source\.batch=8"),
            ({"size": [16, 32]}, r"'source' and 'unlabelled' are paired.*views of 16 x 32 and 24 x 32: give both"),
            ({"geometry": {"crop": [16, 16]}}, r"views of 16 x 16 and 24 x 32: give both"),
            ({"sampling": {"name": "matching_geometry", "partner": "other"}}, "is no other stream"),
            (
                {"sampling": {"name": "matching_geometry", "partner": "labelled"}},
                r"compares depths: give streams\.labelled\.depth",
            ),
            ({"depth": None}, r"give streams\.source\.depth"),
            (
                {"depth": {"name": "dataset", "normalise": {"percentiles": [0, 100]}}},
                r"^[^;]*: objective 'pseudo_labels' compares depths of streams 'source' and 'unlabelled', which are "
                r"normalised differently: give both the same depth\.normalise, or "
                r"objectives\.pseudo_labels\.depth_scale=image$",
            ),
            (
                {**MATCHING, "depth": {"name": "dataset", "normalise": {"over": "dataset"}}},
                r"streams\.source\.sampling compares depths of .* normalised differently: give both the same "
                r"depth\.normalise; objective",
            ),
        ],
    )
    def test_what_cannot_be_paired_is_told_before_anything_is_read(
        self, camvid: Path, source: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            self.tree(camvid, source)

    @pytest.mark.parametrize("own", [{"depth_scale": "image"}, {"mixing": {"name": "classmix"}}])
    def test_depths_that_are_not_compared_as_given_may_be_of_different_scales(
        self, camvid: Path, own: dict[str, Any]
    ) -> None:
        objectives = {**self.OBJECTIVES, "pseudo_labels": {**self.OBJECTIVES["pseudo_labels"], **own}}
        source = {"depth": {"name": "dataset", "normalise": {"over": "dataset"}}}
        self.tree(camvid, source, objectives=objectives)
        with pytest.raises(ConfigError, match=r"streams\.source\.sampling compares depths of"):
            self.tree(camvid, {**source, **self.MATCHING}, objectives=objectives)

    def test_images_are_fitted_to_those_they_are_mixed_with(self, camvid: Path) -> None:
        within = {"mixing": {"name": "depthmix"}, "teacher_sees": "view"}
        with pytest.raises(
            ConfigError,
            match=r"streams\.source\.sampling fits its images to unlabelled, but nothing mixes the two: give "
            r"objectives\.NAME\.partner=source, or streams\.source\.sampling\.name=uniform",
        ):
            self.tree(camvid, self.MATCHING, objectives={**self.OBJECTIVES, "pseudo_labels": within})

    def test_a_source_without_labels_is_an_error(self, camvid: Path, tmp_path: Path) -> None:
        settings = self.tree(camvid)
        labelled = {"labels": {"count": 2}}
        streams = {**settings.model_dump()["streams"], "labelled": labelled}
        streams["source"]["labels"] = {"count": 0}
        streams["source"]["depth"] = None
        pseudo = {**self.OBJECTIVES["pseudo_labels"], "mixing": {"name": "classmix"}}
        objectives = {**self.OBJECTIVES, "pseudo_labels": pseudo}
        with pytest.raises(FathomError, match=r"mixes in images of stream 'source', which has a budget of no labels"):
            built(recipe(camvid, streams=streams, objectives=objectives), tmp_path)


class TestWhole:
    """Images are prepared larger than the network sees them, and come along whole for a teacher that wants them so."""

    def batch(self, root: Path, folder: Path, geometry: dict[str, Any], **pseudo_labels: Any) -> tuple[Batch, Any]:
        streams = {"labelled": {"labels": {"count": 2}}, "unlabelled": {"geometry": geometry}}
        objectives = {"supervised": {}, "pseudo_labels": pseudo_labels}
        settings = recipe(root, size=[12, 16], streams=streams, objectives=objectives)
        found, _ = built(settings, folder)
        (batch,) = batches(found, "unlabelled", 3)
        return batch, found.by_name["unlabelled"].cache.size

    def test_they_do(self, camvid: Path, tmp_path: Path) -> None:
        batch, prepared = self.batch(camvid, tmp_path, {})
        assert prepared == SIZE, "twice the working size, as large as they are stored"
        assert tuple(batch.image.shape) == tuple(batch.targets["whole"].shape) == (3, 3, 12, 16)
        assert tuple(batch.targets["view"].shape) == (3, 2, 3)

    def test_not_without_need(self, camvid: Path, tmp_path: Path) -> None:
        batch, prepared = self.batch(camvid, tmp_path, {"scale": [1, 1]}, teacher_sees="view")
        assert prepared == (12, 16)
        assert not batch.has("whole")
        assert self.batch(camvid, tmp_path, {"detail": 1.5})[1] == (18, 24)


def test_streams_of_the_same_images_are_shuffled_apart(tmp_path: Path) -> None:
    tree = tiny_semi.settings(streams={"labelled": {"labels": {"count": 8}}, "unlabelled": {}})
    streams, _ = built(validate(Recipe, tree), tmp_path)
    labelled, unlabelled = (streams.by_name[name] for name in ("labelled", "unlabelled"))
    assert labelled.ids == unlabelled.ids
    orders = [[stream.id_at(position) for position in range(16)] for stream in (labelled, unlabelled)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_labels_that_nothing_learns_from_bring_no_images(tmp_path: Path) -> None:
    """Half of the images have a label and half a depth, and the training is of depth alone."""
    root = fakes.make_nyuv2(tmp_path / "nyu", test=False)
    stems = sorted(path.stem for path in (root / "image").iterdir())
    for number, stem in enumerate(stems):
        (root / ("depth" if number % 2 else "seg40") / f"{stem}.png").unlink()
    tree = {
        "data": {"name": "nyuv2", "root": str(root), "val_percent": 1},
        "size": [24, 32],
        "network": {"tasks": {"depth": {"output": "metric"}}},
        "streams": {"labelled": {"labels": {"count": None}}},
        "objectives": {"supervised": {"losses": {"depth": {"error": "berhu"}}}},
        "evaluation": {"split": None},
    }
    streams, _ = built(validate(Recipe, tree), tmp_path / "run")
    dataset = NyuV2(root=root, val_percent=1)
    assert streams.by_name["labelled"].ids
    assert all(dataset.has_depth(id) for id in streams.by_name["labelled"].ids)


def test_depth_that_is_there_but_not_read_is_told_where_it_is_needed(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path / "mydata", images=3, clips=0, size=SIZE)
    fakes.save(root / "depth/000.png", np.full(SIZE, 2500, np.uint16))
    depth = {
        "data": {"name": "folder", "root": str(root)},
        "network": {"tasks": {"depth": {}}},
        "streams": {"labelled": {}},
        "objectives": {"supervised": {"losses": {"depth": {}}}},
    }
    with pytest.raises(
        FathomError, match=r"has a depth to learn from\. depth/ holds 1 maps .* Or give another streams"
    ):
        built(recipe(root, **depth), tmp_path / "run")


class TestDisparity:
    """Maps are made of whole images and then follow crop and flip, pixel by pixel."""

    @pytest.fixture
    def coded(self, tmp_path: Path) -> tuple[Path, Path]:
        """Images that show at each pixel where it lies, and maps that say the same: disparity = 1 - place / last."""
        height, width = 40, 60
        y, x = np.mgrid[:height, :width]
        place = y * width + x
        root, maps = tmp_path / "data", tmp_path / "maps"
        for number in range(3):
            colours = np.stack([x, y, np.full_like(x, number)], axis=-1).astype(np.uint8)
            fakes.save(root / "images" / "train" / f"{number}.png", colours)
            (maps / "train").mkdir(parents=True, exist_ok=True)
            stored = np.round(65535 * (1 - place / place.max())).astype(np.uint16)
            assert cv2.imwrite(str(maps / "train" / f"{number}.png"), stored)
            label = np.zeros((height, width), np.uint8)
            fakes.save(root / "labels" / "train" / f"{number}.png", label)
        fakes.write_yaml(root / "dataset.yaml", {"classes": ["a", "b"]})
        return root, maps

    @pytest.mark.parametrize("flip", [0, 1])
    def test_it_follows_the_image(self, coded: tuple[Path, Path], tmp_path: Path, flip: int) -> None:
        root, maps = coded
        geometry = {"crop": [16, 24], "scale": [1, 1], "flip": flip}
        depth = {"name": "maps", "folder": str(maps), "normalise": {"percentiles": [0, 100]}}
        data = {"name": "folder", "root": str(root)}
        streams = streams_of(depth=depth, geometry=geometry)
        settings = recipe(root, data=data, size=[40, 60], streams=streams, objectives=DEPTHMIX)
        streams, _ = built(settings, tmp_path / "run")
        windows = set()
        for batch in batches(streams, "unlabelled", 3, steps=4):
            x, y = batch.image[:, 0].double(), batch.image[:, 1].double()
            expected = 1 - (y * 60 + x) / (40 * 60 - 1)
            # Normalised over the whole image: the scale is not that of the crop.
            assert abs(batch.targets["disparity"][:, 0].double() - expected).max() < 1.5 / 65535
            steps = x[:, :, 1:] - x[:, :, :-1]
            assert (steps == (-1 if flip else 1)).all()
            windows |= {(int(one[0, 0]), int(two[0, 0])) for one, two in zip(x, y, strict=True)}
        assert len(windows) > 6

    def test_it_is_made_only_for_a_rule_that_compares_depths(self, coded: tuple[Path, Path], tmp_path: Path) -> None:
        root, maps = coded
        data, depth = {"name": "folder", "root": str(root)}, {"name": "maps", "folder": str(maps)}
        streams, _ = built(recipe(root, data=data, streams=streams_of(depth=depth)), tmp_path / "run")
        assert not batches(streams, "unlabelled", 2)[0].has("disparity")

    @pytest.mark.parametrize("task", ["depth", "source_depth"])
    def test_as_it_is_it_stands_for_the_depths_of_the_network(
        self, task: str, coded: tuple[Path, Path], tmp_path: Path
    ) -> None:
        root, maps = coded
        depth = {"name": "maps", "folder": str(maps), "normalise": {"over": "none"}}
        data = {"name": "folder", "root": str(root)}

        def built_for(farthest: float, error: str = "l1") -> tuple[str, ...]:
            decoder = {"name": "depth_unet", "stride": 4}
            branch = {"decoder": decoder, "min_depth": 1.0, "max_depth": farthest}
            losses = {task: {"target": "disparity", "error": error}}
            settings = {
                "network": {"tasks": {"segmentation": {}, task: branch}},
                "streams": {"frames": {"depth": depth}},
            }
            objectives = {**LABELS, "supervised": {"stream": "frames", "losses": losses}}
            made = recipe(root, data=data, size=[40, 60], objectives=objectives, **settings)
            return built(made, tmp_path / "run")[0].by_name["frames"].ids

        scale = write_scale(maps, (0.5, 25.0))
        try:
            with pytest.raises(FathomError, match=rf"Set network\.tasks\.{task}\.min_depth=0\.5 and max_depth=25"):
                built_for(100.0)
            assert built_for(50.0), "in another unit it is the same depth"
            assert built_for(100.0, "scale_shift_invariant"), "it has no scale"
        finally:
            scale.unlink()

    @pytest.mark.parametrize("task", ["depth", "source_depth"])
    def test_as_it_is_it_does_not_follow_the_zoom(self, task: str, camvid: Path) -> None:
        def read(error: str = "l1", over: str = "none", **geometry: object) -> Recipe:
            depth = {"name": "maps", "folder": "maps", "normalise": {"over": over}}
            stream = {"depth": depth, "geometry": {"depth_follows_zoom": True, **geometry}}
            losses = {task: {"target": "disparity", "error": error}}
            network = {"tasks": {"segmentation": {}, task: {"decoder": {"name": "depth_unet", "stride": 4}}}}
            objectives = {**LABELS, "supervised": {"stream": "frames", "losses": losses}}
            return recipe(camvid, network=network, streams={"frames": stream}, objectives=objectives)

        with pytest.raises(
            ConfigError, match=r"streams\.frames\.geometry\.depth_follows_zoom divides depth by the zoom"
        ):
            read()
        read(error="scale_shift_invariant")
        read(over="image")
        read(scale=[1, 1])
        read(depth_follows_zoom=False)

    def test_true_depth_and_other_streams_are_not_learned_as_it_is(self) -> None:
        disparity = {"target": "disparity", "error": "l1"}
        losses = {"depth": disparity, "source_depth": disparity}
        for given, tasks in (
            (losses, ["depth", "source_depth"]),
            ({**losses, "depth": {}}, ["source_depth"]),
            ({"depth": disparity | {"error": "scale_shift_invariant"}}, []),
        ):
            objectives = {"supervised": validate(Supervised, {"stream": ["a", "b"], "losses": given})}
            assert learned_as_is(objectives, "b") == tasks
            assert learned_as_is(objectives, "c") == []

    def test_padding_is_not_known(self, coded: tuple[Path, Path], tmp_path: Path) -> None:
        root, maps = coded
        geometry = {"crop": [50, 70], "scale": [1, 1], "flip": 0}
        data, depth = {"name": "folder", "root": str(root)}, {"name": "maps", "folder": str(maps)}
        padded = streams_of(depth=depth, geometry=geometry)
        settings = recipe(root, data=data, size=[40, 60], streams=padded, objectives=DEPTHMIX)
        streams, _ = built(settings, tmp_path / "run")
        (batch,) = batches(streams, "unlabelled", 3)
        assert batch.valid is not None
        assert batch.valid.sum() == 3 * 40 * 60
        assert bool((batch.targets["disparity"][:, 0].isnan() == ~batch.valid).all())


def test_clips_have_a_size_and_a_geometry_of_their_own(tmp_path: Path) -> None:
    tree = tiny_semi.joint(streams=tiny_semi.streams(clips={"size": [32, 72]}))
    streams, _ = built(validate(Recipe, tree), tmp_path)
    (clips,), (images,) = (batches(streams, name, 2) for name in ("clips", "unlabelled"))
    assert tuple(clips.targets["frames"].shape) == (2, 2, 3, 32, 64)
    assert tuple(images.image.shape) == (2, 3, 32, 48)
    own = streams.by_name["clips"].cache.dataset.camera(clips.ids[0])
    assert own is not None
    # 48 x 64 photographs shown 32 x 72: focal lengths follow each side; a crop does not change them.
    focal = clips.targets["camera"][0].diagonal()[:2].tolist()
    assert focal == pytest.approx([own.fx * 72 / 64, own.fy * 32 / 48], rel=1e-5)


@pytest.mark.parametrize(
    ("learned", "ids", "names", "wrong"),
    [
        ((True, True), ("clips/a/0", "clips/b/0"), ("clips-8x6", "clips-8x6"), "'clips-8x6'"),
        ((True, False), ("clips/a/0", "clips/a/0"), ("clips-8x6", "clips-9x6"), "'clips/a/0'"),
        ((False, True), ("clips/a/0", "clips/a/0"), ("clips-8x6", "clips-9x6"), "'clips/a/0'"),
        ((True, True), ("clips/a/0", "clips/b/0"), ("clips-8x6", "clips-9x6"), None),
        ((False, False), ("clips/a/0", "clips/a/0"), ("clips-8x6", "clips-8x6"), None),
    ],
)
def test_cameras_that_are_learned_are_those_of_one_dataset(
    learned: tuple[bool, bool], ids: tuple[str, str], names: tuple[str, str], wrong: str | None
) -> None:
    """Frames of the other one by the same names would be seen through them, and one file would hold both."""
    found = {
        stream: Intrinsics({id: pinhole((6, 8), 70)}, {id: 0}, (name,), finds)
        for stream, id, name, finds in zip("ab", ids, names, learned, strict=True)
    }
    refuse_mixed_cameras(dict.fromkeys("ab", Streets()), found)
    two = {"a": Streets(), "b": Streets(domain="dusk")}
    if wrong is None:
        refuse_mixed_cameras(two, found)
    else:
        with pytest.raises(FathomError, match=rf"streams\.a and streams\.b read different data, but both have {wrong}"):
            refuse_mixed_cameras(two, found)


class TestColours:
    def test_of_labels_of_frames_and_of_neither(self) -> None:
        found = colours(validate(Recipe, tiny_semi.joint()))
        assert found["labelled"] == ColourJitter()
        assert found["unlabelled"] is None
        assert found["clips"] == ColourJitter(probability=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)

    def test_as_given(self) -> None:
        tree = tiny_semi.joint(streams=tiny_semi.streams(clips={"colour": {"probability": 0}}))
        assert colours(validate(Recipe, tree))["clips"] == ColourJitter(
            probability=0, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1
        )

    def test_what_is_not_given_is_as_usual_for_the_stream(self) -> None:
        given = {"colour": {"hue": 0.2}}
        tree = tiny_semi.joint(streams=tiny_semi.streams(labelled=given, unlabelled=given, clips=given))
        found = colours(validate(Recipe, validate(Recipe, tree).model_dump(mode="json")))
        assert found["labelled"] == found["unlabelled"] == ColourJitter(hue=0.2)
        assert found["clips"] == ColourJitter(probability=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2)


class TestStatistics:
    """BatchNorm statistics are those of the images the network is used on: clips of other data do not move them."""

    def held(self, **clips: Any) -> dict[str, frozenset[str]]:
        return held_for(validate(Recipe, tiny_semi.joint(streams=tiny_semi.streams(clips=clips))))

    def test_of_the_same_data_move(self) -> None:
        assert self.held() == {}
        assert self.held(data={**tiny_semi.STREETS, "frames": 9}) == {}, "the same city, longer drives"

    def test_of_other_data_do_not(self, tmp_path: Path) -> None:
        taught = frozenset({"segmentation", "early_segmentation"})
        assert self.held(data={"name": "kitti", "root": str(tmp_path)}) == {"clips": taught}
        assert self.held(data={"name": "kitti", "root": str(tmp_path)}, batch_norm="shared") == {}
        assert self.held(batch_norm="held") == {"clips": taught}

    def test_are_those_of_a_source_that_alone_gives_something(self, tmp_path: Path) -> None:
        """Without one image of the target nothing else could move them, and they would stay as they began."""
        source = {"data": {"name": "kitti", "root": str(tmp_path)}}
        streams = {"labelled": {"labels": {"count": 0}}, "source": source}
        both = {"supervised": {"stream": ["source", "labelled"]}}
        settings = validate(Recipe, tiny_semi.settings(streams=streams, objectives=both))
        assert set(held_for(settings)) == {"source"}
        assert held_for(settings, {"source"}) == {}
        assert own_norms(settings, {"source", "labelled"}) == {}
        own = {**streams, "source": {**source, "batch_norm": "own"}}
        settings = validate(Recipe, tiny_semi.settings(streams=own, objectives=both))
        assert own_norms(settings, {"source", "labelled"}) == {"source": frozenset({"segmentation"})}
        assert own_norms(settings, {"source"}) == {}

    def test_own_ones_are_for_what_a_stream_trains(self, tmp_path: Path) -> None:
        """The target trains depth too, which never runs for the source."""
        source = {"data": {"name": "kitti", "root": str(tmp_path)}, "batch_norm": "own"}
        objectives = {
            "supervised": {"stream": "source"},
            "pseudo_labels": {},
            "photometric": {"stream": "unlabelled", "pose": {"encoder": tiny_semi.ENCODER}},
            "feature_distance": {"stream": "clips"},
        }
        streams = {"source": source, "unlabelled": {}, "clips": source}
        settings = validate(Recipe, tiny_semi.joint(streams=streams, objectives=objectives))
        assert held_for(settings)["source"] == {"segmentation", "depth"}
        taught = frozenset({"segmentation", "early_segmentation"})
        assert own_norms(settings, set(streams)) == {"source": taught, "clips": frozenset({"features"})}

    def test_go_by_the_datasets_not_by_their_names(self, tmp_path: Path) -> None:
        def folder(name: str) -> Folder:
            return Folder(root=tmp_path / name)

        assert same_data(folder("a"), folder("a").model_copy(update={"val_percent": 50}))
        assert not same_data(folder("a"), folder("b"))
        assert same_data(Streets(), Streets(endless=True))
        assert not same_data(Streets(), Streets(domain="dusk"))
        clone, fog = (VKitti2(root=tmp_path, variations=(name,)) for name in ("clone", "fog"))
        assert not same_data(clone, fog)
        assert same_data(clone, clone.model_copy(update={"cameras": (0, 1)}))
        assert same_data(Several(datasets={"x": folder("a")}), Several(datasets={"x": folder("a")}))
        assert not same_data(Several(datasets={"x": folder("a")}), Several(datasets={"x": folder("b")}))
        own, other = ({"name": "folder", "root": str(tmp_path / name)} for name in "ab")
        tree = tiny_semi.joint(data=own, streams=tiny_semi.streams(clips={"data": other}))
        assert set(held_for(validate(Recipe, tree))) == {"clips"}

    def test_a_network_that_learns_from_other_data_alone_keeps_theirs(self, tmp_path: Path) -> None:
        tree = tiny_depth.settings(streams=tiny_depth.clips(data={"name": "kitti", "root": str(tmp_path)}))
        assert held_for(validate(Recipe, tree)) == {}


class TestHeldOutDrives:
    """A drive that the data holds out is in no stream, whatever split a stream names and whether anything is scored."""

    def own(self, root: Path, **sections: Any) -> Recipe:
        return recipe(root, **{"data": {"name": "folder", "root": str(root), "val": ["clips/drive1/*"]}, **sections})

    @pytest.mark.parametrize("scored", ["val", None])
    @pytest.mark.parametrize("split", ["clips", "all", "clips/*"])
    def test_of_any_split(self, drives: Path, tmp_path: Path, split: str, scored: str | None) -> None:
        streams = {"labelled": {"split": split}, "unlabelled": {"split": split}}
        found, labelled = built(self.own(drives, streams=streams, evaluation={"split": scored}), tmp_path)
        assert "clips/drive0/000001" in labelled
        ids = {id for stream in found.by_name.values() for id in stream.ids}
        assert len(ids) == (7 if split == "all" else 5)
        assert not [id for id in (*labelled, *ids) if "drive1" in id]

    def test_of_another_dataset(self, camvid: Path, drives: Path, tmp_path: Path) -> None:
        data = {"name": "folder", "root": str(drives), "val": ["clips/drive1/*"]}
        found, _ = built(recipe(camvid, streams=streams_of(data=data, split="all")), tmp_path)
        assert not [id for id in found.by_name["unlabelled"].ids if "drive1" in id]
        assert len(found.by_name["unlabelled"].ids) == 7

    def test_everything_is_learned_from_if_it_is_said(self, drives: Path, tmp_path: Path) -> None:
        data = {"name": "folder", "root": str(drives), "val": []}
        streams = {"labelled": {}, "unlabelled": {"split": "all"}}
        found, labelled = built(self.own(drives, data=data, streams=streams), tmp_path)
        assert "clips/drive1/000001" in labelled
        assert len(found.by_name["unlabelled"].ids) == 12

    def test_a_clip_shared_with_val_is_told(
        self, drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = {"name": "folder", "root": str(drives), "val": ["clips/drive1/000001"]}
        settings = self.own(drives, data=data, streams={"labelled": {}, "unlabelled": {"split": "clips"}})
        found, _ = built(settings, tmp_path)
        tell_shared_clips(settings, found)
        said = capsys.readouterr().err
        assert "WARNING: split 'val' and stream 'unlabelled' share clips: clips/drive1 (1 and 4 of its frames)" in said
        assert "stream 'labelled'" not in said

    @pytest.mark.parametrize(("split", "count"), [("val", 1), ("blocks", 0)])
    def test_blocks_lie_seconds_away(
        self, split: str, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = fakes.make_camvid(tmp_path / "data", train=60, val=2, size=SIZE)
        (root / "train/0001TP_006960.png").rename(root / "train/0016E5_00390.png")
        data = {"name": "camvid", "root": str(root), "blocks": True}
        streams = {"labelled": {}, "unlabelled": {}}
        settings = recipe(root, data=data, streams=streams, evaluation={"split": split})
        found, _ = built(settings, tmp_path / "run")
        tell_shared_clips(settings, found)
        assert capsys.readouterr().err.count("WARNING") == count

    def test_a_pattern_is_no_split_to_score_on(self, drives: Path) -> None:
        with pytest.raises(ConfigError, match=r"evaluation: split is the pattern.*data\.val=\[clips/drive1/\*\]"):
            self.own(drives, evaluation={"split": "clips/drive1/*"})
