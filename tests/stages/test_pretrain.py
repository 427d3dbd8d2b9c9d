"""`fathom pretrain` as a whole: exact resume, phases, cameras known and learned, frames that are never read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fathomseg import config
from fathomseg.config import validate
from fathomseg.data.datasets.description import CameraEntry
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.intrinsics import pinhole
from fathomseg.data.video_stream import read_triplets
from fathomseg.engine.guard import Interrupted
from fathomseg.engine.loop import Trainer
from fathomseg.engine.step import Step
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import load_model, load_pose
from fathomseg.stages.train import train, trained
from fathomseg.training.phases import phase_recipes, train_phases
from fathomseg.training.recipe import Recipe
from tests import fakes
from tests.stages import ranks, tiny_semi
from tests.stages.runs import metrics, same_run
from tests.stages.tiny_depth import LOOP, SIZE, STREETS, clips, drive, settings, write


def recipe(**sections: Any) -> Recipe:
    return validate(Recipe, settings(**sections))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe(), folder, resume=False)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two clips of the user's own, without cameras, as the group `data` of a recipe."""
    return {"name": "folder", "root": str(drive(tmp_path_factory.mktemp("own")))}


class Crash(Exception):
    """What a power cut is to a test."""


@contextmanager
def crash_in_step(wanted: int, times: int = 1) -> Iterator[None]:
    """Die in a step, counted from 0 over all trainings, after the weights have moved but before they are saved."""
    with pytest.MonkeyPatch.context() as patch:
        original: Callable[[Step, int], None] = Step.after_step
        steps = iter(range(1000))

        def after_step(self: Step, step: int) -> None:
            if next(steps) == wanted:
                raise Crash
            original(self, step)

        patch.setattr(Step, "after_step", after_step)
        yield


def same_depth_run(one: Path, other: Path) -> None:
    same_run(one, other)
    first, second = load_file(one / "pose.safetensors"), load_file(other / "pose.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {p.name: p.read_text() for p in one.glob("camera-*.yaml")} == {
        p.name: p.read_text() for p in other.glob("camera-*.yaml")
    }


