"""The pictures of the page, as arrays: learned depth, chosen images, a mix, and what every row predicts.

They are rendered twice as fine as the networks see them, to be pleasant to look at; nothing here is scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from fathomseg.data.datasets.streets import Streets
from fathomseg.data.places import evenly
from fathomseg.demo.plan import LABELS, ROWS, TEACHER
from fathomseg.inference.predictor import Predictor, load
from fathomseg.io import draw
from fathomseg.io.draw import Picture
from fathomseg.mixing import DepthMix, Pixels, composite, unit_disparity
from fathomseg.selection.result import Choice, load_selection
from fathomseg.study.folder import JobFolder

DEPTHS: Final = 4
"""Images whose learned depth is shown."""
PREDICTIONS: Final = 5
"""Images whose predictions are shown."""
_CANDIDATES: Final = 8
"""Images among which a pair to mix is looked for."""
_PASTED: Final = 0.35
"""The share of pixels from the other image that shows best what DepthMix does."""
_FARTHEST_M: Final = 80.0


@dataclass(frozen=True, slots=True)
class Strip:
    """Pictures that belong together."""

    title: str
    cells: tuple[tuple[str, Picture], ...]
    """What it shows, and the picture."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """All pictures of the page."""

    depth: tuple[Strip, ...]
    chosen: Strip
    random: Strip
    mix: Strip
    predictions: tuple[Strip, ...]


@dataclass(frozen=True)
class Gallery:
    """The networks of a demo and the images to show them on: evenly spread over the drives, not the best ones."""

    fine: Streets
    depth: Predictor
    rows: Mapping[str, Predictor]
    """The network of each row by its title."""

    def pictures(self, chosen: Sequence[Choice], random: Sequence[str]) -> Pictures:
        """Everything; `chosen` and `random` are the labelled images of the rows."""
        unseen = self.fine.ids("val")
        return Pictures(
            depth=tuple(self.depth_strip(id) for id in evenly(unseen, DEPTHS)),
            chosen=Strip("chosen", tuple((choice.id, self.chosen_picture(choice)) for choice in chosen)),
            random=Strip("random", tuple((id, self.fine.image(id)) for id in random)),
            mix=self.mix_strip(evenly(self.fine.ids("train"), _CANDIDATES)),
            predictions=tuple(self.prediction_strip(id) for id in evenly(unseen, PREDICTIONS)),
        )

    def depth_strip(self, id: str) -> Strip:
        """An image, its learned depth on the scale of the truth, and the truth."""
        image, truth = self.fine.image(id), self.fine.depth(id)
        predicted = self.depth.predict(image).depth
        assert predicted is not None, "a network for depth"
        depth = to_scale(predicted, truth)
        return Strip(
            id,
            (
                ("image", image),
                ("learned depth", draw.depth_picture(depth)),
                ("true depth", draw.depth_picture(truth)),
            ),
        )

    def chosen_picture(self, choice: Choice) -> Picture:
        """A chosen image, with a frame about the part it was chosen for."""
        image = self.fine.image(choice.id)
        return image if choice.part is None else draw.framed(image, choice.part)

    def prediction_strip(self, id: str) -> Strip:
        """An image, what the network of every row makes of it, and the truth."""
        image, classes = self.fine.image(id), self.fine.classes
        labels = {title: row.predict(image).label for title, row in self.rows.items()}
        predicted = [(title, draw.colourise(label, classes)) for title, label in labels.items() if label is not None]
        return Strip(id, (("image", image), *predicted, ("truth", draw.colourise(self.fine.label(id), classes))))

    def mix_strip(self, ids: Sequence[str]) -> Strip:
        """A pair of these images as the last row's training sees it: both with depth, the mask, what comes of them."""
        classes = self.fine.classes
        seen = {id: self._pixels(self.fine.image(id)) for id in ids}
        this, other = best_pair(seen)
        keep = DepthMix().mask(seen[this], seen[other], [0])
        mixed = composite(keep, seen[this], seen[other])
        cells: list[tuple[str, Picture]] = []
        for name, one in (("one image", seen[this]), ("another image", seen[other])):
            label = draw.colourise(one.label[0].numpy(), classes)
            cells += [(name, _image(one)), ("its learned depth", _near(one)), ("its pseudo-label", label)]
        cells += [
            ("mask: where the first one is seen", _mask(keep[0].numpy())),
            ("mixed image", _image(mixed)),
            ("mixed pseudo-label", draw.colourise(mixed.label[0].numpy(), classes)),
        ]
        return Strip(f"{this} and {other}", tuple(cells))

    def poster(self, ids: Sequence[str], scores: Sequence[float]) -> Picture:
        """One picture of it all: images, learned depth, what the first and the last row make of them, and the truth.

        `scores`: mIoU of the first and of the last row, 0..1.
        """
        first, last = (f"mIoU {100 * score:.0f} %" for score in scores)
        heads = (
            "unseen street",
            "depth, from video alone",
            f"{LABELS} labels: {first}",
            f"the same + depth: {last}",
            "truth",
        )
        width = self.fine.size[1]
        size = max(8, width // 18)
        rows = [[draw.captioned(np.full((1, width, 3), 255, np.uint8), head, size) for head in heads]]
        for id in ids:
            image, *answers, truth = (picture for _, picture in self.prediction_strip(id).cells)
            rows.append([image, self.depth_strip(id).cells[1][1], answers[0], answers[-1], truth])
        lines = [draw.beside(row) for row in rows]
        gap = np.full((4, lines[0].shape[1], 3), 255, np.uint8)
        return np.concatenate([part for line in lines for part in (line, gap)][:-1])

    def _pixels(self, image: UInt8[np.ndarray, "h w 3"]) -> Pixels:
        teacher = next(row.title for row in ROWS if row.task == TEACHER)
        label = torch.from_numpy(self.rows[teacher].predict(image).label)[None]
        disparity = torch.from_numpy(self.rows[ROWS[-1].title].predict(image).disparity)[None, None]
        return Pixels(
            image=torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255,
            label=label,
            weight=torch.ones(label.shape),
            valid=torch.ones(label.shape, dtype=torch.bool),
            disparity=unit_disparity(disparity),
        )


def gallery(folder: JobFolder, world: Streets) -> Gallery:
    """The networks of a finished demo; `world` is what its rows were scored on."""
    height, width = world.size
    return Gallery(
        fine=world.model_copy(update={"size": (2 * height, 2 * width)}),
        depth=load(folder.run("depth"), device="cpu"),
        rows={row.title: load(folder.run(row.task), device="cpu") for row in ROWS},
    )


def labelled(folder: JobFolder) -> tuple[Sequence[Choice], Sequence[str]]:
    """What was chosen, in its order, and the ids of the random images."""
    random = (folder.run("random") / "labelled.txt").read_text(encoding="utf-8").split()
    return load_selection(folder.run("select")).chosen, random


def to_scale(depth: Float32[np.ndarray, "h w"], truth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Depth times the ratio of medians to the truth (0 = unknown): video alone does not tell how large the world is."""
    known = (truth > 0) & (truth < _FARTHEST_M)
    if not known.any():
        return depth
    scaled: np.ndarray = depth * np.float32(np.median(truth[known]) / np.median(depth[known]))
    return scaled


def best_pair(seen: Mapping[str, Pixels]) -> tuple[str, str]:
    """The two images whose mix takes nearest to `_PASTED` of its pixels from the second."""

    def distance(pair: tuple[str, str]) -> float:
        keep = DepthMix().mask(seen[pair[0]], seen[pair[1]], [0])
        return abs(1 - float(keep.float().mean()) - _PASTED)

    return min(permutations(seen, 2), key=distance)


def _image(pixels: Pixels) -> Picture:
    image: Float[Tensor, "3 h w"] = pixels.image[0]
    picture: Picture = (255 * image).round().byte().permute(1, 2, 0).numpy()
    return picture


def _near(pixels: Pixels) -> Picture:
    assert pixels.disparity is not None
    return draw.disparity_picture(pixels.disparity[0, 0].numpy())


def _mask(keep: Bool[np.ndarray, "h w"]) -> Picture:
    return np.where(keep[..., None], np.uint8(245), np.array((20, 90, 110), np.uint8))
