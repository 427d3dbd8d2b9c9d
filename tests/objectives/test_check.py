"""What does not fit together is told before anything is read: which objective, what it lacks, what to set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import BeforeValidator
from torch import nn

from fathomseg.config import Part, named_by_key, validate
from fathomseg.models.network import Network
from fathomseg.objectives import AnyObjective
from fathomseg.objectives.base import Objective, ObjectiveModule, RunSettings, Setup
from fathomseg.objectives.check import misfits
from fathomseg.tasks.network import NetworkConfig

CLASSES, DEPTH = {"tasks": {"segmentation": {}}}, {"tasks": {"depth": {}}}
BOTH = {"tasks": {"segmentation": {"decoder": {"name": "depth_unet"}}, "depth": {}}}
LINKED = {**BOTH, "links": {"name": "padnet"}}
SHAPE = {"error": "scale_shift_invariant"}
LEARNS_BOTH = {"losses": {"segmentation": {}, "depth": {}}}


class Objectives(Part):
    objectives: Annotated[dict[str, AnyObjective], BeforeValidator(named_by_key)]


def found(network: dict[str, Any], objectives: dict[str, Any], **streams: list[str]) -> list[str]:
    """What is told; streams have no depth source unless they say `["disparity"]`."""
    parts = validate(Objectives, {"objectives": objectives}).objectives
    return list(misfits(validate(NetworkConfig, network), streams, parts))


@pytest.mark.parametrize(
    ("network", "objectives", "streams"),
    [
        (CLASSES, {"supervised": {}}, {"labelled": []}),
        (CLASSES, {"supervised": {}, "pseudo_labels": {}}, {"labelled": [], "unlabelled": []}),
        (DEPTH, {"photometric": {}}, {"clips": []}),
        (DEPTH, {"supervised": {"losses": {"depth": {"target": "disparity"}}}}, {"labelled": ["disparity"]}),
        (BOTH, {"supervised": LEARNS_BOTH}, {"labelled": []}),
        (LINKED, {"supervised": {}, "photometric": {"stream": "labelled"}}, {"labelled": []}),
        (
            LINKED,
            {"supervised": {}, "photometric": {}, "pseudo_labels": {"mixing": {"name": "depthmix"}}},
            {"labelled": [], "clips": [], "unlabelled": []},
        ),
        (
            CLASSES,
            {"supervised": {}, "pseudo_labels": {"mixing": {"name": "depthmix"}}},
            {"labelled": [], "unlabelled": ["disparity"]},
        ),
        (
            CLASSES,
            {
                "supervised": {"losses": {"segmentation": {"balance": 0.5}}},
                "pseudo_labels": {"logit_adjusted": True},
            },
            {"labelled": [], "unlabelled": []},
        ),
        (BOTH, {"supervised": LEARNS_BOTH, "feature_distance": {"stream": "labelled"}}, {"labelled": []}),
        ({"tasks": {}}, {"contrastive": {}}, {"labelled": []}),
        (CLASSES, {"supervised": {}, "contrastive": {}}, {"labelled": []}),
        (BOTH, {"supervised": LEARNS_BOTH, "scene_consistency": {"run": "runs/scene"}}, {"labelled": []}),
    ],
)
def test_what_fits(network: dict[str, Any], objectives: dict[str, Any], streams: dict[str, list[str]]) -> None:
    assert found(network, objectives, **streams) == []


@pytest.mark.parametrize(
    ("network", "objectives", "streams", "told"),
    [
        pytest.param(
            {"tasks": {}},
            {"feature_distance": {"stream": "labelled"}, "contrastive": {}, "again": {"name": "contrastive"}},
            {"labelled": []},
            [
                "a network needs a task: give network.tasks.segmentation={} or network.tasks.depth={}",
                "objective 'feature_distance': it holds the shared encoder, and every task has its own: set "
                "network.tasks.TASK.encoder=shared",
                "contrastive and again would each train a scene model, and a run has one: leave one of them out",
            ],
            id="no task",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}, "scene_consistency": {"run": "runs/scene"}},
            {"labelled": []},
            [
                "objective 'scene_consistency': it compares depth with classes, but the network lacks one: give "
                "network.tasks.depth={}"
            ],
            id="one of two maps",
        ),
        pytest.param(
            BOTH,
            {
                "supervised": LEARNS_BOTH,
                "scene_consistency": {"run": "runs/scene", "depth_weight": 0, "segmentation_weight": 0},
            },
            {"labelled": []},
            [
                "objective 'scene_consistency': it trains nothing with depth_weight=0 and segmentation_weight=0: give "
                "one of them, or leave it out"
            ],
            id="a frozen pair",
        ),
        pytest.param(
            CLASSES,
            {},
            {"labelled": []},
            [
                "nothing is learned: give an objective, for example objectives.supervised={stream: labelled}",
                "the network predicts 'segmentation', but no objective trains it: give "
                "objectives.supervised.losses.segmentation={}, or leave network.tasks.segmentation out",
                "no objective learns from stream 'labelled': leave it out (streams.labelled=null), or name it in an "
                "objective",
            ],
            id="nothing",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}, "pseudo_labels": {"teacher": "finished"}},
            {"labelled": [], "unlabelled": []},
            [
                "objective 'pseudo_labels' learns what a finished teacher has predicted, and stream 'unlabelled' has "
                "none of it: give streams.unlabelled.distilled.segmentation.folder=FOLDER (fathom distill), or "
                "teacher=ema"
            ],
            id="a finished teacher that has said nothing",
        ),
        pytest.param(
            CLASSES,
            {
                "supervised": {"stream": ["labelled", "unlabelled"]},
                "pseudo_labels": {"teacher": "finished", "truth": False},
            },
            {"labelled": [], "unlabelled": ["distilled_label"]},
            [
                "objective 'pseudo_labels' has truth=false, but objective 'supervised' opens labels of stream "
                "'unlabelled', and where there is one the finished teacher's is not read: its labelled images would "
                "teach nothing. Give objectives.pseudo_labels.truth=true, or streams of their own"
            ],
            id="labels beside those of a finished teacher",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}, "pseudo_labels": {"teacher": "finished", "truth": False}},
            {"labelled": [], "unlabelled": ["distilled_label"]},
            [],
            id="a finished teacher alone",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}, "pseudo_labels": {}},
            {"labelled": []},
            [
                "objective 'pseudo_labels' learns from stream 'unlabelled', but there is none: give streams.unlabelled={}"  # noqa: E501
            ],
            id="a stream that is missing",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}},
            {"labelled": [], "clips": []},
            ["no objective learns from stream 'clips': leave it out (streams.clips=null), or name it in an objective"],
            id="a stream too many",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}, "photometric": {}},
            {"labelled": [], "clips": []},
            [
                "objective 'photometric' trains 'depth', which the network does not predict: give network.tasks.depth={}"  # noqa: E501
            ],
            id="a task that is missing",
        ),
        pytest.param(
            BOTH,
            {"supervised": {}},
            {"labelled": []},
            [
                "the network predicts 'depth', but no objective trains it: give objectives.photometric={} (from video), "  # noqa: E501
                "objectives.supervised.losses.depth={} (from true depth), or leave network.tasks.depth out"
            ],
            id="depth that is not taught",
        ),
        pytest.param(
            BOTH,
            {"photometric": {}},
            {"clips": []},
            [
                "the network predicts 'segmentation', but no objective trains it: give "
                "objectives.supervised.losses.segmentation={}, or leave network.tasks.segmentation out"
            ],
            id="classes that are not taught",
        ),
        pytest.param(
            LINKED,
            {"supervised": {**LEARNS_BOTH, "early": 0}},
            {"labelled": []},
            [
                "the network predicts 'early_segmentation', but no objective trains it: give a weight to "
                "objectives.supervised.early, or set network.links.early=[]"
            ],
            id="an early output that is not taught",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}, "pseudo_labels": {"mixing": {"name": "depthmix"}}},
            {"labelled": [], "unlabelled": []},
            [
                "objective 'pseudo_labels' needs the disparity of the images of stream 'unlabelled', which nothing gives: "  # noqa: E501
                "give streams.unlabelled.depth={name: run, run: RUN}, or let the network predict it: "
                "network.tasks.depth={}"
            ],
            id="depths to mix by",
        ),
        pytest.param(
            DEPTH,
            {"supervised": {"losses": {"depth": {"target": "disparity"}}}},
            {"labelled": []},
            [
                "objective 'supervised' needs the disparity of the images of stream 'labelled', which nothing gives: "
                "give streams.labelled.depth={name: run, run: RUN}"
            ],
            id="depths to learn",
        ),
        pytest.param(
            {"tasks": {"segmentation": {"encoder": "own"}}},
            {"supervised": {}, "feature_distance": {"stream": "labelled"}},
            {"labelled": []},
            [
                "objective 'feature_distance': it holds the shared encoder, and every task has its own: set "
                "network.tasks.TASK.encoder=shared"
            ],
            id="an encoder to hold",
        ),
        pytest.param(
            DEPTH,
            {"photometric": {}, "more": {"name": "photometric", "stream": "drive"}},
            {"clips": [], "drive": []},
            [
                "photometric and more would each have a pose network of their own: give one of them all streams, "
                "objectives.photometric.stream=[clips, drive]"
            ],
            id="two pose networks",
        ),
        pytest.param(
            CLASSES,
            {"supervised": {}, "pseudo_labels": {"logit_adjusted": True}},
            {"labelled": [], "unlabelled": []},
            [
                "objective 'pseudo_labels': logit_adjusted has no class weights to go by: give "
                "objectives.supervised.losses.segmentation.balance, or set it to false"
            ],
            id="class weights",
        ),
    ],
)
def test_what_does_not_fit_is_told(
    network: dict[str, Any], objectives: dict[str, Any], streams: dict[str, list[str]], told: list[str]
) -> None:
    assert found(network, objectives, **streams) == told


TWO = {**CLASSES["tasks"], "depth": {"decoder": "shared"}, "source_depth": {"decoder": "shared"}}
SOURCE = {"name": "supervised", "losses": {"source_depth": {"target": "disparity"}}}
TARGET = {"name": "supervised", "stream": "unlabelled", "losses": {"depth": {"target": "disparity"}}}
AGREE = {"supervised": {}, "pseudo_labels": {"depth_agreement": {}}}
BOTH_DEEP = {"labelled": ["disparity"], "unlabelled": ["disparity"]}


def test_two_depths_that_can_be_compared() -> None:
    assert found({"tasks": TWO}, {**AGREE, "s": SOURCE, "t": TARGET}, **BOTH_DEEP) == []
    metres = {**AGREE, "pseudo_labels": {"depth_agreement": {"target": "depth"}}}
    losses = {"s": {**SOURCE, "losses": {"source_depth": {}}}, "t": {**TARGET, "losses": {"depth": {}}}}
    assert found({"tasks": TWO}, {**metres, **losses}, labelled=[], unlabelled=[]) == []


@pytest.mark.parametrize(
    ("network", "objectives", "told"),
    [
        (CLASSES["tasks"], {}, "the network lacks depth and source_depth: give network.tasks.depth={decoder: shared}"),
        (
            {name: task for name, task in TWO.items() if name != "source_depth"},
            {"t": TARGET},
            "the network lacks source_depth: give network.tasks.source_depth={decoder: shared}",
        ),
        (
            {**TWO, "depth": {"decoder": "shared", "max_depth": 80}},
            {"s": SOURCE, "t": TARGET},
            r"depth has \(0.1, 80.0\) and source_depth \(0.1, 100.0\): give both the same min_depth and max_depth",
        ),
        (
            TWO,
            {"s": SOURCE, "t": {**TARGET, "losses": {"depth": {}}}},
            r"set objectives.t.losses.depth=\{target: disparity, error: berhu\}, or depth_agreement.target",
        ),
        (
            TWO,
            {"t": TARGET, "s": {**SOURCE, "losses": {"source_depth": {**SOURCE["losses"]["source_depth"], **SHAPE}}}},
            r"set objectives.s.losses.source_depth=\{target: disparity, error: berhu\}",
        ),
        (
            TWO,
            {"s": SOURCE, "video": {"name": "photometric", "stream": "unlabelled"}},
            "'video' learns depth from video, in a scale of its own: pretrain depth",
        ),
    ],
)
def test_two_depths_that_cannot(network: dict[str, Any], objectives: dict[str, Any], told: str) -> None:
    (line,) = found({"tasks": network}, {**AGREE, **objectives}, **BOTH_DEEP)
    assert line.startswith("objective 'pseudo_labels': depth_agreement compares ")
    assert re.search(told, line)


def test_a_second_depth_that_nothing_teaches() -> None:
    (told,) = found({"tasks": TWO}, {**AGREE, "t": TARGET}, **BOTH_DEEP)
    assert "the network predicts 'source_depth', but no objective trains it: give objectives.NAME={name: " in told


def test_an_auxiliary_task_alone_is_no_network() -> None:
    told = found({"tasks": {"source_depth": {}}}, {"supervised": SOURCE}, labelled=["disparity"])
    assert told == ["a network needs a task: give network.tasks.segmentation={} or network.tasks.depth={}"]


class Own(Objective):
    """An objective of one's own, which the check knows by its hooks alone."""

    name: str = "own"
    stream: str = "labelled"
    single: ClassVar[str | None] = "memory"

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        return frozenset({"segmentation"})

    def misfits(self, name: str, run: RunSettings) -> Iterator[str]:
        yield f"{name} of {', '.join(run.objectives)} and {', '.join(run.streams)}"

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> ObjectiveModule:
        raise NotImplementedError


