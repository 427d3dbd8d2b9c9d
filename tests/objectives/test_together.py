"""The semi-supervised step: what the teacher may and may not do, what each stream teaches, how often each net runs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fathomseg.config import validate
from fathomseg.errors import ConfigError
from fathomseg.learners.base import to_unit
from fathomseg.learners.depth import DepthLearner, SelfSupervisedDepth
from fathomseg.learners.semi import SemiLearner, SemiSupervised
from fathomseg.losses.segmentation import annealed_cross_entropy, cross_entropy, upsample
from fathomseg.models.depth_network import DepthNetworkConfig
from fathomseg.models.joint import JointNetwork, JointNetworkConfig
from fathomseg.models.network import Network, NetworkConfig
from fathomseg.types import IGNORE, Batch, StepResult
from tests.learners.pointwise import Pointwise

CLASSES, SIZE = 4, (32, 48)
ENCODER = {"model": "test_resnet", "pretrained": "none"}
PLAIN = {"encoder": ENCODER, "decoder": {"name": "fpn", "channels": 8}}
DECODER = {"channels": [4, 4, 8, 8, 8], "stride": 4}
JOINT = {"encoder": ENCODER, "decoder": DECODER}
VIDEO = {"pose": {"encoder": ENCODER}}
STILL = {"colour": {"probability": 0}}


def plain(steps: int = 10, network: Mapping[str, Any] = PLAIN, **settings: Any) -> SemiLearner:
    torch.manual_seed(0)
    built = validate(NetworkConfig, {**PLAIN, **network}).build(CLASSES)
    return validate(SemiSupervised, {"name": "semi", **settings}).build(built, torch.full((CLASSES,), 100), steps)


def joint(network: Mapping[str, Any] | None = None, **settings: Any) -> SemiLearner:
    torch.manual_seed(0)
    built = validate(JointNetworkConfig, {**JOINT, **(network or {})}).build(CLASSES)
    config = validate(SemiSupervised, {"name": "semi", "video": VIDEO, **settings})
    return config.build(built, torch.full((CLASSES,), 100), steps=10)


def batch(seed: int, label: bool = False, frames: bool = False, count: int = 2) -> Batch:
    rng = torch.Generator().manual_seed(seed)

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, dtype=torch.uint8, generator=rng)

    camera = torch.tensor([[40.0, 0, 23.5], [0, 40, 15.5], [0, 0, 1]]).expand(count, 3, 3)
    return Batch(
        tuple(f"{seed}/{i}" for i in range(count)),
        tuple(range(100 * seed, 100 * seed + count)),
        draw(256, count, 3, *SIZE),
        label=draw(CLASSES, count, *SIZE) if label else None,
        labelled=torch.ones(count, dtype=torch.bool) if label else None,
        frames=draw(256, count, 2, 3, *SIZE) if frames else None,
        camera=camera if frames else None,
    )


def streams(clips: bool = False) -> dict[str, Batch]:
    found = {"labelled": batch(1, label=True), "unlabelled": batch(2)}
    return {**found, "clips": batch(3, frames=True)} if clips else found


def weighed(result: StepResult) -> Tensor:
    return torch.stack([t.weight * t.sum / t.count.clamp(min=1) for t in result.terms.values()]).sum()


class Counted:
    """How often modules ran, in which mode they and the gradient were, and on how many images."""

    def __init__(self, **modules: nn.Module) -> None:
        self.calls: dict[str, list[tuple[bool, bool, int]]] = {name: [] for name in modules}
        for name, module in modules.items():
            module.register_forward_hook(self._note(name))

    def _note(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = inputs[0] if isinstance(inputs[0], Tensor) else inputs[0][0]
            self.calls[name].append((module.training, torch.is_grad_enabled(), len(first)))

        return note


class TestTeacher:
    @pytest.mark.parametrize("teacher", ["ema", "self"])
    def test_it_is_in_eval_mode_takes_no_gradient_and_moves_no_statistics(self, teacher: str) -> None:
        step = plain(unlabelled={"teacher": teacher}).train()
        network = step.ema.network if teacher == "ema" else step.network
        assert isinstance(network, Network)
        buffers = {name: tensor.clone() for name, tensor in network.named_buffers()}
        counted = Counted(encoder=network.encoder, head=network.heads["segmentation"])
        step._taught(batch(2))
        assert counted.calls == {"encoder": [(False, False, 2)], "head": [(False, False, 2)]}
        assert all(torch.equal(tensor, buffers[name]) for name, tensor in network.named_buffers())
        assert step.network.training
        assert all(module.training for module in step.network.modules()), "the student trains on"

    def test_no_gradient_reaches_it(self) -> None:
        step = plain().train()
        weighed(step(streams())).backward()
        for name, parameter in step.named_parameters():
            assert (parameter.grad is None) == name.startswith("ema."), name

    def test_a_network_that_teaches_itself_learns_from_its_answer_to_the_strong_view_alone(self) -> None:
        """Where teacher and student see the same picture in the same mode, the gradient of a soft target is 0."""
        unlabelled = {
            "teacher": "self",
            "target": {"name": "soft", "temperature": 1.0},
            "mixing": {"name": "none"},
            "strong": {"name": "none"},
            "weighting": {"name": "none"},
        }
        config = validate(SemiSupervised, {"name": "semi", "unlabelled": unlabelled})
        step = config.build(Pointwise(CLASSES), torch.full((CLASSES,), 100), steps=10)
        term = step(streams()).terms["consistency"]
        (term.sum / term.count).backward()
        assert term.sum.item() == pytest.approx(0, abs=1e-3)
        assert all(p.grad is not None and p.grad.abs().max() < 1e-6 for p in step.network.parameters())

    def test_frozen_norms_stay_as_they_are_after_its_pass(self) -> None:
        step = plain(network={"norm": "frozen"}, unlabelled={"teacher": "self"}).train()
        modes = [module.training for module in step.network.modules()]
        assert len(set(modes)) == 2
        step._taught(batch(2))
        assert [module.training for module in step.network.modules()] == modes

    def test_it_begins_as_the_network_and_follows_it(self) -> None:
        step = plain(ema_decay=0.9).train()
        own, averaged = step.network.state_dict(), step.ema.network.state_dict()
        assert all(torch.equal(own[name], averaged[name]) for name in own)
        with torch.no_grad():
            step.network.heads["segmentation"][1].bias += 1.0
        before = step.ema.network.heads["segmentation"][1].bias.clone()
        step.after_step(999)
        torch.testing.assert_close(step.ema.network.heads["segmentation"][1].bias, before + 0.1)

    def test_its_answers_come_from_the_clean_images(self) -> None:
        step, seen = plain(), []
        step.ema.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        step.train()(streams())
        (image,) = seen
        assert torch.equal(image, batch(2).image / 255)

    def test_of_a_joint_teacher_disparity_is_asked_for_only_where_depthmix_needs_it(self) -> None:
        clean = batch(2)
        disparity = torch.rand(2, 1, *SIZE)
        for mixing, known, expected in (
            ("classmix", None, False),
            ("depthmix", None, True),
            ("depthmix", disparity, False),
        ):
            step = joint(unlabelled={"mixing": {"name": mixing}})
            logits, found = step._taught(replace(clean, disparity=known))
            assert (found is not None) == expected, (mixing, known)
            assert logits.shape[:2] == (2, CLASSES)


class TestPasses:
    """How often each network runs in one step: nothing is computed that no loss and no mask reads."""

    def test_plain(self) -> None:
        step = plain().train()
        counted = Counted(student=step.network.encoder, teacher=step.ema.network.encoder)
        step(streams())
        assert counted.calls == {"student": [(True, True, 2)] * 2, "teacher": [(False, False, 2)]}

    def test_two_views_are_one_pass_of_twice_the_images(self) -> None:
        step = plain(unlabelled={"views": 2, "complementary_dropout": True}).train()
        counted = Counted(student=step.network.encoder, teacher=step.ema.network.encoder)
        step(streams())
        assert counted.calls == {"student": [(True, True, 2), (True, True, 4)], "teacher": [(False, False, 2)]}

    def test_joint_with_clips(self) -> None:
        """Student: labelled, mixed, clips. Teacher: once, with disparity for DepthMix. Pose: one call of both pairs."""
        step = joint(unlabelled={"mixing": {"name": "depthmix"}}).train()
        student, teacher = step.network, step.ema.network
        assert isinstance(student, JointNetwork)
        assert isinstance(teacher, JointNetwork)
        assert step.video is not None
        counted = Counted(
            student=student.encoder,
            final=student.heads["segmentation"],
            side=student.heads["intermediate"],
            disparity=student.heads["disparity"].scales["2"],
            teacher=teacher.encoder,
            teacher_final=teacher.heads["segmentation"],
            teacher_side=teacher.heads["intermediate"],
            teacher_disparity=teacher.heads["disparity"].scales["2"],
            pose=step.video.pose.decoder,
        )
        weighed(step(streams(clips=True))).backward()
        runs = {name: len(calls) for name, calls in counted.calls.items()}
        assert runs == {
            "student": 3,
            "final": 2,
            "side": 1,
            "disparity": 1,
            "teacher": 1,
            "teacher_final": 1,
            "teacher_side": 0,
            "teacher_disparity": 1,
            "pose": 1,
        }
        assert counted.calls["pose"] == [(True, True, 4)]
        assert [images for *_, images in counted.calls["student"]] == [2, 2, 2]
        for name, parameter in step.named_parameters():
            assert (parameter.grad is None) == name.startswith("ema."), name

    @pytest.mark.parametrize("exchange", [True, False])
    def test_clips_leave_the_statistics_of_what_classifies_alone(self, exchange: bool) -> None:
        """They may come from another camera; the network is evaluated on images like the labelled ones."""
        network = {"norm": "batch", "distillation": exchange, "decoder": {**DECODER, "norms": True, "stride": 2}}
        with_clips, without = joint(network).train(), joint(network).train()
        first = {name: tensor.clone() for name, tensor in with_clips.network.state_dict().items()}
        with_clips(streams(clips=True))
        without(streams())
        after, expected = with_clips.network.state_dict(), without.network.state_dict()
        moved = {name for name in after if not torch.equal(after[name], first[name])}
        by_clips = {name for name in after if not torch.equal(after[name], expected[name])}
        finer = {name for name in moved if name.startswith("decoders.depth.blocks.1.")}
        assert any(name.startswith("encoder.") for name in moved)
        assert finer, "what no other stream runs must go by the clips"
        whole = {name for name in moved if name.startswith("decoders.depth.")}
        assert by_clips == (finer if exchange else whole)

    def test_frames_of_images_teach_depth_along_with_their_classes(self) -> None:
        """One pass for the labelled images and all they teach; one more for the depth of the clean unlabelled ones."""
        step = joint().train()
        student = step.network
        assert isinstance(student, JointNetwork)
        assert step.video is not None
        counted = Counted(
            student=student.encoder, disparity=student.heads["disparity"].scales["2"], pose=step.video.pose.decoder
        )
        clips = {"labelled": batch(1, label=True, frames=True), "unlabelled": batch(2, frames=True)}
        result = step(clips)
        assert {name: len(calls) for name, calls in counted.calls.items()} == {"student": 3, "disparity": 2, "pose": 2}
        assert set(result.terms) == {
            "segmentation",
            "intermediate",
            "consistency",
            "photometric_labelled",
            "smoothness_labelled",
            "photometric_unlabelled",
            "smoothness_unlabelled",
        }


class TestLabelled:
    def test_it_is_the_cross_entropy_of_the_labels(self) -> None:
        step, data = plain(**STILL).eval(), streams()
        label = data["labelled"].label
        assert label is not None
        label[:, :9] = IGNORE
        term = step(data).terms["segmentation"]
        logits = upsample(step.network(data["labelled"].image / 255)["segmentation"], SIZE).double()
        picked = logits.log_softmax(1).gather(1, label.clamp(max=CLASSES - 1).long()[:, None])[:, 0]
        assert term.sum.item() == pytest.approx(-picked[label != IGNORE].sum().item(), rel=1e-5)
        assert term.count.item() == (label != IGNORE).sum()
        assert term.weight == 1

    @pytest.mark.parametrize(("intermediate", "weights"), [(1.0, (0.5, 0.5)), (0.25, (0.8, 0.2))])
    def test_the_side_output_is_averaged_with_the_final_one(
        self, intermediate: float, weights: tuple[float, float]
    ) -> None:
        step, data = joint(intermediate=intermediate, **STILL).eval(), streams(clips=True)
        terms = step(data).terms
        assert (terms["segmentation"].weight, terms["intermediate"].weight) == pytest.approx(weights)
        found = step.network(data["labelled"].image / 255, ("segmentation", "intermediate"))
        for name in ("segmentation", "intermediate"):
            assert data["labelled"].label is not None
            expected, _ = cross_entropy(upsample(found[name], SIZE), data["labelled"].label)
            assert terms[name].sum.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_without_a_side_output_the_final_one_counts_whole(self) -> None:
        terms = joint(network={"intermediate": False})(streams(clips=True)).terms
        assert terms["segmentation"].weight == 1
        assert "intermediate" not in terms

    def test_the_colours_are_drawn_by_the_keys_of_the_samples(self) -> None:
        step = plain(colour={"probability": 1.0}).eval()
        first, again = (step(streams()).terms["segmentation"].sum.item() for _ in range(2))
        other = {**streams(), "labelled": replace(streams()["labelled"], keys=(8, 9))}
        assert first == again
        assert step(other).terms["segmentation"].sum.item() != first


class TestAnnealing:
    def test_the_threshold_follows_the_steps_done(self) -> None:
        step, data = plain(steps=4, annealing={"schedule": "linear"}, balance=0.5, **STILL).eval(), streams()
        step.weight.copy_(torch.tensor([1.0, 2.0, 0.5, 0.25]))
        with torch.no_grad():
            step.network.heads["segmentation"][1].weight *= 40  # so that some pixels are known well, others badly
        logits = upsample(step.network(data["labelled"].image / 255)["segmentation"], SIZE)
        found, expected = [], []
        for done in range(4):
            assert data["labelled"].label is not None
            eta = done / 4 * 0.75 + 0.25
            p = logits.double().softmax(1).gather(1, data["labelled"].label.long()[:, None])[:, 0]
            keep = p <= eta
            weight = step.weight[data["labelled"].label.long()]
            expected.append((-(p.log() * weight)[keep].sum().item(), keep.sum().item()))
            term = step(data).terms["segmentation"]
            found.append((term.sum.item(), term.count.item()))
            step.after_step(done)
        assert found == [pytest.approx(one, rel=1e-3) for one in expected]
        counts = [count for _, count in found]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]

    def test_a_resumed_run_goes_on_from_the_steps_done(self) -> None:
        step, again = (plain(annealing={"schedule": "exp"}) for _ in range(2))
        for number in range(3):
            step.after_step(number)
        assert (step.done, again.done) == (3, 0)
        file = io.BytesIO()
        torch.save(step.state_dict(), file)
        file.seek(0)
        again.load_state_dict(torch.load(file, weights_only=True))
        assert again.done == 3

    def test_class_weights_are_used_in_annealing_too(self) -> None:
        logits, label = torch.zeros(1, 2, 1, 3), torch.tensor([[[0, 1, IGNORE]]], dtype=torch.uint8)
        total, count = annealed_cross_entropy(logits, label, 0.9, torch.tensor([2.0, 3.0]))
        assert (total.item(), count.item()) == pytest.approx((5 * 0.6931472, 2))


class TestMining:
    def test_the_hardest_labelled_pixels_count(self) -> None:
        """The loss of the labelled images is that of mining their logits, the share of hard pixels included."""
        step, data = plain(ohem={"threshold": 0.01, "min_kept": 0.25}, **STILL).eval(), streams()
        batch = data["labelled"]
        assert batch.label is not None
        term = step(data).terms["segmentation"]
        with torch.no_grad():
            logits = upsample(step.network(to_unit(batch))["segmentation"], SIZE)
        losses = F.cross_entropy(logits, batch.label.long(), ignore_index=IGNORE, reduction="none")
        hardest = losses.flatten().sort(descending=True).values[: batch.label.numel() // 4]
        assert term.count == len(hardest)
        assert term.sum.item() == pytest.approx(hardest.sum().item(), rel=1e-5)

    @pytest.mark.parametrize("other", [{"balance": 0.5}, {"annealing": {}}])
    def test_nothing_else_chooses_or_weighs_pixels_beside_it(self, other: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=r"ohem keeps the hardest.*balance to 0"):
            plain(ohem={}, **other)


class TestBalance:
    BARE: ClassVar = {"mixing": {"name": "none"}, "strong": {"name": "none"}, "weighting": {"name": "none"}}

    @pytest.mark.parametrize("balanced", [True, False])
    def test_pseudo_labels_are_freed_of_the_weights_and_learned_with_them(self, balanced: bool) -> None:
        settings = {"balance": 0.5, "unlabelled": {**self.BARE, "teacher": "self", "balanced": balanced}}
        pixels = torch.tensor([9000, 900, 90, 10])
        step = validate(SemiSupervised, {"name": "semi", **settings}).build(Pointwise(CLASSES), pixels, steps=10)
        data = streams()
        term = step(data).terms["consistency"]
        weight = step.weight if balanced else torch.ones(CLASSES)
        assert step.weight.max() / step.weight.min() > 20
        with torch.no_grad():
            logits = step.network(to_unit(data["unlabelled"]))["segmentation"]
            answer = (logits.softmax(1) / weight.view(1, -1, 1, 1)).argmax(1)
            losses = F.cross_entropy(logits, answer, reduction="none") * weight[answer]
        assert len(answer.unique()) > 1
        assert term.sum.item() == pytest.approx(losses.sum().item(), rel=1e-4)

    def test_it_needs_weights(self) -> None:
        with pytest.raises(ConfigError, match=r"balanced has no weights to go by: give learner.balance"):
            plain(unlabelled={"balanced": True})


class TestCounts:
    @pytest.mark.parametrize("over", ["all", "valid"])
    def test_what_is_known_before_is_what_is_found(self, over: str) -> None:
        step, data = plain(unlabelled={"over": over, "views": 2}), streams()
        assert data["labelled"].label is not None
        data["labelled"].label[:, :20] = IGNORE
        known, found = step.counts(data), step(data).terms
        assert set(known) == {"segmentation", "consistency"} - ({"consistency"} if over == "valid" else set())
        assert all(known[name] == found[name].count for name in known)
        assert known["segmentation"] == 2 * 12 * 48

    def test_of_a_joint_network(self) -> None:
        step, data = joint(unlabelled={"over": "all"}), streams(clips=True)
        known, found = step.counts(data), step(data).terms
        assert set(known) == {"segmentation", "intermediate", "consistency"}
        assert all(known[name] == found[name].count for name in known)

    @pytest.mark.parametrize("choosing", ["annealing", "ohem"])
    def test_annealing_and_mining_choose_later(self, choosing: str) -> None:
        assert plain(**{choosing: {}}, unlabelled={"over": "valid"}).counts(streams()) == {}


class TestVideo:
    def pair(self) -> tuple[SemiLearner, DepthLearner]:
        """A joint learner and a depth learner with the same encoder, depth decoder, heads and pose network."""
        step = joint(network={"distillation": False}, **STILL)
        config = validate(SelfSupervisedDepth, {"pose": {"encoder": ENCODER}, "colour": {"probability": 0}})
        depth = config.build(validate(DepthNetworkConfig, {"encoder": ENCODER, "decoder": DECODER}).build())
        assert isinstance(step.network, JointNetwork)
        assert step.video is not None
        for own, other in (
            (depth.network.encoder, step.network.encoder),
            (depth.network.decoder, step.network.decoders["depth"]),
            (depth.network.heads["disparity"], step.network.heads["disparity"]),
            (depth.pose, step.video.pose),
        ):
            own.load_state_dict(other.state_dict())
        return step.eval(), depth.eval()

    def test_photometric_terms_are_those_of_the_depth_learner_with_the_same_weights(self) -> None:
        step, depth = self.pair()
        clips = streams(clips=True)
        torch.manual_seed(5)  # the tie breaker of the automask is random
        expected = depth(clips).terms
        torch.manual_seed(5)
        found = step(clips).terms
        for name in ("photometric", "smoothness"):
            assert expected[name].sum != 0
            torch.testing.assert_close(found[f"{name}_clips"].sum, expected[name].sum)
            assert found[f"{name}_clips"].count == expected[name].count
            assert found[f"{name}_clips"].weight == expected[name].weight

    def test_their_weight_multiplies_both(self) -> None:
        base, double = (joint(video={**VIDEO, "weight": w})(streams(clips=True)).terms for w in (1.0, 2.0))
        for name in ("photometric_clips", "smoothness_clips"):
            assert double[name].weight == 2 * base[name].weight > 0

    def test_the_pose_network_has_a_rate_of_its_own(self) -> None:
        step = joint(video={**VIDEO, "pose_lr": 0.01})
        names = {id(p): name for name, p in step.named_parameters()}
        rates = {names[id(p)]: group["lr_scale"] for group in step.parameter_groups(0.1) for p in group["params"]}
        assert rates["video.pose.motion.weight"] == 0.01
        encoders = {name: rate for name, rate in rates.items() if ".encoder." in name}
        assert {round(rate, 9) for name, rate in encoders.items() if name.startswith("video.")} == {0.001}
        assert {rate for name, rate in encoders.items() if name.startswith("network.")} == {0.1}
        assert rates["network.heads.segmentation.1.weight"] == 1.0
        assert len(rates) == sum(p.requires_grad for p in step.parameters())

    def test_so_has_the_depth_decoder(self) -> None:
        step = joint(video={**VIDEO, "depth_lr": 0.25})
        names = {id(p): name for name, p in step.network.named_parameters()}
        groups = [
            (group["lr_scale"], names.get(id(p), "")) for group in step.parameter_groups(0.1) for p in group["params"]
        ]
        slow = {name for rate, name in groups if rate == 0.25}
        assert slow == {name for name in names.values() if name.startswith(("decoders.depth.", "heads.disparity."))}
        assert slow


def test_complementary_dropout_is_between_the_encoder_and_the_decoder() -> None:
    """The decoder sees, of a pair of views, channels of one or the other; together twice what the encoder gave."""
    step = plain(unlabelled={"views": 2, "complementary_dropout": True}).train()
    assert isinstance(step.network, Network)
    given, seen = [], []
    step.network.encoder.register_forward_hook(lambda *call: given.append(call[2]))
    step.network.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    step(streams())
    (_, whole), (labelled, halved) = given, seen
    assert all(torch.equal(a, b) for a, b in zip(given[0], labelled, strict=True)), "labelled images are left alone"
    for before, after in zip(whole[1:], halved[1:], strict=True):
        factor = (after / before).nan_to_num(0.0).amax((2, 3))
        assert set(factor.round(decimals=3).unique().tolist()) <= {0.0, 1.0, 2.0}
    changed = [not torch.equal(a, b) for a, b in zip(whole, halved, strict=True)]
    assert not changed[0]


def test_confidence_is_logged() -> None:
    logs = plain()(streams()).logs
    assert 1 / CLASSES <= logs["confidence"] <= 1
