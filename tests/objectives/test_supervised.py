"""Learners: a contract over the table of them, and the supervised one in particular."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from fathomseg.config import Part, load, validate
from fathomseg.data.colour import ColourJitter
from fathomseg.data.transforms import Geometry
from fathomseg.engine.optimiser import Optimiser
from fathomseg.errors import ConfigError
from fathomseg.inference.predictor import Predictor
from fathomseg.learners import AnyLearner, SemiSupervised, Supervised
from fathomseg.learners.base import Learner
from fathomseg.losses.segmentation import Ohem
from fathomseg.metrics.segmentation import Confusion
from fathomseg.models.network import NetworkConfig
from fathomseg.types import Batch, ClassList

CLASSES = 5
TINY = {"encoder": {"model": "test_efficientnet", "pretrained": "none"}, "decoder": {"name": "fpn", "channels": 16}}


def learner(config: Part, **network: object) -> Learner:
    torch.manual_seed(0)
    built = validate(NetworkConfig, {**TINY, **network}).build(CLASSES)
    pixels = torch.full((CLASSES,), 100)
    if isinstance(config, SemiSupervised):
        return config.build(built, pixels, steps=10)
    return config.build(built, pixels)  # type: ignore[attr-defined, no-any-return]


def batch(count: int = 4) -> Batch:
    """Images 64 x 96 of blocks 16 pixels wide; every class has a colour of its own, with noise on it."""
    rng = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, CLASSES, (count, 4, 6), generator=rng)
    truth = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2).to(torch.uint8)
    colours = torch.randint(40, 216, (CLASSES, 3), generator=rng)
    noise = torch.randint(-30, 31, (*truth.shape, 3), generator=rng)
    stacked = (colours[truth.long()] + noise).to(torch.uint8).permute(0, 3, 1, 2)
    return Batch(tuple(map(str, range(count))), tuple(range(count)), stacked, truth)


union, _ = get_args(AnyLearner)
table: list[Part] = [get_args(tagged)[0]() for tagged in get_args(union)]


def test_the_table_holds_every_learner_that_segments() -> None:
    assert [type(config) for config in table] == [Supervised, SemiSupervised]


@pytest.mark.parametrize("config", table, ids=lambda c: c.name)
def test_contract(config: Part) -> None:
    step = learner(config)
    step.train()
    result = step({"labelled": batch(), "unlabelled": batch()})
    loss = torch.stack([t.weight * t.sum / t.count for t in result.terms.values()]).sum()
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in step.named_parameters():
        if name.startswith("ema."):
            assert parameter.grad is None, f"{name}: the averaged network takes no gradient"
        else:
            assert parameter.grad is not None, f"{name} is trained by no loss"
    grouped = [p for group in step.parameter_groups(0.1) for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == sum(p.requires_grad for p in step.parameters())
    again = learner(config)
    again.load_state_dict(step.state_dict())
    assert validate(type(config), config.model_dump()) == config


def test_the_encoder_and_vectors_have_groups_of_their_own() -> None:
    step = learner(Supervised())
    names = {id(p): name for name, p in step.named_parameters()}
    groups = {
        (group["lr_scale"], group["decays"]): {names[id(p)] for p in group["params"]}
        for group in step.parameter_groups(0.1)
    }
    assert "network.heads.segmentation.1.weight" in groups[1.0, True]
    assert "network.heads.segmentation.1.bias" in groups[1.0, False]
    assert "network.encoder.net.conv_stem.weight" in groups[0.1, True]
    assert "network.encoder.net.bn1.weight" in groups[0.1, False]


def test_counts_known_before_are_the_counts_found() -> None:
    step, data = learner(Supervised()), batch()
    assert data.label is not None
    data.label[:, :20] = 255
    assert step.counts({"labelled": data})["segmentation"] == step({"labelled": data}).terms["segmentation"].count
    assert learner(Supervised(ohem=Ohem())).counts({"labelled": data}) == {}


@pytest.mark.parametrize("other", ["balance", "smoothing"])
def test_mining_replaces_the_plain_loss_and_what_belongs_to_it(other: str) -> None:
    with pytest.raises(ConfigError, match=rf"{other} 0\.5.*ohem to null"):
        load(Supervised, {"ohem": {}, other: 0.5})


def test_an_ignored_batch_moves_nothing() -> None:
    step, data = learner(Supervised()), batch()
    assert data.label is not None
    data.label[:] = 255
    term = step({"labelled": data}).terms["segmentation"]
    (term.sum / term.count.clamp(min=1)).backward()
    assert all((p.grad == 0).all() for p in step.network.parameters())


def test_four_images_are_learned_by_heart() -> None:
    """Overfitting 4 images to mIoU > 0.95 shows that image, label, loss and prediction belong together."""
    still = Supervised(geometry=Geometry(scale=(1, 1), flip=0), colour=ColourJitter(probability=0), ema_decay=0.9)
    step, data, schedule = learner(still), batch(), Optimiser(lr=1e-2, encoder_lr=1.0, schedule="constant", warmup=5)
    optimiser = schedule.build(step.parameter_groups(1.0))
    step.train()
    for i in range(100):
        schedule.set_lr(optimiser, i, 100)
        term = step({"labelled": data}).terms["segmentation"]
        optimiser.zero_grad()
        (term.sum / term.count).backward()
        optimiser.step()
        step.after_step(i)
    names = tuple("abcde")
    predictor = Predictor(step.ema.network, ClassList(names, ((0, 0, 0),) * CLASSES), (64, 96))
    confusion = Confusion(CLASSES)
    assert data.label is not None
    for image, label in zip(data.image, data.label, strict=True):
        prediction = predictor.predict(image.permute(1, 2, 0).numpy())
        confusion.update(torch.from_numpy(prediction.label), label)
    matrix = confusion.matrix.double()
    intersection = matrix.diag()
    iou = intersection / (matrix.sum(0) + matrix.sum(1) - intersection)
    assert iou.mean() > 0.95
