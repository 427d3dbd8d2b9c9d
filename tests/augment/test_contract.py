"""What every strong augmentation must keep, and what each draws."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from fathomseg.augment import AnyAugmentation, Augmentation, AutoAugment, Blur, Colours, NoAugmentation, RandAugment
from fathomseg.augment.colours import gaussian_blur
from fathomseg.augment.operations import COLOURS, CUTOUT, GEOMETRY
from fathomseg.config import Part, load
from fathomseg.data.colour import ColourJitter
from fathomseg.errors import ConfigError
from fathomseg.mixing import Pixels
from fathomseg.types import IGNORE
from tests.mixing.coded import coded

STRONG: list[Augmentation] = [
    NoAugmentation(),
    Colours(),
    RandAugment(),
    RandAugment(number=4, probability=1.0, levels=(6, 6), cutout=0),
    AutoAugment(),
    AutoAugment(policy="cifar10"),
    AutoAugment(policy="svhn"),
]
EVERY = pytest.mark.parametrize("strong", STRONG, ids=lambda strong: strong.name)


def street(batch: int, size: tuple[int, int] = (24, 32)) -> Pixels:
    """Coded labels under a random image."""
    image = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(batch))
    return replace(coded(batch, size), image=image)


def equal(a: Pixels, b: Pixels, atol: float) -> None:
    """Fields equal: exactly what is moved by nearest neighbour, to rounding what is blended."""
    for name in ("label", "weight", "valid", "disparity"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(a.image, b.image, rtol=0, atol=atol)


def test_every_augmentation_of_the_union_is_under_this_contract() -> None:
    assert {type(strong) for strong in STRONG} == set(get_args(get_args(AnyAugmentation)[0]))


@EVERY
@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_images_stay_images_and_what_is_hidden_counts_nowhere(strong: Augmentation, batch: int) -> None:
    pixels, keys = street(batch), range(50, 50 + batch)
    out = strong(pixels, keys)
    assert out.image.shape == pixels.image.shape
    assert out.image.min() >= 0
    assert out.image.max() <= 1
    motion = strong.motion(keys, (24, 32), pixels.image)
    if motion is None:
        equal(replace(out, image=pixels.image), pixels, atol=0)
    else:
        hidden = ~motion.shown
        assert (out.label[hidden] == IGNORE).all()
        assert (out.weight[hidden] == 0).all()
        assert not out.valid[hidden].any()
        assert torch.equal(out.label[motion.shown], motion.nearest(pixels.label)[motion.shown])


@EVERY
def test_a_sample_looks_the_same_whatever_batch_it_is_in(strong: Augmentation) -> None:
    pixels, keys = street(7), tuple(range(7))
    whole = strong(pixels, keys)
    for i in range(7):
        alone = strong(pixels.each(lambda x, i=i: x[i : i + 1]), keys[i : i + 1])
        equal(alone, whole.each(lambda x, i=i: x[i : i + 1]), atol=2e-6)


@EVERY
def test_the_same_keys_give_the_same_pixels_and_others_others(strong: Augmentation) -> None:
    pixels = street(3)
    first = strong(pixels, (1, 2, 3))
    equal(strong(pixels, (1, 2, 3)), first, atol=0)
    assert torch.equal(strong(pixels, (4, 5, 6)).image, first.image) == isinstance(strong, NoAugmentation)


@EVERY
def test_the_image_given_is_not_written_to(strong: Augmentation) -> None:
    pixels = street(5)
    before = pixels.each(torch.clone)
    strong(pixels, range(5))
    equal(pixels, before, atol=0)


@EVERY
def test_nothing_of_it_has_a_gradient(strong: Augmentation) -> None:
    pixels = replace(street(2), image=torch.rand(2, 3, 24, 32, requires_grad=True))
    assert not strong(pixels, (1, 2)).image.requires_grad


@EVERY
def test_it_is_as_precise_in_mixed_precision(strong: Augmentation) -> None:
    """Autocast would convolve in bfloat16, which a GPU then refuses to put back into an image of float32."""
    pixels = street(16)
    expected = strong(pixels, range(16))
    with torch.autocast("cpu", torch.bfloat16):
        found = strong(pixels, range(16))
    assert found.image.dtype == torch.float32
    equal(found, expected, atol=0)


def test_a_blur_is_as_precise_in_mixed_precision() -> None:
    image, sigma = street(3).image, torch.tensor([0.4, 1.0, 2.0])
    with torch.autocast("cpu", torch.bfloat16):
        found = gaussian_blur(image, sigma, 6)
        assert torch.nn.functional.conv2d(image, image[:, :, :3, :3]).dtype == torch.bfloat16, "this test can fail"
    assert found.dtype == torch.float32
    assert torch.equal(found, gaussian_blur(image, sigma, 6))


@EVERY
def test_augmentations_come_from_recipes(strong: Augmentation) -> None:
    class Recipe(Part):
        strong: AnyAugmentation

    assert load(Recipe, {"strong": strong.model_dump(mode="json")}).strong == strong


def test_colours_change_each_image_as_often_as_told() -> None:
    still = ColourJitter(probability=0, hue=0)
    image = torch.rand(1, 3, 8, 8).expand(1000, -1, -1, -1)
    grey = Colours(jitter=still, greyscale=0.2, blur=Blur(probability=0)).recolour(image, range(1000))
    lost = (grey[:, 0] == grey[:, 2]).all((1, 2))
    assert abs(lost.float().mean() - 0.2) < 0.04
    torch.testing.assert_close(grey[~lost], image[~lost])
    sigmas = Blur(probability=0.5, sigma=(0.5, 1.5)).sigmas(range(1000))
    assert abs((sigmas > 0).mean() - 0.5) < 0.05
    assert 0.5 <= sigmas[sigmas > 0].min() < 0.52
    assert 1.48 < sigmas.max() <= 1.5
    blurred = Colours(jitter=still, greyscale=0, blur=Blur(sigma=(0.5, 1.5))).recolour(image, range(1000))
    chosen = torch.from_numpy(Blur(sigma=(0.5, 1.5)).sigmas(range(1000)) > 0)
    assert torch.equal((blurred == image).flatten(1).all(1), ~chosen)
    assert torch.var(blurred[chosen][0]) < torch.var(image[0])


def test_randaugment_draws_every_operation_alike_with_even_levels() -> None:
    rule = RandAugment(number=3, probability=0.5, levels=(1, 9), cutout=0.25)
    drawn = [operation for key in range(1500) for operation in rule.operations(key)]
    squares = [op for op in drawn if op.name == CUTOUT and op.amount == 0.25]
    assert len(squares) == 1500, "one for every image, at the end"
    assert all(rule.operations(key)[-1].name == CUTOUT for key in range(20))
    names, counts = np.unique([op.name for op in drawn], return_counts=True)
    assert set(names) == {*COLOURS, *GEOMETRY, CUTOUT}
    counts = np.where(names == CUTOUT, counts - 1500, counts)
    assert (np.abs(counts - 1500 * 3 * 0.5 / 15) < 45).all(), dict(zip(names, counts, strict=True))
    angles = np.array([op.amount for op in drawn if op.name == "rotate"])
    assert abs(np.abs(angles).min() - 3) < 1
    assert abs(np.abs(angles).max() - 27) < 1
    assert abs((angles > 0).mean() - 0.5) < 0.15


def test_autoaugment_draws_the_published_pairs() -> None:
    """The first pair of the ImageNet table: posterize 0.4 at level 8, rotate 0.6 at level 9; posterize thus keeps 5."""
    drawn = [AutoAugment().operations(key) for key in range(3000)]
    pairs = {tuple(op.name for op in operations) for operations in drawn}
    assert ("posterize", "rotate") in pairs
    assert ("rotate", "posterize") not in pairs
    assert max(len(operations) for operations in drawn) == 2
    turned = [abs(op.amount) for ops in drawn for op in ops if op.name == "rotate" and ops[0].name == "posterize"]
    np.testing.assert_allclose(turned, 27)
    bits = {op.amount for ops in drawn for op in ops if op.name == "posterize"}
    assert bits == {5, 6}, "levels 8, 7, 6 and 5 keep 8 - 4 level / 10 bits"
    share = np.mean([any(op.name == "equalize" for op in operations) for operations in drawn])
    # By hand from the table, the chance of at least one equalize in each of the 25 pairs, summed: 10.96.
    expected = 0.92 * 2 + 0.4 * 3 + 0.6 + 1 + 0.6 * 2 + 0.8 + 1 * 3 + 0.6
    assert abs(share - expected / 25) < 0.03


def test_cutout_hides_a_square_of_the_shorter_side() -> None:
    rule = RandAugment(number=0, cutout=0.5)
    pixels = street(300, (16, 40))
    out = rule(pixels, range(300))
    hidden = out.image.eq(0.5).all(1)
    area = hidden.sum((1, 2))
    assert area.max() == 64
    assert (area >= 15).all(), "its middle lies in the image"
    assert hidden.any(0).all(), "every pixel is hidden at times"
    assert (out.label[hidden] == IGNORE).all()
    assert not out.valid[hidden].any()
    assert torch.equal(out.label[~hidden], pixels.label[~hidden])


def test_motions_compose_in_the_order_drawn() -> None:
    """What a policy does to labels equals its operations done one after the other, up to pixels between pixels."""
    size = (60, 80)
    label = (torch.arange(80) // 20 + 4 * (torch.arange(60)[:, None] // 15))[None].to(torch.uint8)
    rule = RandAugment(number=3, probability=1.0, levels=(3, 3), cutout=0)
    keys = [k for k in range(400) if sum(op.name in GEOMETRY for op in rule.operations(k)) == 3][:6]
    assert keys
    for key in keys:
        together = rule.motion([key], size, label)
        assert together is not None
        one_by_one = label
        for operation in rule.operations(key):

            class Single(RandAugment):
                def operations(self, key: int, operation=operation) -> list:  # type: ignore[no-untyped-def, type-arg]
                    return [operation]

            step = Single().motion([key], size, label)
            assert step is not None
            one_by_one = step.nearest(one_by_one).masked_fill(~step.shown, IGNORE)
        both = together.shown & (one_by_one != IGNORE)
        assert both.float().mean() > 0.5
        assert (together.nearest(label) == one_by_one)[both].float().mean() > 0.93


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (RandAugment, {"levels": [5, 2]}, "levels must be"),
        (RandAugment, {"levels": [0, 11]}, "levels"),
        (Blur, {"sigma": [2, 1]}, "sigma must be"),
        (Blur, {"sigma": [0, 1]}, "sigma"),
        (AutoAugment, {"policy": "mnist"}, "policy"),
    ],
)
def test_impossible_settings_are_refused(kind: type[Part], settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(kind, settings)
