"""What a step saw, as pictures: by every objective, without a trace in the step, and the page they are in."""

from __future__ import annotations

import base64
import io
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

from fathomseg.data.colour import ColourJitter
from fathomseg.engine.step import Step
from fathomseg.report.curves import Log
from fathomseg.report.section import Card
from fathomseg.report.step_samples import Samples, step_samples
from fathomseg.report.training_page import LearnedCamera, TrainingPage, render
from fathomseg.types import Batch, ClassList
from tests.objectives.steps import JOINT, TOGETHER, make_batch, make_step
from tests.report.browser import Tags

HOSTILE = "<script>alert(1)</script>"
CLASSES = ClassList(("road", HOSTILE, "sky", "tree"), ((1, 2, 3), (200, 0, 0), (0, 200, 0), (0, 0, 200)))


@pytest.fixture(scope="module")
def made() -> tuple[Step, dict[str, Batch], list[Samples]]:
    objectives = {**TOGETHER, "pseudo_labels": {"mixing": {"name": "depthmix"}, "depth_scale": "image"}}
    step = make_step(JOINT, objectives, colours={"labelled": ColourJitter(probability=1)}).train()
    batches = {
        "labelled": make_batch(1, "label"),
        "unlabelled": make_batch(2),
        "clips": make_batch(3, "frames", rows={"frames": [1], "camera": [1]}),
    }
    before, random = deepcopy(step.state_dict()), torch.get_rng_state()
    found = step_samples(step, batches, CLASSES)
    for name, value in step.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), random)
    assert step.training
    return step, batches, found


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_every_objective_shows_what_it_learns_from(made: tuple[Step, dict[str, Batch], list[Samples]]) -> None:
    found = {one.title: one for one in made[2]}
    assert list(found) == [
        "supervised, stream labelled",
        "pseudo labels, stream unlabelled",
        "photometric, stream clips",
    ]
    labelled, pseudo, video = found.values()
    assert [name for name, _ in labelled.figures[0].pictures] == ["image, as it is learned from", "label"]
    assert [name for name, _ in pseudo.figures[0].pictures] == [
        "image",
        "pseudo-label",
        "disparity",
        "mixed and augmented image",
        "targets of the strong view",
        "how much each pixel counts",
    ]
    assert [figure.id for figure in video.figures] == ["3/1"]  # the one that has neighbours
    assert {"image", "depth", "share"} == video.kinds


def test_pictures_are_those_of_the_batch(made: tuple[Step, dict[str, Batch], list[Samples]]) -> None:
    _, batches, (labelled, pseudo, video) = made
    label = pixels(labelled.figures[1].pictures[1][1])
    np.testing.assert_array_equal(label, CLASSES.palette[batches["labelled"].targets["label"][1].numpy()])
    for figure, batch, row in ((pseudo.figures[0], "unlabelled", 0), (video.figures[0], "clips", 1)):
        brightness = batches[batch].image[row].float().mean(0).numpy()
        shown = pixels(figure.pictures[0][1]).mean(2)
        assert np.corrcoef(shown.ravel(), brightness.ravel())[0, 1] > 0.8  # noise, as JPEG keeps it


def test_without_classes_no_label_is_drawn(made: tuple[Step, dict[str, Batch], list[Samples]]) -> None:
    step, batches, _ = made
    (labelled,) = [one for one in step_samples(step, batches, None) if one.title.startswith("supervised")]
    assert [name for name, _ in labelled.figures[0].pictures] == ["image, as it is learned from"]


def test_the_page_of_a_training(made: tuple[Step, dict[str, Batch], list[Samples]]) -> None:
    page = TrainingPage(
        title=f"run {HOSTILE}",
        steps=12,
        dataset=HOSTILE,
        samples=made[2],
        classes=CLASSES,
        origin={"date": "2026-01-02", "command": ["fathom", HOSTILE], "gpu": None},
        streams={"labelled": 12345, "source": None},
        cameras=[LearnedCamera(f"clips/{HOSTILE}", "48 x 64", 50.0, 61.25, 58.5)],
        scores=[Card("mIoU", "41.5", "%", "mean")],
        evaluation="evaluation/val/report.html",
    )
    text = render(page, Log({}, {}, {}, 1.5), (), f"data: {HOSTILE}\n")
    assert Tags(text).open == []
    assert HOSTILE not in text
    assert "source: endless" in text
    for words in ("61.2", "58.5", "41.5", "12\u202f345 images", "1.5 minutes", 'href="evaluation/val/report.html"'):
        assert words in text, words
    assert text.count("<img") == 2 * 2 + 2 * 6 + 4 + 2  # and two bars of colours