class TestOneRun:
    def test_its_folder_holds_everything(self, whole: Path) -> None:
        names = {path.name for path in whole.iterdir()}
        assert names >= {
            "config.yaml",
            "origin.json",
            "metrics.jsonl",
            "checkpoint.pt",
            "model.json",
            "frames-clips.csv",
        }
        assert names >= {"model.safetensors", "last.safetensors", "pose.safetensors"}
        assert not names & {"labelled.txt", "evaluation"}
        lines = metrics(whole)
        assert [line["step"] for line in lines] == [2, 4, 6]
        for line in lines:
            assert 0 < line["photometric"] < 1
            assert line["photometric.smoothness"] > 0
            assert 0 <= line["photometric.automasked"] <= 1
        card, _ = load_model(whole)
        assert card.size == SIZE
        near, far = card.tasks["depth"].depth_range  # perhaps in metres: even an untrained network may have a scale
        assert far / near == pytest.approx(1000)
        assert card.classes == ()
        assert load_pose(whole).reduce == 1
        targets = {x.target for x in read_triplets(whole / "frames-clips.csv")}
        assert targets
        assert all(id.startswith("train/") for id in targets)

    def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(self, whole: Path, tmp_path: Path) -> None:
        train(recipe(), tmp_path / "again", resume=False)
        same_depth_run(whole, tmp_path / "again")
        other = metrics(tiny_semi.killed(recipe(seed=1), tmp_path / "other", 2))
        assert [line["step"] for line in other] == [2]
        assert other != metrics(whole)[:1]

    def test_a_finished_run_stays_as_it_is_and_is_not_overwritten(self, whole: Path, tmp_path: Path) -> None:
        shutil.copytree(whole, tmp_path / "copy")
        trained(None, ["train.workers=0"], None, tmp_path / "copy")
        same_depth_run(whole, tmp_path / "copy")
        with pytest.raises(FathomError, match="exists and is not empty"):
            train(recipe(), whole, resume=False)
        with pytest.raises(ConfigError, match=r"seed=1 cannot be given"):
            trained(None, ["seed=1"], None, whole)
        with pytest.raises(ConfigError, match="either a recipe"):
            trained(None, [], None, None)

    def test_a_diverging_run_stops_before_the_weights_are_ruined(self, tmp_path: Path) -> None:
        loop = {**LOOP, "steps": 40, "save_every": 1, "clip": 0.0}
        wild = {"name": "sgd", "lr": 1e18, "warmup": 0}
        with pytest.raises(FathomError, match="became infinite or NaN"):
            train(recipe(train=loop, optimiser=wild), tmp_path / "run", resume=False)
        checkpoint = tmp_path / "run" / "checkpoint.pt"
        if checkpoint.is_file():
            state = torch.load(checkpoint, weights_only=True)["step_module"]
            assert all(torch.isfinite(v).all() for v in state.values() if isinstance(v, torch.Tensor))

    def test_scores_in_the_middle_and_at_the_end(self, whole: Path, tmp_path: Path) -> None:
        scoring = {"every": 4, "limit": 2, "report": False}
        train(recipe(evaluation=scoring), tmp_path / "scored", resume=False)
        lines = metrics(tmp_path / "scored")
        assert [line for line in lines if line["kind"] == "train"] == metrics(whole), "scoring changes nothing"
        (middle,) = [line for line in lines if line["kind"] == "val"]
        assert middle["step"] == 4
        assert middle["abs_rel"] > 0
        assert 0 <= middle["delta1"] <= 1
        scores = json.loads((tmp_path / "scored" / "evaluation" / "val" / "scores.json").read_text())["scores"]
        assert scores["ema"]["depth"]["images"] == 5

    def test_stopping_politely_tells_how_to_go_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        original = Trainer.run

        def stop(self: Trainer, *given: Any) -> None:
            raise Interrupted(143)

        monkeypatch.setattr(Trainer, "run", stop)
        with pytest.raises(Interrupted):
            train(recipe(phases={"one": [], "two": []}), tmp_path / "run", resume=False)
        assert f"fathom train --resume {tmp_path / 'run'}\n" in capsys.readouterr().err
        assert original is not Trainer.run


class TestResume:
    @pytest.mark.slow
    def test_bit_for_bit_with_pose_network_original_encoder_and_focal_length(
        self, own: dict[str, Any], tmp_path: Path
    ) -> None:
        objectives = {**settings()["objectives"], "feature_distance": {"weight": 0.1}}
        read = clips(camera={"name": "learned", "degrees": 90}, geometry={"scale": [1, 1], "crop": [32, 64]})
        path = write(tmp_path / "r.yaml", data=own, objectives=objectives, streams=read)
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        trained(path, [], whole, None)
        with crash_in_step(3), pytest.raises(Crash):
            trained(path, [], killed, None)
        assert torch.load(killed / "checkpoint.pt", weights_only=True)["step"] == 2
        assert not (killed / "model.json").exists()
        trained(None, [], None, killed)
        same_depth_run(whole, killed)
        assert [p.name for p in whole.glob("camera-*.yaml")] == ["camera-clips-96x48.yaml"]
        state = torch.load(killed / "checkpoint.pt", weights_only=True)["step_module"]
        built = {n: t for n, t in state.items() if n.startswith("objectives.feature_distance.original.")}
        assert built
        assert state["objectives.photometric.focal"].item() != 0

    def test_the_choice_of_frames_survives(self, own: dict[str, Any], tmp_path: Path) -> None:
        """Frames are chosen once: what the first start wrote is used, though the images now look alike."""
        shutil.copytree(own["root"], tmp_path / "own")
        changes = {"data": {**own, "root": str(tmp_path / "own")}, "streams": clips(camera={"name": "field_of_view"})}
        with crash_in_step(3), pytest.raises(Crash):
            train(recipe(**changes), tmp_path / "run", resume=False)
        chosen = (tmp_path / "run" / "frames-clips.csv").read_text()
        first = next((tmp_path / "own" / "clips" / "0000").iterdir())
        for path in (tmp_path / "own" / "clips").rglob("*.png"):
            path.write_bytes(first.read_bytes())
        train(recipe(**changes), tmp_path / "run", resume=True)
        assert (tmp_path / "run" / "frames-clips.csv").read_text() == chosen


