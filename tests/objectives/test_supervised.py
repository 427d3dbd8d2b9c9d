"""What is known of the images teaches: classes, true depths, depths another network gives; samples without it
nothing."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fathomseg.config import validate
from fathomseg.data.colour import ColourJitter
from fathomseg.engine.optimiser import Optimiser
from fathomseg.engine.step import Step
from fathomseg.errors import ConfigError
from fathomseg.losses.disparity import berhu
from fathomseg.losses.segmentation import cross_entropy, upsample
from fathomseg.objectives import Supervised
from fathomseg.objectives.base import to_unit
from fathomseg.objectives.supervised import SupervisedObjective
from fathomseg.types import IGNORE, Batch
from tests.objectives.steps import CLASSES, DEPTH, ENCODER, JOINT, PLAIN, SIZE, UNET, make_batch, make_step

LABELLED = "label"
COARSE_DEPTH = {"encoder": ENCODER, "tasks": {"depth": {"decoder": UNET, "scales": 1}}}


def classes(
    network: dict[str, Any] = PLAIN, steps: int = 10, pixels: tuple[int, ...] = (100,) * CLASSES, **loss: Any
) -> Step:
    return make_step(network, {"supervised": {"losses": {"segmentation": loss}}}, steps=steps, pixels=pixels)


def depth(network: dict[str, Any] = COARSE_DEPTH, **loss: Any) -> Step:
    return make_step(network, {"supervised": {"losses": {"depth": loss}}})


def batch(kind: str = LABELLED) -> dict[str, Batch]:
    return {"labelled": make_batch(1, kind)}


def objective(step: Step) -> SupervisedObjective:
    found = step.objectives["supervised"]
    assert isinstance(found, SupervisedObjective)
    return found


class TestClasses:
    def test_it_is_the_cross_entropy_of_the_labels(self) -> None:
        step, data = classes().eval(), batch()
        label = data["labelled"].targets["label"]
        label[:, :9] = IGNORE
        term = step(data).terms["supervised.segmentation"]
        logits = upsample(step.network(data["labelled"].image / 255)["segmentation"], SIZE).double()
        picked = logits.log_softmax(1).gather(1, label.clamp(max=CLASSES - 1).long()[:, None])[:, 0]
        assert term.sum.item() == pytest.approx(-picked[label != IGNORE].sum().item(), rel=1e-5)
        assert term.count.item() == (label != IGNORE).sum()
        assert term.weight == 1

    def test_classes_of_a_large_stream_weigh_no_more_than_those_of_a_small_one(self) -> None:
        """Each has a mean of its own: 100 and 300 pixels, 4000 and 0 are shares of 1.25 and 0.75 together."""
        few, many = torch.zeros(2, CLASSES, dtype=torch.long)
        few[:2], many[0] = torch.tensor([100, 300]), 4000
        objectives = {"supervised": {"stream": ["a", "b"], "losses": {"segmentation": {"balance": 1.0}}}}
        step = make_step(PLAIN, objectives, label_pixels={"a": few, "b": many})
        weights = objective(step).class_weights()
        assert weights is not None
        assert (weights[1] / weights[0]).item() == pytest.approx(1.25 / 0.75, rel=1e-3)
        alone = objective(make_step(PLAIN, objectives, label_pixels={"a": few})).class_weights()
        assert alone is not None
        assert (alone[0] / alone[1]).item() == pytest.approx(3, rel=1e-3)

    def test_the_colours_are_drawn_by_the_keys_of_the_samples(self) -> None:
        jitter = {"labelled": ColourJitter(probability=1.0)}
        step = make_step(PLAIN, {"supervised": {}}, colours=jitter).eval()
        first, again = (step(batch()).terms["supervised.segmentation"].sum.item() for _ in range(2))
        other = {"labelled": replace(batch()["labelled"], keys=(8, 9))}
        assert first == again
        assert step(other).terms["supervised.segmentation"].sum.item() != first

    @pytest.mark.parametrize("share", [0.25, 1.0])
    @pytest.mark.parametrize("name", ["dice", "lovasz"])
    def test_a_loss_of_areas_takes_its_share(self, name: str, share: float) -> None:
        plain, data = classes(focal=2.0).eval(), batch()
        data["labelled"].targets["label"][:, :9] = IGNORE
        pixels, areas, both = (
            make_step(PLAIN, {"supervised": {"losses": {"segmentation": loss}}})
            .eval()(data)
            .terms["supervised.segmentation"]
            for loss in (
                {"focal": 2.0},
                {"region": {"name": name, "share": 1}},
                {"focal": 2.0, "region": {"name": name, "share": share}},
            )
        )
        expected = (1 - share) * pixels.sum.item() + share * areas.sum.item()
        assert both.sum.item() == pytest.approx(expected, rel=1e-5)
        assert areas.sum.item() != pytest.approx(pixels.sum.item(), rel=0.01)
        assert both.count.item() == pixels.count.item() == areas.count.item()
        assert plain.counts(data) == {"supervised.segmentation": both.count}

    @pytest.mark.parametrize("other", [{"balance": 0.5}, {"annealing": {}}, {"ohem": {}}])
    @pytest.mark.parametrize("loss", [{"focal": 2.0}, {"region": {"name": "dice"}}])
    def test_what_weighs_by_itself_is_not_weighed(self, loss: dict[str, Any], other: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="focal and region weigh pixels and classes themselves"):
            validate(Supervised, {"losses": {"segmentation": {**loss, **other}}})

    def test_focal_has_no_smoothing(self) -> None:
        with pytest.raises(ConfigError, match="smoothing belongs to the plain cross-entropy, which focal replaces"):
            validate(Supervised, {"losses": {"segmentation": {"focal": 2.0, "smoothing": 0.1}}})

    def test_counts_known_before_are_the_counts_found(self) -> None:
        step, data = classes(), batch()
        data["labelled"].targets["label"][:, :20] = 255
        known = step.counts(data)
        assert known == {"supervised.segmentation": step(data).terms["supervised.segmentation"].count}
        assert known["supervised.segmentation"] == 2 * 12 * 48
        for chosen in ({"ohem": {}}, {"annealing": {}}):
            assert classes(**chosen).counts(data) == {}

    def test_an_ignored_batch_moves_nothing(self) -> None:
        step, data = classes(), batch()
        data["labelled"].targets["label"][:] = 255
        term = step(data).terms["supervised.segmentation"]
        (term.sum / term.count.clamp(min=1)).backward()
        assert all((p.grad == 0).all() for p in step.network.parameters())

    @pytest.mark.slow
    def test_four_images_are_learned_by_heart(self) -> None:
        """Overfitting 4 images to mIoU > 0.95 shows that image, label, loss and prediction belong together."""
        network = {
            "encoder": {"model": "test_efficientnet", "pretrained": "none"},
            "tasks": {"segmentation": {"decoder": {"name": "fpn", "channels": 16}}},
        }
        step, data = make_step(network, {"supervised": {}}, ema_decay=0.9), blocks()
        schedule = Optimiser(lr=1e-2, encoder_lr=1.0, schedule="constant", warmup=5)
        optimiser = schedule.build(step.parameter_groups(1.0, {}))
        step.train()
        for i in range(100):
            schedule.set_lr(optimiser, i, 100)
            term = step({"labelled": data}).terms["supervised.segmentation"]
            optimiser.zero_grad()
            (term.sum / term.count).backward()
            optimiser.step()
            step.after_step(i)
        with torch.no_grad():
            logits = step.ema.network(to_unit(data.image))["segmentation"]
        found, label = upsample(logits, (64, 96)).argmax(1), data.targets["label"]
        both = [((found == c) & (label == c)).sum() / ((found == c) | (label == c)).sum() for c in range(CLASSES)]
        assert torch.stack(both).mean() > 0.95


def blocks(count: int = 4) -> Batch:
    """Images 64 x 96 of blocks 16 pixels wide; every class has a colour of its own, with noise on it."""
    rng = torch.Generator().manual_seed(1)
    truth = torch.randint(0, CLASSES, (count, 4, 6), generator=rng).repeat_interleave(16, 1).repeat_interleave(16, 2)
    colours = torch.randint(40, 216, (CLASSES, 3), generator=rng)
    noise = torch.randint(-30, 31, (*truth.shape, 3), generator=rng)
    image = (colours[truth] + noise).to(torch.uint8).permute(0, 3, 1, 2)
    everyone = torch.ones(count, dtype=torch.bool)
    return Batch(tuple("abcd"), (0, 1, 2, 3), image, {"label": truth.to(torch.uint8)}, {"label": everyone})


class TestEarly:
    @pytest.mark.parametrize(("early", "weights"), [(1.0, (0.5, 0.5)), (0.25, (0.8, 0.2))])
    def test_the_early_output_is_averaged_with_the_final_one(self, early: float, weights: tuple[float, float]) -> None:
        step = make_step(JOINT, {"supervised": {"losses": {"segmentation": {}, "depth": {}}, "early": early}}).eval()
        data = {"labelled": make_batch(1, "label", "depth")}
        terms, names = step(data).terms, ("segmentation", "early_segmentation")
        assert set(terms) == {"supervised.segmentation", "supervised.early_segmentation", "supervised.depth"}
        assert tuple(terms[f"supervised.{name}"].weight for name in names) == pytest.approx(weights)
        assert terms["supervised.depth"].weight == 1
        found = step.network(data["labelled"].image / 255, names)
        for name in names:
            expected, _ = cross_entropy(upsample(found[name], SIZE), data["labelled"].targets["label"])
            assert terms[f"supervised.{name}"].sum.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_depth_has_one_too(self) -> None:
        network = {**JOINT, "links": {"name": "padnet", "early": ["depth"]}}
        losses = {"segmentation": {}, "depth": {"weight": 0.5}}
        terms = make_step(network, {"supervised": {"losses": losses}})(
            {"labelled": make_batch(1, "label", "depth")}
        ).terms
        assert {name: term.weight for name, term in terms.items()} == {
            "supervised.segmentation": 1.0,
            "supervised.depth": 0.25,
            "supervised.early_depth": 0.25,
        }

    def test_without_one_the_final_output_counts_whole(self) -> None:
        network = {**JOINT, "links": {"name": "padnet", "early": []}}
        step = make_step(network, {"supervised": {"losses": {"segmentation": {}, "depth": {}}}})
        terms = step({"labelled": make_batch(1, "label", "depth")}).terms
        assert {name: term.weight for name, term in terms.items()} == {
            "supervised.segmentation": 1.0,
            "supervised.depth": 1.0,
        }


class TestAnnealing:
    def test_the_threshold_follows_the_steps_done(self) -> None:
        step = classes(steps=4, annealing={"schedule": "linear"}, balance=0.5, pixels=(8, 4, 2, 1)).eval()
        data, weight = batch(), objective(step).class_weights()
        assert weight is not None
        with torch.no_grad():
            step.network.heads["segmentation"][1].weight *= 40  # so that some pixels are known well, others badly
            logits = upsample(step.network(data["labelled"].image / 255)["segmentation"], SIZE)
        label = data["labelled"].targets["label"].long()
        p = logits.double().softmax(1).gather(1, label[:, None])[:, 0]
        found, expected = [], []
        for done in range(4):
            keep = p <= done / 4 * 0.75 + 0.25
            expected.append((-(p.log() * weight[label])[keep].sum().item(), keep.sum().item()))
            term = step(data).terms["supervised.segmentation"]
            found.append((term.sum.item(), term.count.item()))
            step.after_step(done)
        assert found == [pytest.approx(one, rel=1e-3) for one in expected]
        counts = [count for _, count in found]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]

    def test_a_resumed_run_goes_on_from_the_steps_done(self) -> None:
        step, again = (classes(annealing={"schedule": "exp"}) for _ in range(2))
        for number in range(3):
            step.after_step(number)
        assert (objective(step).done, objective(again).done) == (3, 0)
        file = io.BytesIO()
        torch.save(step.state_dict(), file)
        file.seek(0)
        again.load_state_dict(torch.load(file, weights_only=True))
        assert objective(again).done == 3


class TestChoosingAndWeighing:
    def test_the_hardest_labelled_pixels_count(self) -> None:
        """The loss of the labelled images is that of mining their logits, the share of hard pixels included."""
        step, data = classes(ohem={"threshold": 0.01, "min_kept": 0.25}).eval(), batch()
        label = data["labelled"].targets["label"]
        term = step(data).terms["supervised.segmentation"]
        with torch.no_grad():
            logits = upsample(step.network(to_unit(data["labelled"].image))["segmentation"], SIZE)
        losses = F.cross_entropy(logits, label.long(), ignore_index=IGNORE, reduction="none")
        hardest = losses.flatten().sort(descending=True).values[: label.numel() // 4]
        assert term.count == len(hardest)
        assert term.sum.item() == pytest.approx(hardest.sum().item(), rel=1e-5)

    @pytest.mark.parametrize("other", [{"balance": 0.5}, {"annealing": {}}, {"smoothing": 0.5}])
    def test_nothing_else_chooses_or_weighs_pixels_beside_it(self, other: dict[str, Any]) -> None:
        with pytest.raises(
            ConfigError, match=r"losses.segmentation: ohem keeps the hardest.*balance and smoothing to 0"
        ):
            validate(Supervised, {"losses": {"segmentation": {"ohem": {}, **other}}})

    def test_classes_are_weighed_by_their_pixels_in_all_streams_of_it(self) -> None:
        """Shares 0.9, 0.09, 0.009, 0.001 to the power -1/2, scaled to a mean pixel of 1."""
        step = classes(balance=0.5, pixels=(9000, 900, 90, 10)).eval()
        share = torch.tensor([0.9, 0.09, 0.009, 0.001], dtype=torch.float64)
        expected = share**-0.5 / (share**0.5).sum()
        torch.testing.assert_close(objective(step).class_weights(), expected.float())
        data = batch()
        logits = upsample(step.network(data["labelled"].image / 255)["segmentation"], SIZE)
        total = F.cross_entropy(logits, data["labelled"].targets["label"].long(), expected.float(), reduction="sum")
        torch.testing.assert_close(step(data).terms["supervised.segmentation"].sum, total)
        assert objective(classes()).class_weights() is None


class TestDepth:
    def test_in_metres_by_hand(self) -> None:
        """|ln z - ln z*| of the finest disparity at the resolution of the truth; 0 m counts nowhere."""
        step, data = depth().eval(), batch("depth")
        truth = data["labelled"].targets["depth"]
        truth[:, :, :7] = 0
        term = step(data).terms["supervised.depth"]
        finest = step.network(data["labelled"].image / 255)["depth"][0]
        assert finest.shape == (2, 1, 8, 12)
        z = 1 / (0.01 + (10 - 0.01) * upsample(finest, SIZE).double())
        expected = (z.log() - truth.double().log()).abs()[:, :, 7:]
        assert term.sum.item() == pytest.approx(expected.sum().item(), rel=1e-5)
        assert term.count == step.counts(data)["supervised.depth"] == 2 * 25 * 48

    def test_of_another_network_by_berhu_at_its_resolution(self) -> None:
        step, data = depth(target="disparity").eval(), batch("disparity")
        data["labelled"].targets["disparity"][:, :, 28:] = math.nan
        term = step(data).terms["supervised.depth"]
        finest = step.network(data["labelled"].image.float() / 255)["depth"][0]
        total, count = berhu(upsample(finest, SIZE), data["labelled"].targets["disparity"])
        torch.testing.assert_close(term.sum, total)
        assert term.count == count == step.counts(data)["supervised.depth"] == 2 * 28 * 48
        assert total > 0

    @pytest.mark.slow
    @pytest.mark.parametrize("target", ["depth", "disparity"])
    def test_it_is_learned(self, target: str) -> None:
        """Brightness tells how far: disparity 0.1 and 0.8 in blocks, which are 1 m and 0.125 m away."""
        g = torch.Generator().manual_seed(0)
        near = torch.randint(0, 2, (4, 1, 2, 3), generator=g).repeat_interleave(16, 2).repeat_interleave(16, 3)
        image = (40 + 170 * near + torch.randint(-20, 21, (4, 3, 32, 48), generator=g)).to(torch.uint8)
        wanted = 0.1 + 0.7 * near.float()
        truth = 1 / (0.01 + (10 - 0.01) * wanted) if target == "depth" else wanted
        data = Batch(tuple("abcd"), (1, 2, 3, 4), image, {target: truth}, {target: torch.ones(4, dtype=torch.bool)})
        network = {
            "encoder": {"model": "test_efficientnet", "pretrained": "none"},
            "tasks": {"depth": {"decoder": {**UNET, "norms": True}, "scales": 1}},
        }
        step = make_step(network, {"supervised": {"losses": {"depth": {"target": target}}}})
        schedule = Optimiser(lr=1e-2, encoder_lr=1.0, warmup=0)
        optimiser = schedule.build(step.parameter_groups(1.0, {}))
        step.train()
        first = None
        for i in range(60):
            schedule.set_lr(optimiser, i, 60)
            term = step({"labelled": data}).terms["supervised.depth"]
            first = first or term.sum.item()
            optimiser.zero_grad()
            (term.sum / term.count).backward()
            optimiser.step()
            step.after_step(i)
        with torch.no_grad():
            found = upsample(step.ema.network(data.image.float() / 255)["depth"][0], SIZE)
        assert term.sum.item() < 0.35 * first
        assert (found - wanted).abs().mean() < 0.1  # a constant is 0.35 off

    def test_beside_classes_it_needs_no_video(self) -> None:
        """A network of both tasks from labels and depths alone, in one pass of it."""
        step = make_step(JOINT, {"supervised": {"losses": {"segmentation": {}, "depth": {"weight": 0.5}}}}).train()
        result = step({"labelled": make_batch(1, "label", "depth")})
        loss = sum(term.weight * term.sum / term.count for term in result.terms.values())
        assert isinstance(loss, Tensor)
        loss.backward()
        assert result.terms["supervised.depth"].weight == 0.5
        untrained = {n for n, p in step.network.named_parameters() if p.grad is None}
        assert untrained == {n for n in untrained if n.startswith("heads.depth.scales.3")}, "the coarse disparity"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"losses": {}}, r"give the loss of at least one task: losses=\{segmentation: \{\}\}"),
        ({"losses": {"classes": {"name": "segmentation"}}}, "by its task's name, so 'classes' must be 'segmentation'"),
        ({"losses": {"depth": {"target": "disparity", "error": "log"}}}, "error=log compares depths in metres"),
        ({"losses": {"segmentation": {"balence": 1}}}, "did you mean 'balance'"),
    ],
)
def test_settings_that_do_not_agree(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(Supervised, settings)


def test_a_depth_network_needs_no_classes() -> None:
    assert set(depth(DEPTH)(batch("depth")).terms) == {"supervised.depth"}
