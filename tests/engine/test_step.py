"""The training step: how often networks run, what terms are called, whose statistics move, what is trained and
saved."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fathomseg.engine.step import Step
from fathomseg.errors import FathomError
from fathomseg.models.network import SHARED
from fathomseg.objectives.photometric import PhotometricObjective
from fathomseg.types import Batch
from tests.objectives.steps import (
    DEPTH,
    JOINT,
    PLAIN,
    POSE,
    TOGETHER,
    UNET,
    Counted,
    make_batch,
    make_step,
    weighed,
)


def plain(**pseudo_labels: Any) -> Step:
    return make_step(PLAIN, {"supervised": {}, "pseudo_labels": pseudo_labels})


def joint(network: Mapping[str, Any] = JOINT, **objectives: Any) -> Step:
    return make_step(network, {**TOGETHER, **objectives})


def streams(clips: bool = False) -> dict[str, Batch]:
    found = {"labelled": make_batch(1, "label"), "unlabelled": make_batch(2)}
    return {**found, "clips": make_batch(3, "frames")} if clips else found


def pose_of(step: Step) -> torch.nn.Module:
    objective = step.objectives["photometric"]
    assert isinstance(objective, PhotometricObjective)
    return objective.pose


class TestPasses:
    """How often each network runs in one step: nothing is computed that no loss and no mask reads."""

    def test_plain(self) -> None:
        step = plain().train()
        counted = Counted(student=step.network.encoders[SHARED], teacher=step.ema.network.encoders[SHARED])
        step(streams())
        assert counted.calls == {"student": [(True, True, 2)] * 2, "teacher": [(False, False, 2)]}

    def test_two_views_are_one_pass_of_twice_the_images(self) -> None:
        step = plain(views=2, complementary_dropout=True).train()
        counted = Counted(student=step.network.encoders[SHARED], teacher=step.ema.network.encoders[SHARED])
        step(streams())
        assert counted.calls == {"student": [(True, True, 2), (True, True, 4)], "teacher": [(False, False, 2)]}

    def test_joint_with_clips(self) -> None:
        """Student: labelled, mixed, clips. Teacher: once, with disparity for DepthMix. Pose: one call of both pairs."""
        step = joint(pseudo_labels={"mixing": {"name": "depthmix"}}).train()
        student, teacher = step.network, step.ema.network
        counted = Counted(
            student=student.encoders[SHARED],
            final=student.heads["segmentation"],
            early=student.early_heads["segmentation"],
            depth=student.heads["depth"],
            teacher=teacher.encoders[SHARED],
            teacher_final=teacher.heads["segmentation"],
            teacher_early=teacher.early_heads["segmentation"],
            teacher_depth=teacher.heads["depth"],
            pose=pose_of(step),
        )
        weighed(step(streams(clips=True))).backward()
        assert {name: len(calls) for name, calls in counted.calls.items()} == {
            "student": 3,
            "final": 2,
            "early": 1,
            "depth": 1,
            "teacher": 1,
            "teacher_final": 1,
            "teacher_early": 0,
            "teacher_depth": 1,
            "pose": 1,
        }
        assert counted.calls["pose"] == [(True, True, 4)]
        for name, parameter in step.named_parameters():
            assert (parameter.grad is None) == name.startswith("ema."), name

    def test_objectives_of_a_stream_share_its_base_view(self) -> None:
        """Labels, frames, true depths and the features of the labelled images: one pass with the union of outputs."""
        step = make_step(
            JOINT,
            {
                "supervised": {"losses": {"segmentation": {}, "depth": {}}},
                "photometric": {"pose": POSE, "stream": "labelled"},
                "feature_distance": {"stream": "labelled"},
            },
        ).train()
        network = step.network
        counted = Counted(
            encoder=network.encoders[SHARED], depth=network.heads["depth"], classes=network.heads["segmentation"]
        )
        result = step({"labelled": make_batch(1, "label", "depth", "frames")})
        assert all(calls == [(True, True, 2)] for calls in counted.calls.values())
        assert set(result.terms) == {
            "supervised.segmentation",
            "supervised.early_segmentation",
            "supervised.depth",
            "photometric",
            "photometric.smoothness",
            "feature_distance",
        }


class TestNames:
    def test_of_the_terms(self) -> None:
        result = joint()(streams(clips=True))
        assert list(result.terms) == [
            "supervised.segmentation",
            "supervised.early_segmentation",
            "pseudo_labels",
            "photometric",
            "photometric.smoothness",
        ]
        assert set(result.logs) == {"pseudo_labels.confidence", "photometric.automasked"}

    def test_an_objective_of_several_streams_has_terms_for_each(self) -> None:
        """Frames of labelled and of unlabelled images teach depth along: passes 2 + 1 (mixed), pose 2."""
        step = joint(photometric={"pose": POSE, "stream": ["labelled", "unlabelled"]}).train()
        counted = Counted(student=step.network.encoders[SHARED], depth=step.network.heads["depth"], pose=pose_of(step))
        result = step({"labelled": make_batch(1, "label", "frames"), "unlabelled": make_batch(2, "frames")})
        assert {name: len(calls) for name, calls in counted.calls.items()} == {"student": 3, "depth": 2, "pose": 2}
        assert set(result.terms) == {
            "supervised.segmentation",
            "supervised.early_segmentation",
            "pseudo_labels",
            "photometric@labelled",
            "photometric@labelled.smoothness",
            "photometric@unlabelled",
            "photometric@unlabelled.smoothness",
        }
        assert "photometric@labelled.automasked" in result.logs

    def test_two_objectives_of_a_kind(self) -> None:
        both = {"supervised": {}, "more": {"name": "supervised", "stream": "others", "weight": 0.5}}
        step = make_step(PLAIN, both)
        data = {"labelled": make_batch(1, "label"), "others": make_batch(2, "label")}
        terms = step(data).terms
        assert {name: term.weight for name, term in terms.items()} == {
            "supervised.segmentation": 1.0,
            "more.segmentation": 0.5,
        }
        assert step.counts(data).keys() == terms.keys()


class TestCounts:
    @pytest.mark.parametrize("normalize_by", ["all", "valid"])
    def test_what_is_known_before_is_what_is_found(self, normalize_by: str) -> None:
        step, data = plain(normalize_by=normalize_by, views=2), streams()
        known, found = step.counts(data), step(data).terms
        expected = {"supervised.segmentation", *(["pseudo_labels"] if normalize_by == "all" else [])}
        assert set(known) == expected
        assert all(known[name] == found[name].count for name in known)

    def test_of_a_joint_network(self) -> None:
        step, data = joint(pseudo_labels={"normalize_by": "all"}), streams(clips=True)
        known, found = step.counts(data), step(data).terms
        assert set(known) == {"supervised.segmentation", "supervised.early_segmentation", "pseudo_labels"}
        assert all(known[name] == found[name].count for name in known)

    def test_they_have_the_same_names_whatever_is_in_a_batch(self) -> None:
        """Ranks and micro-batches add up what has the same name."""
        step = make_step(JOINT, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}})
        batches = [make_batch(1, *kinds) for kinds in (["label", "depth"], ["label"], ["depth"], [])]
        each = [step.counts({"labelled": batch}) for batch in batches]
        assert len({tuple(counts) for counts in each}) == 1
        assert [counts["supervised.segmentation"].item() for counts in each] == [2 * 32 * 48, 2 * 32 * 48, 0, 0]
        assert [counts["supervised.depth"].item() for counts in each] == [2 * 32 * 48, 0, 2 * 32 * 48, 0]

    def test_with_them_micro_batches_give_the_gradient_of_the_whole_batch(self) -> None:
        """Labels and depths are spread unevenly: one half has a few pixels of one, the other of the other."""
        network = {
            **JOINT,
            "norm": "frozen",
            "tasks": {"segmentation": {"decoder": UNET, "dropout": 0}, "depth": {"decoder": UNET}},
        }
        step = make_step(network, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}).train()
        whole = make_batch(1, "label", "depth", count=4, rows={"label": [0, 1, 2], "depth": [2]})
        whole.targets["label"][1, 5:] = 255
        halves = [whole.take([0, 1]), whole.take([2, 3])]
        counts = [step.counts({"labelled": half}) for half in halves]
        totals = {name: counts[0][name] + counts[1][name] for name in counts[0]}

        def gradient(batches: list[Batch]) -> Tensor:
            step.zero_grad()
            for batch in batches:
                for name, term in step({"labelled": batch}).terms.items():
                    (term.weight * term.sum / totals[name]).backward(retain_graph=True)
            return torch.cat([p.grad.flatten() for p in step.network.parameters() if p.grad is not None])

        one, two = gradient([whole]), gradient(halves)
        assert one.abs().max() > 0
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6 * one.abs().max().item())


class TestHeldStatistics:
    NETWORK = {  # noqa: RUF012
        **JOINT,
        "tasks": {
            "segmentation": {"decoder": {**UNET, "norms": True, "stride": 2}},
            "depth": {"decoder": {**UNET, "norms": True, "stride": 2}},
        },
    }

    @pytest.mark.parametrize("exchange", [True, False])
    def test_foreign_clips_leave_the_statistics_of_what_classifies_alone(self, exchange: bool) -> None:
        """They may come from another camera; the network is used on images like the labelled ones."""
        network = self.NETWORK if exchange else {**self.NETWORK, "links": {"name": "none"}}
        held = {"clips": ["segmentation", *(["early_segmentation"] if exchange else [])]}
        with_clips = make_step(network, TOGETHER, held_for=held).train()
        without = make_step(network, TOGETHER, held_for=held).train()
        first = {name: tensor.clone() for name, tensor in with_clips.network.state_dict().items()}
        with_clips(streams(clips=True))
        without(streams())
        after, expected = with_clips.network.state_dict(), without.network.state_dict()
        moved = {name for name in after if not torch.equal(after[name], first[name])}
        by_clips = {name for name in after if not torch.equal(after[name], expected[name])}
        finer = {name for name in moved if name.startswith("decoders.depth.blocks.1.")}
        assert any(name.startswith("encoders.") for name in moved)
        assert finer, "what no other stream runs must go by the clips"
        whole = {name for name in moved if name.startswith("decoders.depth.")}
        assert by_clips == (finer if exchange else whole)

    def two_domains(self, **settings: Any) -> Step:
        network = {**PLAIN, "tasks": {"segmentation": {"decoder": {**UNET, "norms": True, "stride": 2}}}}
        both = {"supervised": {"stream": ["source", "labelled"]}}
        held = {"source": ["segmentation"]}
        return make_step(network, both, held_for=held, **settings).train()

    @pytest.mark.parametrize("own", [False, True])
    def test_those_of_the_target_are_unchanged_by_a_source(self, own: bool) -> None:
        settings = {"own_norms": {"source": ["segmentation"]}} if own else {}
        step, alone = self.two_domains(**settings), self.two_domains(**settings)
        batches = {"source": make_batch(7, "label"), "labelled": make_batch(1, "label")}
        step(batches)
        alone({"labelled": batches["labelled"]})
        target, expected = step.network.state_dict(), alone.network.state_dict()
        assert any("running_mean" in name for name in target)
        for name in target:
            assert torch.equal(target[name], expected[name]), name

    def test_a_source_may_have_a_scale_and_shift_of_its_own(self) -> None:
        step = self.two_domains(own_norms={"source": ["segmentation"]})
        source, target = {"source": make_batch(7, "label")}, {"labelled": make_batch(1, "label")}
        norms = {name for name, m in step.network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
        weighed(step(source)).backward()
        touched = {name for name, p in step.network.named_parameters() if p.grad is not None}
        assert norms
        assert touched
        assert not {name for name in touched if name.rpartition(".")[0] in norms}
        assert all(p.grad is not None for p in step.own_norms.parameters())
        step.zero_grad()
        weighed(step(target)).backward()
        assert all(p.grad is None for p in step.own_norms.parameters())
        assert step.network.encoders[SHARED].net.bn1.weight.grad is not None  # type: ignore[union-attr, operator]
        groups = step.parameter_groups(encoder_lr=0.1, factors={})
        scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
        assert {scale[id(p)] for p in step.own_norms.parameters()} == {0.1, 1.0}, "as those they stand for"
        frozen = step.parameter_groups(encoder_lr=0.1, factors={"encoder": 0, "segmentation": 0})
        assert frozen == []

    def test_only_norms_that_run_for_a_stream_have_others_of_its_own(self) -> None:
        """Several processes wait for the gradient of every parameter."""
        network = {**self.NETWORK, "links": {"name": "none"}}
        objectives = {"supervised": {"stream": "source"}, "pseudo_labels": {}, "photometric": {"pose": POSE}}
        step = make_step(network, objectives, held_for=self.HELD, own_norms={"source": ["segmentation"]}).train()
        own = self.own(step)
        assert any(name.startswith("encoders.") for name in own)
        assert any(name.startswith("decoders.segmentation.") for name in own)
        assert not any(name.startswith("decoders.depth.") for name in own)
        weighed(step({"source": make_batch(7, "label")})).backward()
        assert all(p.grad is not None for p in step.own_norms.parameters())

    def test_what_is_frozen_has_no_others_and_its_statistics_stay(self) -> None:
        branch = {"decoder": {**UNET, "norms": True}, "encoder": "own"}
        network = {**self.NETWORK, "tasks": {"segmentation": branch, "depth": {**branch, "frozen": True}}}
        network |= {"links": {"name": "zero_conv", "direction": "depth_to_segmentation"}}
        both = {"supervised": {"stream": ["source", "labelled"]}}
        held = {"source": ["segmentation"]}
        step = make_step(network, both, held_for=held, own_norms=held).train()
        own, before = self.own(step), {name: b.clone() for name, b in step.network.named_buffers()}
        assert any(name.startswith("encoders.segmentation.") for name in own)
        assert not any(name.startswith("encoders.depth.") for name in own)
        weighed(step({"source": make_batch(7, "label")})).backward()
        assert all(torch.equal(b, before[name]) for name, b in step.network.named_buffers())
        step({"labelled": make_batch(1, "label")})
        moved = {name.split(".")[1] for name, b in step.network.named_buffers() if not torch.equal(b, before[name])}
        assert moved == {"segmentation"}

    HELD: ClassVar = {"source": ["segmentation", "depth"]}

    @staticmethod
    def own(step: Step) -> set[str]:
        """The norms of the network that its one stream has others for."""
        (places,) = step.own_places.values()
        return set(places)

    def test_they_serve_the_norms_that_several_gpus_have(self) -> None:
        """Those take the place of the ones the step was built with."""
        step = self.two_domains(own_norms={"source": ["segmentation"]})
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(step)
        weighed(step({"source": make_batch(7, "label")})).backward()
        assert all(p.grad is not None for p in step.own_norms.parameters())

    def test_images_that_run_anyway_move_the_statistics_once(self) -> None:
        """Depth is learned from the images as they are, beside pseudo-labels of mixed ones."""
        depth = {"name": "supervised", "stream": "unlabelled", "losses": {"depth": {}}}
        objectives = {"supervised": {"stream": "source"}, "pseudo_labels": {"partner": "source"}, "depth": depth}
        network = {**self.NETWORK, "links": {"name": "none"}}
        step = make_step(network, objectives, held_for=self.HELD).train()
        step({"source": make_batch(7, "label"), "unlabelled": make_batch(2, "depth")})
        counts = {n: int(b) for n, b in step.network.named_buffers() if n.endswith("num_batches_tracked")}
        assert set(counts.values()) == {1}, counts

    def test_what_outputs_of_others_alone_run_for_has_the_networks(self) -> None:
        """A stream that trains depth shares the encoder with those that train classes."""
        network = {**self.NETWORK, "links": {"name": "none"}}
        objectives = {"supervised": {}, "photometric": {"pose": POSE}}
        held = {"clips": ["segmentation"]}
        step = make_step(network, objectives, held_for=held, own_norms={"clips": ["depth"]})
        assert {name.split(".")[0] for name in self.own(step)} == {"encoders"}

    def test_those_that_nothing_goes_through_have_a_zero_gradient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Links reach some norms of the encoder they come from, once they begin."""
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        branch = {"decoder": {**UNET, "norms": True}, "encoder": "own"}
        network = {**self.NETWORK, "tasks": {"segmentation": branch, "depth": branch}}
        network |= {"links": {"name": "plain", "start_step": 1}}
        objectives = {"supervised": {"stream": "source"}, "pseudo_labels": {}, "photometric": {"pose": POSE}}
        step = make_step(network, objectives, held_for=self.HELD, own_norms={"source": ["segmentation"]}).train()
        assert any(name.startswith("encoders.depth.") for name in self.own(step))
        for number in range(2):
            step.zero_grad()
            step.begin_step(number)
            weighed(step({"source": make_batch(7, "label")})).backward()
            gradients = [p.grad for p in step.own_norms.parameters()]
            assert all(gradient is not None for gradient in gradients), number

    def test_clips_of_the_same_data_move_them(self) -> None:
        step = make_step(self.NETWORK, TOGETHER).train()
        name = "network.encoders.shared.net.bn1.num_batches_tracked"
        step(streams(clips=True))
        assert step.state_dict()[name] == 3, "labelled, mixed, clips"


