"""Pairs of two domains: truth on the pixels of the source, the teacher's word on those of the target, each weighed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from fathomseg.config import validate
from fathomseg.engine.step import Step
from fathomseg.errors import ConfigError, FathomError
from fathomseg.models.network import SHARED
from fathomseg.objectives.base import Base, Nets
from fathomseg.objectives.check import misfits
from fathomseg.objectives.pseudo_labels import PseudoLabels, PseudoLabelsObjective
from fathomseg.objectives.supervised import Supervised
from fathomseg.objectives.teacher import Teacher
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import IGNORE, Batch
from tests.objectives.steps import JOINT, PLAIN, POSE, Counted, make_batch, make_step
from tests.objectives.test_pseudo_labels import logits_of, pseudo_labels, row

DEPTHMIX = {"name": "depthmix", "margin": 0.03}
FRACTION = {"name": "fraction", "threshold": 0.85}
OBJECTIVES: dict[str, Any] = {"supervised": {"stream": "source"}, "pseudo_labels": {"partner": "source"}}


def step(network: Mapping[str, Any] = PLAIN, **settings: Any) -> Step:
    own = {**OBJECTIVES["pseudo_labels"], **settings}
    return make_step(network, {**OBJECTIVES, "pseudo_labels": own})


def pair(*kinds: str) -> dict[str, Batch]:
    return {"source": make_batch(1, "label", *kinds), "unlabelled": make_batch(2, *kinds)}


class TestByHand:
    """A source and a target image of four pixels; the teacher says class 1 with .9 .6 .97 .2 of the target's."""

    teacher = logits_of([[0.9, 0.6, 0.97, 0.2]])

    def target(self, **more: torch.Tensor) -> Batch:
        return row(1, 4, disparity=torch.tensor([0.9, 0.2, 0.5, 0.5]).view(1, 1, 1, 4), **more)

    def source(self) -> Batch:
        label = torch.tensor([[[0, 0, 1, IGNORE]]], dtype=torch.uint8)
        batch = row(1, 4, label=label, disparity=torch.tensor([0.1, 0.8, 0.51, 0.9]).view(1, 1, 1, 4))
        return replace(batch, image=batch.image + 100)

    def lesson(self, target: Batch, **settings: object) -> tuple[list[float], list[int], list[float]]:
        """Red of the mixed image times 255, its labels and its weights."""
        config = pseudo_labels(**{"mixing": DEPTHMIX, "partner": "source", "weighting": FRACTION, **settings})
        pixels, _found = config.pseudo_labelled(target, target.image / 255, self.teacher, None)
        images, (wanted,) = config.views_of(pixels, target.keys, config.true_pixels(self.source(), None))
        red = (images[0, 0, 0] * 255).round().tolist()
        return red, wanted.label.flatten().tolist(), wanted.weight.flatten().tolist()

    def test_truth_on_source_pixels_the_teacher_on_target_pixels_and_weights_by_domain(self) -> None:
        """The target is nearer in pixel 0 alone; two of its four pixels are sure. An unlabelled source pixel is seen
        and counts nowhere."""
        red, label, weight = self.lesson(self.target())
        assert red == [0, 101, 102, 103]
        assert label == [1, 0, 1, IGNORE]
        assert weight == pytest.approx([0.5, 1, 1, 0])

    def test_a_labelled_image_of_the_target_counts_fully(self) -> None:
        labelled = self.target(label=torch.tensor([[[0, 0, 0, 0]]], dtype=torch.uint8))
        assert self.lesson(labelled)[1:] == ([0, 0, 1, IGNORE], [1, 1, 1, 0])

    def test_dacs_pastes_half_of_the_classes_of_the_source(self) -> None:
        """It shows the classes 0 and 1: either both pixels of 0 or the one of 1 are pasted."""
        red, label, weight = self.lesson(self.target(), mixing={"name": "classmix"})
        assert (red, label) in (([100, 101, 2, 3], [0, 0, 1, 0]), ([0, 1, 102, 3], [1, 1, 1, 0]))
        assert weight == [1.0 if value >= 100 else 0.5 for value in red]


def test_both_batches_reach_the_objective_and_the_source_is_not_asked_of_the_teacher() -> None:
    made = step().train()
    counted = Counted(teacher=made.ema.network.encoders[SHARED], student=made.network.encoders[SHARED])
    result = made(pair())
    assert set(result.terms) == {"supervised.segmentation", "pseudo_labels"}
    assert [images for _, _, images in counted.calls["teacher"]] == [2]
    assert len(counted.calls["student"]) == 3, "the source, the clean target for BatchNorm alone, the mixed images"