def test_an_objective_of_ones_own_has_its_say() -> None:
    told = list(misfits(validate(NetworkConfig, CLASSES), {"labelled": []}, {"a": Own(), "b": Own()}))
    one_too_many = "a and b would each train a memory, and a run has one: leave one of them out"
    assert told == ["a of a, b and labelled", "b of a, b and labelled", one_too_many]


class Misspelt(Own):
    """Nothing gives what it asks for, or is called as what it trains."""

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        return frozenset({"segmentation", "decoded_segmentation"})

    def needs(self, network: NetworkConfig) -> frozenset[str]:
        return frozenset({"labels", "distilled_label_confidence"})

    def misfits(self, name: str, run: RunSettings) -> Iterator[str]:
        return iter(())


def test_names_of_targets_and_outputs_are_those_there_are() -> None:
    asked, trained = misfits(validate(NetworkConfig, CLASSES), {"labelled": []}, {"own": Misspelt()})
    there = "camera, depth, disparity, frames, label, normals, view, whole"
    assert asked == f"objective 'own' asks for the target 'labels', which nothing gives; there is: {there}"
    assert trained == (
        "objective 'own' trains 'decoded_segmentation', which the network does not predict: it predicts segmentation"
    )


def test_a_frozen_task_needs_no_objective_and_may_have_none() -> None:
    own = {"encoder": "own", "decoder": {"name": "fpn"}}
    network = {"tasks": {"segmentation": own, "depth": {**own, "frozen": True}}}
    assert found(network, {"supervised": {}}, labelled=[]) == []
    both = {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}
    (told,) = found(network, both, labelled=[])
    assert told == (
        "objective 'supervised' trains 'depth', which network.tasks.depth.frozen=true keeps as it is: give "
        "objectives.supervised.weight=0, or leave frozen out"
    )
    idle = {"supervised": {}, "photometric": {"weight": 0}, "semantic_guidance": {"weight": 0}}
    assert found(network, idle, labelled=["label"], clips=[]) == []
    (told,) = found(network, {"supervised": {}, "semantic_guidance": {}}, labelled=["label"], clips=[])
    assert "'semantic_guidance': it guides depth, which network.tasks.depth.frozen=true keeps as it is" in told


def test_every_objective_without_class_weights_says_so() -> None:
    adjusted = {"name": "pseudo_labels", "logit_adjusted": True}
    told = found(CLASSES, {"supervised": {}, "a": adjusted, "b": adjusted}, labelled=[], unlabelled=[])
    assert [line.split(":")[0] for line in told] == ["objective 'a'", "objective 'b'"]
    weighing = {"losses": {"segmentation": {"balance": 0.5}}}
    assert found(CLASSES, {"supervised": weighing, "a": adjusted, "b": adjusted}, labelled=[], unlabelled=[]) == []


def test_all_of_it_at_once() -> None:
    objectives = {"photometric": {}, "pseudo_labels": {"mixing": {"name": "depthmix"}}}
    told = found({"tasks": {"segmentation": {}}}, objectives, unlabelled=[], spare=[])
    assert len(told) == 4
    for number, words in enumerate(("stream 'clips', but there", "'depth', which the network", "disparity", "'spare'")):
        assert words in told[number]