class TestParameterGroups:
    def rates(self, step: Step, **factors: float) -> dict[str, float]:
        names = {id(p): name for name, p in step.named_parameters()}
        groups = step.parameter_groups(0.1, factors)
        return {names[id(p)]: round(group["lr_scale"], 9) for group in groups for p in group["params"]}

    def test_the_encoder_and_vectors_have_groups_of_their_own(self) -> None:
        step = plain()
        names = {id(p): name for name, p in step.named_parameters()}
        groups = {
            (group["lr_scale"], group["decays"]): {names[id(p)] for p in group["params"]}
            for group in step.parameter_groups(0.1, {})
        }
        assert "network.heads.segmentation.1.weight" in groups[1.0, True]
        assert "network.heads.segmentation.1.bias" in groups[1.0, False]
        assert "network.encoders.shared.net.conv1.0.weight" in groups[0.1, True]
        assert "network.encoders.shared.net.bn1.weight" in groups[0.1, False]

    def test_every_trained_parameter_is_in_one(self) -> None:
        step = joint()
        grouped = [p for group in step.parameter_groups(0.1, {}) for p in group["params"]]
        assert len(grouped) == len({id(p) for p in grouped}) == sum(p.requires_grad for p in step.parameters())

    def test_factors_by_name(self) -> None:
        step = joint()
        found = self.rates(step, photometric=0.01, depth=0.25, links=0.5, encoder=2.0)

        def of(*prefixes: str) -> set[float]:
            return {rate for name, rate in found.items() if name.startswith(prefixes)}

        assert of("network.encoders.") == {0.2}
        assert of("network.decoders.depth.", "network.heads.depth.") == {0.25}
        assert of("network.links.") == {0.5}
        assert of("network.decoders.segmentation.", "network.heads.segmentation.", "network.early_heads.") == {1.0}
        assert of("objectives.photometric.") == {0.01}, "all of it, its encoder too"
        found = self.rates(step)
        assert of("objectives.photometric.pose.encoder.") == {0.1}
        assert of("objectives.photometric.pose.decoder.", "objectives.photometric.pose.motion.") == {1.0}
        assert len(found) == sum(p.requires_grad for p in step.parameters())

    def test_a_factor_of_0_freezes(self) -> None:
        step = joint().train()
        found = self.rates(step, depth=0.0, photometric=0.0)
        frozen = ("network.decoders.depth.", "network.heads.depth.", "objectives.photometric.")
        assert not any(name.startswith(frozen) for name in found)
        weighed(step(streams(clips=True))).backward()
        with_gradient = {name for name, p in step.named_parameters() if p.grad is not None}
        assert with_gradient == set(found)

    def test_a_name_that_is_none_is_told(self) -> None:
        with pytest.raises(
            FathomError, match=r"has 'pose', which .* there is: depth, encoder, links, photometric, pse"
        ):
            joint().parameter_groups(0.1, {"pose": 0.1})


