"""Semi-supervised and joint runs: exact resume, labels that are never opened, started teachers, what does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

import fathomseg
from fathomseg.config import load, validate
from fathomseg.engine.loop import Trainer
from fathomseg.engine.step import Step
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import POSE, load_card, load_pose
from fathomseg.stages.train import train
from fathomseg.training.build import photometric_of
from fathomseg.training.recipe import Recipe
from tests.stages import ranks, tiny_depth, tiny_semi
from tests.stages.runs import metrics, nearly_the_same_run, same_run
from tests.stages.tiny_semi import CROP, JOINT, LOOP, joint, killed_and_resumed, recipe, settings, streams

Trees = Callable[..., dict[str, Any]]


class Whole(NamedTuple):
    """A run that was never interrupted, what makes its settings, and the shape of every loss it called backward on."""

    trees: Trees
    folder: Path
    losses: list[torch.Size]


@pytest.fixture(scope="module", params=["plain", "joint"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    trees = {"plain": settings, "joint": joint}[request.param]
    run = Whole(trees, tmp_path_factory.mktemp("runs") / request.param, [])
    backward = Accelerator.backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Accelerator, "backward", lambda self, loss: (run.losses.append(loss.shape), backward(self, loss))[1]
        )
        train(recipe(trees()), run.folder, resume=False)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 5])
def test_a_run_killed_at_a_step_resumes_bit_for_bit(whole: Whole, tmp_path: Path, at: int) -> None:
    same_run(whole.folder, killed_and_resumed(whole.trees(), tmp_path / "killed", at))


def test_everything_is_logged_and_the_saved_network_can_be_used(whole: Whole) -> None:
    trees, folder, _ = whole
    names = set(metrics(folder)[-1])
    assert names >= {"supervised.segmentation", "pseudo_labels", "pseudo_labels.confidence", "lr", "gradient_norm"}
    prediction = fathomseg.load(folder).predict(recipe(trees()).data.image("val/0000/000000"))
    assert prediction.label is not None
    assert prediction.label.shape == tiny_semi.SIZE
    if trees is joint:
        assert names >= {"photometric", "photometric.smoothness", "supervised.early_segmentation"}
        assert prediction.disparity is not None
        assert prediction.disparity.std() > 0


def test_one_backward_pass_a_step(whole: Whole) -> None:
    assert whole.losses == [()] * 6


def test_labels_outside_the_budget_are_never_opened(camvid: Path, tmp_path: Path) -> None:
    """Not even those of images in the unlabelled stream: without their label files the run is the same bit for bit."""
    listed = tmp_path / "labelled.txt"
    budget = streams(labelled={"labels": {"count": 3, "seed": 5}})
    tree = settings(data={"name": "camvid", "root": str(camvid)}, streams=budget)
    train(recipe(tree), tmp_path / "all", resume=False)
    shutil.copy2(tmp_path / "all" / "labelled.txt", listed)
    chosen = {id.split("/")[1] for id in listed.read_text().split()}
    poor = tmp_path / "poor"
    shutil.copytree(camvid, poor)
    others = [path for path in (poor / "trainannot").iterdir() if path.stem not in chosen]
    assert len(others) == 5
    for path in others:
        path.unlink()
    budget = streams(labelled={"labels": {"file": str(listed)}})
    tree = settings(data={"name": "camvid", "root": str(poor)}, streams=budget)
    train(recipe(tree), tmp_path / "few", resume=False)
    same_run(tmp_path / "all", tmp_path / "few")


@pytest.fixture(scope="module")
def depth_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depth run one step long, with a decoder that goes one level further."""
    folder = tmp_path_factory.mktemp("runs") / "depth"
    tree = {
        "data": tiny_semi.STREETS,
        "size": list(tiny_semi.SIZE),
        "network": {"encoder": tiny_semi.ENCODER, "tasks": {"depth": {"decoder": {**tiny_semi.DECODER, "stride": 2}}}},
        "streams": {"clips": {}},
        "objectives": {"photometric": {"pose": {"encoder": tiny_semi.ENCODER}}},
        "train": {**tiny_semi.LOOP, "steps": 1},
        "evaluation": {"split": None, "report": False},
    }
    train(recipe(tree), folder, resume=False)
    return folder