PHASES = {
    "pose": ["optimiser.factors.encoder=0", "streams.clips.geometry.crop=null", "train.steps=3"],
    "frozen": ["init_from.parts=[pose]", "optimiser.factors.encoder=0"],
    "finetune": ["objectives.feature_distance.weight=0.02", "optimiser.lr=1e-4"],
}


def phased(**sections: Any) -> Recipe:
    read = clips(geometry={"scale": [1, 1], "crop": [32, 64]})
    loop = {**LOOP, "steps": 4}
    return recipe(phases=PHASES, streams=read, train=loop, **sections)


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The papers' three phases, never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "phases"
    train(phased(), folder, resume=False)
    return folder


class TestPhases:
    def test_each_has_the_settings_it_changes_and_no_others(self, tmp_path: Path) -> None:
        base = recipe(phases=PHASES, evaluation={"limit": None}, train={**LOOP, "workers": None})
        made = phase_recipes(base, tmp_path)
        assert list(made) == ["pose", "frozen", "finetune"]
        pose, frozen, finetune = made.values()
        assert pose.init_from is None
        assert (pose.train.steps, frozen.train.steps) == (3, 6)
        assert pose.streams["clips"].geometry is not None
        assert pose.streams["clips"].geometry.crop is None
        assert frozen.init_from is not None
        assert finetune.init_from is not None
        assert (frozen.init_from.run, frozen.init_from.parts) == (tmp_path / "pose", ("pose",))
        assert (finetune.init_from.run, finetune.init_from.parts) == (
            tmp_path / "frozen",
            ("encoder", "decoder", "head", "pose"),
        )
        assert [x.optimiser.factors for x in made.values()] == [{"encoder": 0}, {"encoder": 0}, {}]
        assert all(x.evaluation == base.evaluation for x in made.values()), "a null stays a null"
        kept = {"data", "size", "network", "seed"}
        for x in made.values():
            assert x.model_dump(include=kept) == base.model_dump(include=kept)
            assert x.phases == {}

    def test_each_takes_over_what_it_has_a_place_for(self, tmp_path: Path) -> None:
        """What a phase has not trained, or the next one lacks, would stop the run after hours."""
        alone = ["objectives={supervised: {}}", "streams.clips=null", "streams.unlabelled=null"]
        network = {"tasks": {"segmentation": {"decoder": tiny_semi.DECODER}}, "links": {"name": "none"}}
        phases = {
            "labels": ["objectives.photometric.weight=0"],
            "joint": [],
            "unlinked": ["network.links={name: none}"],
            "own": ["init_from.parts=[encoder, pose]"],
            "classes": [*alone, *(f"network.{key}={json.dumps(value)}" for key, value in network.items())],
        }
        made = phase_recipes(validate(Recipe, tiny_semi.joint(phases=phases)), tmp_path)
        parts = {name: phase.init_from.parts for name, phase in made.items() if phase.init_from is not None}
        branch = ("encoder", "decoder", "head")
        assert parts == {
            "joint": (*branch, "links"),
            "unlinked": (*branch, "pose"),
            "own": ("encoder", "pose"),
            "classes": branch,
        }

    def test_a_mistake_in_any_phase_is_told_before_the_first(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"train\.stepss"):
            train(recipe(phases={"one": [], "two": ["train.stepss=1"]}), tmp_path / "run", resume=False)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (["network.encoder.model=test_efficientnet"], "should be"),
            (["network.tasks.depth.decoder.norms=false"], "decoders differ"),
            ([f"network.tasks.{task}.decoder={{name: fpn}}" for task in ("segmentation", "depth")], "none that fits"),
            (["network.tasks.depth.encoder=own", "network.links={name: nddr}"], "links"),
        ],
    )
    def test_a_phase_that_cannot_take_over_what_it_is_to_is_told_before_the_first(
        self, tmp_path: Path, changes: list[str], message: str
    ) -> None:
        made = validate(Recipe, tiny_semi.joint(phases={"one": [], "two": changes}))
        with pytest.raises(FathomError, match=f"(?s)Phase two cannot begin .*{message}"):
            train_phases(made, tmp_path / "run", False, lambda *_: pytest.fail("trained"), lambda *_: None)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("left", "done"),
        [
            (["scores", "checkpoint"], []),
            (["page"], []),  # nothing could be scored
            (["checkpoint"], ["train two again"]),
            ([], ["score two"]),
        ],
    )
    def test_a_phase_that_was_stopped_while_it_was_scored_is_scored(
        self, tmp_path: Path, left: list[str], done: list[str]
    ) -> None:
        files = {"scores": "evaluation/val/scores.json", "checkpoint": "checkpoint.pt", "page": "report.html"}
        for name, there in {"one": ["scores", "checkpoint"], "two": left}.items():
            for file in ["model.json", *(files[one] for one in there)]:
                (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / file).write_text(name)
        called = []

        def trained(_: Recipe, folder: Path, resume: bool) -> None:
            called.append(f"train {folder.name} {'again' if resume else 'anew'}")

        def scored(_: Recipe, folder: Path) -> None:
            called.append(f"score {folder.name}")
            (folder / "evaluation").mkdir()
            (folder / "evaluation/scores").touch()

        settings = recipe(phases={"one": [], "two": []}, evaluation={"report": False})
        train_phases(settings, tmp_path, True, trained, scored)
        assert called == done
        assert (tmp_path / "model.json").read_text() == "two"
        assert (tmp_path / "evaluation/scores").is_file() == (done == ["score two"])

    @pytest.mark.slow
    def test_each_goes_on_from_the_one_before(self, phases: Path) -> None:
        weights = {name: load_file(phases / name / "model.safetensors") for name in PHASES}
        encoder = next(n for n in weights["pose"] if n.startswith("encoders.") and n.endswith("weight") and "conv" in n)
        assert torch.equal(weights["pose"][encoder], weights["frozen"][encoder]), "the encoder is frozen in both"
        assert not torch.equal(weights["frozen"][encoder], weights["finetune"][encoder])
        final = (phases / "model.safetensors").read_bytes()
        assert final == (phases / "finetune" / "model.safetensors").read_bytes()
        assert (phases / "pose.safetensors").read_bytes() == (phases / "finetune" / "pose.safetensors").read_bytes()
        load_model(phases)
        load_pose(phases)
        assert [line["step"] for line in metrics(phases / "pose")] == [2, 3]
        assert all("feature_distance" in line for line in metrics(phases / "finetune"))

    @pytest.mark.parametrize(("crash", "saved"), [(3 + 3, 2), (3 + 1, None), (3 + 4 + 1, None)])
    @pytest.mark.slow
    def test_an_interrupted_phase_goes_on_and_finished_ones_are_left_alone(
        self, phases: Path, tmp_path: Path, crash: int, saved: int | None
    ) -> None:
        """In the second phase after a checkpoint, before it, and in the third before a checkpoint."""
        folder = tmp_path / "run"
        with crash_in_step(crash), pytest.raises(Crash):
            train(phased(), folder, resume=False)
        inside = folder / ("frozen" if crash < 3 + 4 else "finetune")
        assert (inside / "checkpoint.pt").is_file() == (saved is not None)
        before = (folder / "pose" / "checkpoint.pt").stat().st_mtime_ns
        with crash_in_step(999):
            trained(None, [], None, folder)
        assert (folder / "pose" / "checkpoint.pt").stat().st_mtime_ns == before
        for name in PHASES:
            same_depth_run(phases / name, folder / name)
        final = load_file(folder / "model.safetensors")
        assert all(torch.equal(tensor, final[n]) for n, tensor in load_file(phases / "model.safetensors").items())

    def test_cameras_and_scores_of_the_last_are_the_runs(self, own: dict[str, Any], tmp_path: Path) -> None:
        """And a focal length goes on where the phase before has left it, whatever it is guessed to be."""
        loop = {**LOOP, "steps": 1}
        phases = {"a": ["optimiser.lr=0.01"], "b": ["optimiser.lr=1e-30", "streams.clips.camera.degrees=40"]}
        train(
            recipe(data=own, streams=clips(camera={"name": "learned", "degrees": 70}), train=loop, phases=phases),
            tmp_path / "run",
            resume=False,
        )
        first, last = (tmp_path / "run" / name / "camera-clips-96x48.yaml" for name in phases)
        assert (tmp_path / "run" / "camera-clips-96x48.yaml").read_text() == last.read_text()
        chosen, of_last = (folder / "frames-clips.csv" for folder in (tmp_path / "run", last.parent))
        assert chosen.read_bytes() == of_last.read_bytes()
        learned = config.load(CameraEntry, first).fx
        assert abs(learned / pinhole(SIZE, 70).fx - 1) > 1e-3
        assert config.load(CameraEntry, last).fx == pytest.approx(learned, rel=1e-5)