class TestState:
    def test_it_comes_back_whole(self) -> None:
        """Student, average, pose network and the steps done, through a file that can hold no code."""
        step, other = joint(), joint()
        with torch.no_grad():
            for tensor in (*step.parameters(), *step.buffers()):
                tensor.add_(1)
        for number in range(3):
            step.after_step(number)
        file = io.BytesIO()
        torch.save(step.state_dict(), file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        other.load_state_dict(state)
        assert state.keys() == other.state_dict().keys()
        for name, tensor in other.state_dict().items():
            assert tensor == state[name] if not isinstance(tensor, Tensor) else torch.equal(tensor, state[name]), name
        parts = {".".join(name.split(".")[:2]) for name in state}
        assert parts >= {"network.encoders", "ema.network", "objectives.photometric", "objectives.supervised"}

    def test_two_steps_after_it_are_equal(self) -> None:
        first, second = joint().train(), joint().train()
        second.load_state_dict(first.state_dict())
        losses = []
        for step in (first, second):
            torch.manual_seed(3)
            losses.append(weighed(step(streams(clips=True))).item())
        assert losses[0] == losses[1]


class TestTogetherAndAlone:
    def test_photometric_terms_are_those_of_depth_alone_with_the_same_weights(self) -> None:
        both = joint({**JOINT, "links": {"name": "none"}})
        network = {**DEPTH, "tasks": {"depth": {"decoder": UNET}}}
        depth = make_step(network, {"photometric": {"pose": POSE}})
        state = both.state_dict()
        depth.load_state_dict({name: state[name] for name in depth.state_dict()})
        clips = streams(clips=True)
        found = []
        for step in (both.eval(), depth.eval()):
            torch.manual_seed(5)  # the tie breaker of the automask is random
            found.append(step(clips if step is both else {"clips": clips["clips"]}).terms)
        for name in ("photometric", "photometric.smoothness"):
            assert found[1][name].sum != 0
            torch.testing.assert_close(found[0][name].sum, found[1][name].sum)
            assert found[0][name].count == found[1][name].count
            assert found[0][name].weight == found[1][name].weight

    def test_the_weight_of_an_objective_multiplies_its_terms(self) -> None:
        base, double = (joint(photometric={"pose": POSE, "weight": w})(streams(clips=True)).terms for w in (1.0, 2.0))
        for name in ("photometric", "photometric.smoothness"):
            assert double[name].weight == 2 * base[name].weight > 0


def test_an_objective_counts_by_its_weight_whatever_its_terms_say() -> None:
    """Its own settings need not be looked at by one who writes an objective."""
    once, twice = (
        make_step(PLAIN, {"supervised": {"weight": weight}})({"labelled": make_batch(1, "label")}) for weight in (1, 2)
    )
    for name, term in once.terms.items():
        assert twice.terms[name].weight == 2 * term.weight
        torch.testing.assert_close(twice.terms[name].sum, term.sum)
