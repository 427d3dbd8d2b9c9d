"""Draws the pictures of docs/mixing.md from the generated streets: `python docs/images/mixing.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fathomseg.augment import AutoAugment, Colours, RandAugment
from fathomseg.data.datasets.streets import Streets
from fathomseg.io.draw import colour_map, colourise, contact_sheet, overlay, write
from fathomseg.mixing import AllOf, ClassMix, CutMix, DepthMix, Mixing, Pixels, mix, unit_disparity

HERE = Path(__file__).parent
WORLD = Streets(size=(192, 384))
PAIR = ("train/0004/000006", "train/0011/000010")


def scenes(ids: tuple[str, ...]) -> Pixels:
    """Frames of the world with exact labels and disparities; the sky is infinitely far."""
    image = np.stack([WORLD.image(id) for id in ids])
    label = torch.from_numpy(np.stack([WORLD.label(id) for id in ids]))
    depth = torch.from_numpy(np.stack([WORLD.depth(id) for id in ids]))[:, None]
    return Pixels(
        image=torch.from_numpy(image).permute(0, 3, 1, 2) / 255,
        label=label,
        weight=torch.ones(label.shape),
        valid=torch.ones(label.shape, dtype=torch.bool),
        disparity=unit_disparity(torch.where(depth > 0, 1 / depth, 0.0)),
    )


def picture(image: torch.Tensor) -> np.ndarray:
    """One image 3 h w, 0..1, as an array of bytes."""
    return (image.permute(1, 2, 0) * 255).round().byte().numpy()


def labelled(pixels: Pixels, i: int = 0) -> np.ndarray:
    """An image with its label laid over it; ignored pixels show the image alone."""
    return overlay(picture(pixels.image[i]), pixels.label[i].numpy(), WORLD.classes, 0.5)


def rules() -> None:
    """Two images, their disparities, and what each rule makes of them."""
    pixels, keys = scenes(PAIR), (11, 4)
    assert pixels.disparity is not None
    cells = [picture(image) for image in pixels.image]
    cells += [colour_map(disparity.numpy(), limits=(0, 1)) for disparity in pixels.disparity[:, 0]]
    captions = ["this", "other", "disparity of this", "disparity of other"]
    shown: tuple[Mixing, ...] = (CutMix(probability=1, area=(0.3, 0.4)), ClassMix(), DepthMix(), AllOf())
    for rule in shown:
        mixed, _ = mix(rule, pixels, keys)
        cells += [picture(mixed.image[0]), labelled(mixed)]
        captions += [rule.name, f"{rule.name}, label"]
    write(HERE / "mix-rules.jpg", contact_sheet(cells, captions, columns=4, width=270))


def strong() -> None:
    """One mixed image under the strong augmentations, with the label that followed."""
    mixed, _ = mix(DepthMix(), scenes(PAIR), (11, 4))
    mixed = mixed.each(lambda x: x[:1].expand(4, *x.shape[1:]))
    cells, captions = [], []
    shown = ((Colours(), (21, 25, 6, 14)), (RandAugment(), (2, 3, 4, 25)), (AutoAugment(), (3, 13, 35, 39)))
    for augmentation, keys in shown:
        out = augmentation(mixed, keys)
        cells += [picture(out.image[i]) for i in range(4)]
        captions += [augmentation.name] * 4
        if not isinstance(augmentation, Colours):
            cells += [colourise(label.numpy(), WORLD.classes) for label in out.label]
            captions += ["its label, ignored = black"] * 4
    write(HERE / "mix-strong.jpg", contact_sheet(cells, captions, columns=4, width=270))


if __name__ == "__main__":
    rules()
    strong()