JOINT_PHASES = {
    "labels": ["train.steps=2"],
    "all": ["optimiser.factors.depth=0.1", "init_from.weights=last", "train.steps=2"],
}


class TestPhasesOfAJointRun:
    @pytest.mark.slow
    def test_a_phase_takes_over_everything(self, tmp_path: Path) -> None:
        """The early output and the links too: a second phase that learns almost nothing changes nothing."""
        still = ["optimiser.name=sgd", "optimiser.lr=1e-30", "train.steps=1"]
        tree = tiny_semi.joint(phases={"first": ["train.steps=2"], "second": [*still, "init_from.weights=last"]})
        train(validate(Recipe, tree), tmp_path / "run", resume=False)
        for file in ("last.safetensors", "pose.safetensors"):
            first, second = (load_file(tmp_path / "run" / name / file) for name in ("first", "second"))
            learned = [n for n in first if "running" not in n and "num_batches" not in n]
            assert all(torch.allclose(first[n], second[n], rtol=0, atol=1e-7) for n in learned), file
        assert any(n.startswith("early_heads.segmentation.") for n in load_file(tmp_path / "run" / "last.safetensors"))
        assert (tmp_path / "run" / "second" / "labelled.txt").is_file()

    @pytest.mark.slow
    def test_it_resumes_bit_for_bit(self, tmp_path: Path) -> None:
        tree = tiny_semi.joint(phases=JOINT_PHASES)
        train(validate(Recipe, tree), tmp_path / "whole", resume=False)
        with crash_in_step(3), pytest.raises(Crash):
            train(validate(Recipe, tree), tmp_path / "killed", resume=False)
        trained(None, [], None, tmp_path / "killed")
        for name in JOINT_PHASES:
            same_depth_run(tmp_path / "whole" / name, tmp_path / "killed" / name)
        assert (tmp_path / "killed" / "model.safetensors").is_file()