class TestInitFrom:
    def started(self, tree: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
        """The step as training begins."""
        found: list[Step] = []

        def stop(step: Any, *_: Any) -> None:
            found.append(step)
            raise tiny_semi.Killed

        monkeypatch.setattr("fathomseg.stages.train.Trainer", stop)
        with pytest.raises(tiny_semi.Killed):
            train(recipe(tree), folder, resume=False)
        return found[0]

    def test_teacher_and_student_begin_as_the_started_network(
        self, depth_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = {"run": str(depth_run), "parts": ["encoder", "decoder", "head", "pose"]}
        step = self.started(joint(init_from=origin), tmp_path / "run", monkeypatch)
        saved = load_file(depth_run / "model.safetensors")
        own, teacher = step.network.state_dict(), step.ema.network.state_dict()
        assert all(torch.equal(own[name], teacher[name]) for name in own)
        for prefix, source in (
            ("encoders.shared.", "encoders.shared."),
            ("decoders.depth.", "decoders.depth."),
            ("decoders.segmentation.", "decoders.depth."),
            ("heads.depth.", "heads.depth."),
        ):
            names = [name for name in own if name.startswith(prefix)]
            assert names
            assert all(torch.equal(own[name], saved[source + name.removeprefix(prefix)]) for name in names), prefix
        photometric = photometric_of(step)
        assert photometric is not None
        pose = load_file(depth_run / POSE)
        assert all(torch.equal(tensor, pose[name]) for name, tensor in photometric.pose.state_dict().items())

    def test_depthmix_by_the_depth_of_a_run(self, depth_run: Path, tmp_path: Path) -> None:
        objectives = {
            "supervised": {},
            "pseudo_labels": {"mixing": {"name": "depthmix"}, "weighting": {"name": "none"}},
        }
        mixed = streams(unlabelled={"depth": {"name": "run", "run": str(depth_run)}})
        origin = {"run": str(depth_run)}
        tree = settings(
            objectives=objectives, streams=mixed, init_from=origin, evaluation={"split": None, "report": False}
        )
        train(recipe(tree), tmp_path / "run", resume=False)
        assert metrics(tmp_path / "run")[-1]["pseudo_labels"] > 0


def exact(**sections: Any) -> dict[str, Any]:
    """A run whose result does not depend on how a batch is shared out: no statistics or partners of a batch, no
    dropout, and losses divided by counts that the data alone tell."""
    unlabelled = {
        "mixing": {"name": "none"},
        "normalize_by": "all",
        "weighting": {"name": "fraction", "threshold": 0.2, "per": "image"},
    }
    task = {"decoder": {"name": "fpn", "channels": 8}, "dropout": 0.0}
    network = {"encoder": tiny_semi.ENCODER, "tasks": {"segmentation": task}, "norm": "frozen"}
    objectives = {"supervised": {}, "pseudo_labels": unlabelled}
    optimiser = {"name": "sgd", "lr": 0.05, "warmup": 0}
    loop = {**tiny_semi.LOOP, "batch": 4, "steps": 4}
    read = {"labelled": {"labels": {"count": 3}}, "unlabelled": {}}
    return settings(
        **{
            "network": network,
            "objectives": objectives,
            "streams": read,
            "optimiser": optimiser,
            "train": loop,
            **sections,
        }
    )


@pytest.mark.parametrize("unlabelled", [pytest.param({}, marks=pytest.mark.slow), {"batch": 6}])
def test_two_micro_batches_equal_one_batch(tmp_path: Path, unlabelled: dict[str, int]) -> None:
    tree = exact(streams={"labelled": {"labels": {"count": 3}}, "unlabelled": unlabelled})
    train(recipe(tree), tmp_path / "one", resume=False)
    assert metrics(tmp_path / "one")[-1]["pseudo_labels"] > 0
    train(recipe({**tree, "train": {**tree["train"], "accumulate": 2}}), tmp_path / "two", resume=False)
    # The mean confidence is logged a micro-batch at a time; it too is the same.
    nearly_the_same_run(tmp_path / "one", tmp_path / "two")


SIZES: dict[str, Any] = {"streams": streams(unlabelled={"batch": 3}, clips={"batch": 1})}


class TestBatchesOfTheirOwn:
    @pytest.mark.slow
    def test_every_stream_has_its_own_and_is_resumed_bit_for_bit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[dict[str, int]] = []
        forward = Step.forward
        monkeypatch.setattr(
            Step,
            "forward",
            lambda self, batches: (seen.append({k: len(b.ids) for k, b in batches.items()}), forward(self, batches))[1],
        )
        train(recipe(joint(**SIZES)), tmp_path / "whole", resume=False)
        assert seen == [{"labelled": 2, "unlabelled": 3, "clips": 1}] * 6
        same_run(tmp_path / "whole", killed_and_resumed(joint(**SIZES), tmp_path / "killed", 3))

    def test_one_that_cannot_be_shared_out_is_named(self, tmp_path: Path) -> None:
        tree = joint(**SIZES, train={**tiny_semi.LOOP, "accumulate": 2})
        with pytest.raises(FathomError, match=r"unlabelled\.batch = 3 cannot be shared out .* multiple of 2"):
            train(recipe(tree), tmp_path / "run", resume=False)


LABELS: dict[str, Any] = {"labelled": {"labels": {"count": 3}}}


class TestWhatDepthIsLearnedFrom:
    """Labels alone, depth in metres, neighbours of labelled images: whatever objectives make of the streams."""

    def test_labels_alone_teach_a_network_whose_depth_is_that_of_a_run(self, depth_run: Path, tmp_path: Path) -> None:
        """Two tasks that are taught from the one stream: its labels, and its depth from another network."""
        tree = joint(
            streams={"labelled": {"labels": {"count": 3}, "depth": {"name": "run", "run": str(depth_run)}}},
            objectives={"supervised": {"losses": {"segmentation": {}, "depth": {"target": "disparity"}}}},
        )
        train(recipe(tree), tmp_path / "run", resume=False)
        last = metrics(tmp_path / "run")[-1]
        assert {name for name in last if name.startswith("supervised")} == {
            "supervised.segmentation",
            "supervised.early_segmentation",
            "supervised.depth",
        }
        assert min(last[name] for name in last if name.startswith("supervised")) > 0
        assert not (tmp_path / "run" / POSE).exists()
        assert load_card(tmp_path / "run").pose is None

    @pytest.mark.slow
    def test_depth_in_metres_lowers_its_loss(self, tmp_path: Path) -> None:
        """The generated city knows its depth; the decoder is one for classes, at one scale."""
        tree = settings(
            network={"encoder": tiny_semi.ENCODER, "tasks": {"depth": {"decoder": {"name": "fpn", "channels": 8}}}},
            streams={"labelled": {"geometry": {"scale": [1, 1]}}},
            objectives={"supervised": {"losses": {"depth": {}}}},
            optimiser={"lr": 1e-2, "warmup": 0},
            train={**tiny_semi.LOOP, "steps": 30, "log_every": 5},
        )
        train(recipe(tree), tmp_path / "run", resume=False)
        losses = [line["supervised.depth"] for line in metrics(tmp_path / "run") if line["kind"] == "train"]
        assert losses[-1] < 0.7 * losses[0]
        assert not (tmp_path / "run" / "labelled.txt").exists(), "no label is used"
        prediction = fathomseg.load(tmp_path / "run").predict(recipe(tree).data.image("val/0000/000000"))
        assert prediction.label is None
        assert prediction.depth is not None

    @pytest.mark.slow
    def test_labelled_images_that_have_neighbours_teach_both(self, tmp_path: Path) -> None:
        """The budget stays; of its images, those in the middle of a drive are seen with their neighbours, in one
        pass."""
        tree = joint(
            streams={"labelled": {"labels": {"count": 6}}},
            objectives={
                "supervised": {},
                "photometric": {"stream": "labelled", "pose": {"encoder": tiny_semi.ENCODER}},
            },
        )
        train(recipe(tree), tmp_path / "run", resume=False)
        assert len((tmp_path / "run" / "labelled.txt").read_text().split()) == 6
        assert (tmp_path / "run" / "frames-labelled.csv").is_file()
        last = metrics(tmp_path / "run")[-1]
        assert last["photometric"] > 0
        assert last["supervised.segmentation"] > 0
        same_run(tmp_path / "run", killed_and_resumed(tree, tmp_path / "killed", 3))

    @pytest.mark.slow
    def test_pose_network_and_learned_cameras_are_kept(self, tmp_path: Path) -> None:
        own = {"name": "folder", "root": str(tiny_depth.drive(tmp_path / "own"))}
        tree = joint(streams=streams(clips={"data": own, "camera": {"name": "learned", "degrees": 70}}))
        train(recipe(tree), tmp_path / "run", resume=False)
        card = load_card(tmp_path / "run")
        assert list(card.tasks) == ["segmentation", "depth"]
        assert card.pose == recipe(tree).objectives["photometric"].pose  # type: ignore[union-attr]
        assert load_pose(tmp_path / "run").state_dict().keys() == load_file(tmp_path / "run" / POSE).keys()
        camera = yaml.safe_load((tmp_path / "run" / "camera-clips-96x48.yaml").read_text())
        assert (camera["width"], camera["height"]) == (96, 48)
        again = killed_and_resumed(tree, tmp_path / "killed", 3)
        same_run(tmp_path / "run", again)
        assert yaml.safe_load((again / "camera-clips-96x48.yaml").read_text()) == camera


class TestRecipesThatDoNotFit:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"streams": LABELS},
                r"'pseudo_labels' learns from stream 'unlabelled', .*: give streams\.unlabelled=\{\}",
            ),
            ({"objectives": {"supervised": {}}}, r"no objective learns from stream 'unlabelled'"),
            ({"objectives": {}}, r"nothing is learned: give an objective"),
            ({"streams": streams(clips={})}, r"no objective learns from stream 'clips'"),
            (
                {"objectives": {**settings()["objectives"], "photometric": {}}},
                r"'photometric' learns from stream 'clips'.*'photometric' trains 'depth', which the network does not",
            ),
            (
                {"objectives": {"supervised": {}, "pseudo_labels": {"mixing": {"name": "depthmix"}}}},
                r"needs the disparity of the images of stream 'unlabelled', which nothing gives: give streams\.unlabelled\.depth",  # noqa: E501
            ),
            (
                {"network": tiny_semi.JOINT},
                r"predicts 'depth', but no objective trains it: give objectives\.photometric",
            ),
            (
                {"network": {"tasks": {"depth": {}}}},
                r"trains 'segmentation', .*: give network\.tasks\.segmentation=\{\}",
            ),
            ({"objectives": {"supervized": {}}}, r"no such name 'supervized'; did you mean 'supervised'\?"),
            ({"objectives": {"pseudo_labels": {"teachr": "ema"}}}, r"teachr: unknown key.*'teacher'"),
            ({"network": {"tasks": {"dept": {}}}}, r"no such name 'dept'; did you mean 'depth'\?"),
            ({"network": {"tasks": {"depth": {"name": "segmentation"}}}}, r"a task goes by its own name"),
            ({"network": {"links": {"name": "padnet"}}}, r"links\.name=padnet joins decoders, and there is one"),
        ],
    )
    def test_plain(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            recipe(settings(**changes))

    def test_joint(self) -> None:
        objectives = joint()["objectives"]
        both = {**objectives, "other": {"name": "photometric", "pose": {"encoder": tiny_semi.ENCODER}}}
        with pytest.raises(ConfigError, match=r"photometric and other would each have a pose network of their own"):
            recipe(joint(objectives=both))
        late = {**objectives, "supervised": {"early": 0}}
        with pytest.raises(ConfigError, match=r"'early_segmentation', but no .* network\.links\.early=\[\]"):
            recipe(joint(objectives=late))
        assert recipe(joint(objectives=late, network={**tiny_semi.JOINT, "links": {"name": "padnet", "early": []}}))

    def test_an_objective_can_be_added_on_the_command_line(self) -> None:
        found = load(Recipe, joint(), ["objectives.feature_distance.weight=0.1", "objectives.pseudo_labels.views=2"])
        assert list(found.objectives) == ["supervised", "pseudo_labels", "photometric", "feature_distance"]


def joint_of_four() -> dict[str, Any]:
    """A joint run in which each of two processes has two images to mix."""
    return joint(train={**tiny_semi.LOOP, "batch": 4})


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "trees",
    [pytest.param(exact, marks=pytest.mark.long), pytest.param(joint_of_four, marks=pytest.mark.long)],
    ids=["plain", "joint"],
)
def test_two_processes(trees: Trees, tmp_path: Path) -> None:
    """They give what one gives where nothing depends on how a batch is shared out; a joint run uses every parameter,
    which two processes insist on."""
    train(recipe(trees()), tmp_path / "one", resume=False)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(trees()))
    command = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "two")]
    (tmp_path / "commands.json").write_text(json.dumps([(ranks.free_ports(1)[0], command)]))
    ranks.launched(tmp_path, 800)
    if trees is exact:
        nearly_the_same_run(tmp_path / "one", tmp_path / "two")
    else:
        assert metrics(tmp_path / "two")[-1].keys() == metrics(tmp_path / "one")[-1].keys()