def test_batchnorm_statistics_are_the_targets() -> None:
    """Whatever the source shows, and though every image that is learned from shows some of it."""
    held = {"source": ("segmentation",)}
    found = []
    for seed in (1, 3):
        made = make_step(PLAIN, OBJECTIVES, held_for=held).train()
        before = {name: value.clone() for name, value in made.network.named_buffers() if "running" in name}
        made({"source": make_batch(seed, "label"), "unlabelled": make_batch(2)})
        found.append({name: value for name, value in made.network.named_buffers() if "running" in name})
        assert any(not torch.equal(value, before[name]) for name, value in found[-1].items())
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=0, atol=0)


def test_statistics_come_from_one_clean_pass_however_many_objectives_there_are() -> None:
    """Three of them, one of which mixes images of the stream itself: one pass more, and nothing else moves them."""
    inner = {"name": "pseudo_labels", "mixing": DEPTHMIX}
    masked = {"name": "pseudo_labels", "mixing": {"name": "none"}, "masking": {}}
    held = {"source": ("segmentation",)}
    made = make_step(PLAIN, {**OBJECTIVES, "intra": inner, "masked": masked}, held_for=held).train()
    batches, expected = pair("disparity"), copy.deepcopy(made.network)
    expected(batches["unlabelled"].image / 255, ("segmentation",))
    counted = Counted(student=made.network.encoders[SHARED])
    made(batches)
    assert len(counted.calls["student"]) == 5, "the source, the clean target, three views"
    for (name, found), value in zip(made.network.named_buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(found, value, msg=name)


def test_batchnorm_statistics_are_of_images_without_blank_blocks() -> None:
    """However much of the views is masked."""
    found = []
    for ratio in (0.1, 0.9):
        masked = {"mixing": {"name": "none"}, "masking": {"ratio": ratio}}
        made = make_step(PLAIN, {"supervised": {"stream": "source"}, "pseudo_labels": masked}).train()
        made({"source": make_batch(1, "label"), "unlabelled": make_batch(2)})
        found.append({name: value for name, value in made.network.named_buffers() if "running" in name})
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=0, atol=0)


def test_the_pair_is_image_by_image() -> None:
    """Exchanging the source's images changes the loss, unless the target's are exchanged with them."""
    batches = pair("disparity")
    other = {**batches, "source": batches["source"].take([1, 0])}
    both = {name: batch.take([1, 0]) for name, batch in batches.items()}
    plain = step(mixing=DEPTHMIX, augment={"name": "none"}, weighting={"name": "none"}).eval()
    value = plain(batches).terms["pseudo_labels"].sum.item()
    assert plain(other).terms["pseudo_labels"].sum.item() != pytest.approx(value, rel=1e-4)
    assert plain(both).terms["pseudo_labels"].sum.item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("mixing", [{**DEPTHMIX, "either_sign": True}, {"name": "classmix"}], ids=lambda m: m["name"])
def test_halves_of_a_batch_give_together_what_the_whole_gives(mixing: dict[str, Any]) -> None:
    """So that two processes, or two micro-batches, are one: no pair crosses the border of a part."""
    batches = {
        "source": make_batch(1, "label", "disparity", count=4),
        "unlabelled": make_batch(2, "disparity", count=4),
    }
    made = step(mixing=mixing).eval()
    parts = [{name: batch.take(rows) for name, batch in batches.items()} for rows in ([0, 1], [2, 3])]
    terms = [made(part).terms["pseudo_labels"] for part in (batches, *parts)]
    assert terms[0].sum.item() > 0
    assert (terms[1].sum + terms[2].sum).item() == pytest.approx(terms[0].sum.item(), rel=1e-5)
    assert (terms[1].count + terms[2].count).item() == terms[0].count.item()


def test_without_disparity_the_teacher_predicts_it_for_both() -> None:
    """On the scale its own network has: the source's pixels are asked for depth alone."""
    objectives = {
        **OBJECTIVES,
        "pseudo_labels": {"partner": "source", "mixing": DEPTHMIX},
        "photometric": {"pose": POSE},
    }
    made = make_step(JOINT, objectives)
    counted = Counted(encoder=made.ema.network.encoders[SHARED])
    module = made.objectives["pseudo_labels"]
    assert isinstance(module, PseudoLabelsObjective)
    batches = pair()
    nets = Nets(made.network, made.ema.network)
    module.request(batches["unlabelled"], Base.of(batches["unlabelled"], None, batches), nets)
    assert len(counted.calls["encoder"]) == 2