def test_a_run_starts_from_another(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a learning rate of almost nothing what it starts from is what comes out."""
    origin = {"run": str(whole), "parts": ["encoder", "decoder", "head", "pose"]}
    still = {"name": "sgd", "lr": 1e-30, "warmup": 0}
    train(recipe(init_from=origin, optimiser=still, train={**LOOP, "steps": 1}), tmp_path / "run", resume=False)
    assert f"Starting from {whole}" in capsys.readouterr().err
    for file in ("model.safetensors", "pose.safetensors"):
        before, after = load_file(whole / file), load_file(tmp_path / "run" / file)
        learned = [n for n in before if "running" not in n and "num_batches" not in n]
        assert all(torch.allclose(before[n], after[n], rtol=0, atol=1e-7) for n in learned)


class TestCameras:
    def test_an_unknown_camera_is_an_error(self, own: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(FathomError, match=r"have no camera.*camera\.name=learned"):
            train(recipe(data=own), tmp_path / "run", resume=False)

    def test_an_assumed_one_is_a_warning(
        self, own: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        camera = {"name": "field_of_view", "degrees": 70}
        train(
            recipe(data=own, streams=clips(camera=camera), train={**LOOP, "steps": 1}), tmp_path / "run", resume=False
        )
        said = capsys.readouterr().err
        assert "WARNING: " in said
        assert "field of view of 70 degrees is assumed; depth is stretched if it is wrong" in said
        assert not list((tmp_path / "run").glob("camera-*.yaml"))

    def test_a_learned_one_is_written_for_the_folder(
        self, own: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        train(
            recipe(data=own, streams=clips(camera={"name": "learned", "degrees": 70})), tmp_path / "run", resume=False
        )
        said = capsys.readouterr().err
        assert "its focal length is learned" in said
        path = tmp_path / "run" / "camera-clips-96x48.yaml"
        assert f"written to {path}" in said
        entry = config.load(CameraEntry, path)
        guess = pinhole(SIZE, 70)
        state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step_module"]
        factor = float((10 * state["objectives.photometric.focal"]).exp())
        assert factor != 1.0
        assert (entry.fx, entry.fy) == pytest.approx((guess.fx * factor, guess.fy * factor))
        shutil.copytree(own["root"], tmp_path / "own")
        for clip in (tmp_path / "own" / "clips").iterdir():
            shutil.copy(path, clip / "camera.yaml")
        folder = Folder(root=tmp_path / "own")
        assert folder.camera(folder.ids("clips")[0]) == entry.camera()
        data = {**own, "root": str(tmp_path / "own")}
        train(recipe(data=data, train={**LOOP, "steps": 1}), tmp_path / "known", resume=False)

    def test_several_cameras_and_sizes_in_one_training(self, own: dict[str, Any], tmp_path: Path) -> None:
        other = drive(tmp_path / "other", clips=1)
        datasets = {
            "town": {**STREETS, "domain": "dusk", "size": [64, 112], "train_clips": 1},
            "mine": own,
            "theirs": {"name": "folder", "root": str(other)},
        }
        learned = {"name": "learned", "degrees": 70}
        data = {"name": "several", "datasets": datasets}
        train(recipe(data=data, streams=clips(camera=learned)), tmp_path / "run", resume=False)
        cameras = {f"camera-{name}-clips-96x48.yaml" for name in ("mine", "theirs")}
        assert {path.name for path in (tmp_path / "run").glob("camera-*")} == cameras
        targets = [x.target for x in read_triplets(tmp_path / "run" / "frames-clips.csv")]
        assert {id.partition("/")[0] for id in targets} == set(datasets)


class TestFrames:
    def test_the_frames_of_the_evaluation_split_are_never_read(
        self, own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A frame in the middle of a clip is held out: its file may be garbage, and its neighbours bridge the gap."""
        monkeypatch.setattr("fathomseg.stages.evaluate.evaluate_run", lambda *given, **named: {})
        root = drive(tmp_path / "own", held_out="clips/0000/000002")
        changes = {
            "data": {**own, "root": str(root)},
            "streams": clips(camera={"name": "field_of_view"}),
            "evaluation": {"split": "val"},
            "train": {**LOOP, "steps": 2},
        }
        train(recipe(**changes), tmp_path / "sound", resume=False)
        held_out = root / "clips" / "0000" / "000002.png"
        held_out.write_bytes(b"nobody reads this")
        train(recipe(**changes), tmp_path / "blind", resume=False)
        same_depth_run(tmp_path / "sound", tmp_path / "blind")
        triplets = read_triplets(tmp_path / "blind" / "frames-clips.csv")
        used = {id for x in triplets for id in (x.target, x.before, x.after)}
        assert "clips/0000/000002" not in used
        assert {"clips/0000/000001", "clips/0000/000003"} <= used
        with pytest.raises(FathomError, match=r"000002\.png"):
            train(recipe(**{**changes, "data": {**changes["data"], "val": []}}), tmp_path / "all", resume=False)

    def test_grayscale_video(self, tmp_path: Path) -> None:
        data = {
            "name": "kitti",
            "root": str(fakes.make_kitti(tmp_path / "kitti", "odometry", size=(30, 100), grey=True)),
        }
        train(recipe(data=data, streams={"clips": {}}), tmp_path / "run", resume=False)
        assert all(line["photometric"] > 0 for line in metrics(tmp_path / "run"))

    def test_images_that_are_no_video(self, tmp_path: Path) -> None:
        root = fakes.make_folder(tmp_path / "own", images=4, clips=0)
        data = {"name": "folder", "root": str(root)}
        with pytest.raises(FathomError, match=r"None of the \d frames of folder can be learned from.*Is this video"):
            train(recipe(data=data), tmp_path / "run", resume=False)

    def test_a_camera_that_stands_still(self, own: dict[str, Any], tmp_path: Path) -> None:
        shutil.copytree(own["root"], tmp_path / "own")
        paths = sorted((tmp_path / "own" / "clips").rglob("*.png"))
        for path in paths:
            path.write_bytes(paths[0].read_bytes())
        data = {**own, "root": str(tmp_path / "own")}
        with pytest.raises(FathomError, match="does the camera move"):
            train(recipe(data=data), tmp_path / "run", resume=False)


def test_the_settings_of_the_page_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text(encoding="utf-8")
    first, several, phases = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    assert recipe(**first).streams["clips"].camera.name == "learned"
    assert list(recipe(**several).data.datasets) == ["mine", "theirs", "kitti"]
    made = phase_recipes(recipe(**phases), tmp_path)
    assert [x.train.steps for x in made.values()] == [300000, 300000, 50000]
    assert made["finetune"].optimiser.lr == 1e-5
    for setting in re.findall(r"`((?:streams|objectives|optimiser|network|init_from|evaluation)\.[\w.]+=[^`]+)`", page):
        config.load(Recipe, settings(init_from={"run": "x"}), setting.split())


def nearly_the_same_depth_run(one: Path, other: Path) -> None:
    """Equal up to the order in which sums were rounded; the share left out by the automask is the first process's."""
    for file in ("last.safetensors", "pose.safetensors"):
        first, second = load_file(one / file), load_file(other / file)
        for name in first:
            torch.testing.assert_close(
                second[name], first[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )
    for a, b in zip(metrics(one), metrics(other), strict=True):
        for line in (a, b):
            assert 0 <= line.pop("photometric.automasked") <= 1
        assert b.pop("kind") == a.pop("kind")
        assert b == pytest.approx(a, rel=1e-5)


@pytest.mark.long
def test_two_processes_equal_one(own: dict[str, Any], tmp_path: Path) -> None:
    """With frozen norms, and without the noise that breaks ties, which every process draws for itself."""
    encoder = settings()["network"]["encoder"]
    same = {
        "network": {**settings()["network"], "norm": "frozen"},
        "streams": clips(camera={"name": "learned"}),
        "objectives": {
            "photometric": {"pose": {"encoder": encoder, "norm": "frozen"}, "loss": {"tie_breaker": 0.0}},
            "feature_distance": {"weight": 0.1},
        },
        "optimiser": {"name": "sgd", "lr": 0.01, "warmup": 0},
    }
    path = write(tmp_path / "r.yaml", data=own, **same)
    trained(path, [], tmp_path / "one", None)
    trained(path, ["train.steps=3", "phases={a: [], b: []}"], tmp_path / "one-phased", None)
    commands = [
        ["pretrain", str(path), "--out", str(tmp_path / "two")],
        ["pretrain", str(path), "train.steps=3", "phases={a: [], b: []}", "--out", str(tmp_path / "two-phased")],
    ]
    (tmp_path / "commands.json").write_text(json.dumps(list(zip(ranks.free_ports(2), commands, strict=True))))
    said = ranks.launched(tmp_path, 280)
    for part in ("", "-phased/b"):
        nearly_the_same_depth_run(tmp_path / f"one{part}", tmp_path / f"two{part}")
    assert said.count("Learned camera of clips-96x48") == 3, "the first process alone speaks"
    one, two = (yaml.safe_load((tmp_path / n / "camera-clips-96x48.yaml").read_text()) for n in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-5)