@pytest.mark.parametrize("links", [{"name": "padnet"}, {"name": "zero_conv"}])
def test_what_only_objectives_of_weight_0_reach_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: dict[str, Any]
) -> None:
    """Links to a branch that is not learned, and the deepest maps of an encoder that only sends: several processes
    would wait for their gradients."""
    clip, lacking = Trainer._clip, list[str]()

    def noted(self: Trainer) -> Tensor:
        lacking.extend(n for n, p in self.module.named_parameters() if p.requires_grad and p.grad is None)
        assert any(p.grad is not None for p in self.module.network.links.parameters())
        return clip(self)

    monkeypatch.setattr(Trainer, "_clip", noted)
    own = {"encoder": "own"} if links["name"] == "zero_conv" else {}
    network = {**JOINT, "links": links, "tasks": {name: {**task, **own} for name, task in JOINT["tasks"].items()}}
    photometric = {"pose": {"encoder": tiny_semi.ENCODER}, "weight": 0.0}
    read = {name: stream for name, stream in tiny_semi.streams(clips={}).items() if name != "unlabelled"}
    loop = {**LOOP, "steps": 1}
    objectives = {"supervised": {}, "photometric": photometric}
    tree = settings(network=network, objectives=objectives, streams=read, train=loop, evaluation={"split": None})
    train(validate(Recipe, tree), tmp_path / "run", resume=False)
    assert lacking == []