def test_objectives_of_one_stream_share_the_pass_of_their_teacher() -> None:
    """Cross-domain and intra-domain mixing and masked consistency, from one pass of the teacher."""
    inner = {"name": "pseudo_labels", "mixing": DEPTHMIX}
    masked = {"name": "pseudo_labels", "mixing": {"name": "none"}, "masking": {}}
    made = make_step(PLAIN, {**OBJECTIVES, "intra": inner, "masked": masked}).eval()
    counted = Counted(teacher=made.ema.network.encoders[SHARED])
    result = made(pair("disparity"))
    assert set(result.terms) == {"supervised.segmentation", "pseudo_labels", "intra", "masked"}
    assert len(counted.calls["teacher"]) == 1
    alone = make_step(PLAIN, {"supervised": {"stream": "source"}, "intra": inner}).eval()
    assert alone(pair("disparity")).terms["intra"].sum.item() == result.terms["intra"].sum.item()


def test_one_that_sees_the_view_has_a_pass_of_its_own() -> None:
    other = {"name": "pseudo_labels", "teacher": "self"}
    made = make_step(PLAIN, {**OBJECTIVES, "self": other}).train()
    counted = Counted(teacher=made.ema.network.encoders[SHARED])
    made(pair())
    assert len(counted.calls["teacher"]) == 1, "the other teacher is the network itself"


def test_batches_that_do_not_pair_are_an_error() -> None:
    batches = pair() | {"source": make_batch(1, "label", count=3)}
    with pytest.raises(FathomError, match=r"3 x 3 x 32 x 48 of stream 'source' cannot be mixed with batches of 2 x 3"):
        step()(batches)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixing": {"name": "none"}}, "a partner is there to be mixed with"),
        ({"stream": ["a", "b"]}, "images of several streams"),
        ({"stream": "source"}, "must be another stream"),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(PseudoLabels, {"partner": "source", **settings})


def test_what_the_partner_needs() -> None:
    network = validate(NetworkConfig, PLAIN)
    config = PseudoLabels(partner="source", mixing={"name": "depthmix"})  # type: ignore[arg-type]
    assert config.partner_needs(network) == {"label", "disparity"}
    assert config.partner_needs(validate(NetworkConfig, JOINT)) == {"label"}
    assert PseudoLabels(partner="source").partner_needs(network) == {"label"}
    both = {"supervised": Supervised(stream="source"), "pseudo_labels": config}
    given = {"source": (), "unlabelled": ("disparity",)}
    assert list(misfits(network, given, both)) == [
        "objective 'pseudo_labels' compares depths with those of stream 'source', which nothing gives: give "
        "streams.source.depth={name: dataset} or {name: run, run: RUN}"
    ]
    assert "no such stream" in " ".join(misfits(network, {"unlabelled": ("disparity",)}, both))


def test_depths_of_a_pair_are_both_given_or_both_the_networks() -> None:
    objectives = {
        name: validate(kind, OBJECTIVES[name] | more)
        for name, kind, more in (
            ("supervised", Supervised, {"losses": {"segmentation": {}, "depth": {}}}),
            ("pseudo_labels", PseudoLabels, {"mixing": DEPTHMIX}),
        )
    }
    network = validate(NetworkConfig, JOINT)

    def found(**given: set[str]) -> list[str]:
        streams = {"source": set[str](), "unlabelled": set[str](), **given}
        return [line for line in misfits(network, streams, objectives) if "on another scale" in line]

    assert found() == found(source={"disparity"}, unlabelled={"disparity"}) == []
    (line,) = found(source={"disparity"})
    assert "own of 'unlabelled'" in line
    assert "give streams.unlabelled.depth, too, or leave streams.source.depth out" in line


def test_the_networks_depth_of_a_partner_is_that_of_its_whole_image() -> None:
    """The view is the right half of the image, twice as large: the disparity (here: red) is not that of the view."""
    whole = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4).expand(1, 3, 2, 4) * 60
    view = torch.tensor([[[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]])
    batch = row(1, 4)
    batch = replace(batch, image=torch.zeros(1, 3, 2, 4, dtype=torch.uint8), targets={"whole": whole, "view": view})
    config = pseudo_labels(mixing=DEPTHMIX, partner="source")
    assert "whole" in config.partner_uses(validate(NetworkConfig, JOINT))
    assert "whole" not in pseudo_labels(mixing=DEPTHMIX, partner="source", teacher_sees="view").partner_uses(
        validate(NetworkConfig, JOINT)
    )
    assert torch.equal(Teacher("ema", "whole", True).seen(batch, batch.image / 255), whole / 255)
    pixels = config.true_pixels(batch, whole[:, :1] / 255)
    assert pixels.disparity is not None
    torch.testing.assert_close(pixels.disparity[0, 0, 0] * 255, torch.tensor([105.0, 135.0, 165.0, 180.0]))