def test_objectives_of_weight_0_take_no_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor do the streams that only they read."""
    metric = {"name": "supervised", "stream": "measured", "losses": {"depth": {}}, "weight": 0.0}
    network = {**JOINT, "links": {"name": "none"}}
    pseudo = {"mixing": {"name": "none"}, "weighting": {"name": "none"}, "weight": 0.0}
    every = {"supervised": {}, "pseudo_labels": pseudo, "metric": metric}
    read = {"labelled": {"labels": {"count": 4}, **CROP}, "unlabelled": CROP, "measured": CROP}
    tree = settings(network=network, objectives=every, streams=read, train={**LOOP, "steps": 2})
    recipe = validate(Recipe, tree)
    assert (list(recipe.at_work.objectives), list(recipe.at_work.streams)) == (["supervised"], ["labelled"])
    train(recipe, tmp_path / "run", resume=False)
    said = capsys.readouterr().err
    assert "weight 0 are left out: pseudo_labels, metric, and with them the streams unlabelled, measured." in said
    assert "depth is predicted but not learned" in said
    assert "weight: 0.0" in (tmp_path / "run/config.yaml").read_text()
    keys = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[0])
    assert not [key for key in keys if "pseudo" in key or "metric" in key]
    with pytest.raises(ConfigError, match="every objective has weight 0"):
        validate(Recipe, {**tree, "objectives": {**every, "supervised": {"weight": 0.0}}})
