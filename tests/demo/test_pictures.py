"""The pictures of the page: that each shows what it says, in a small world with networks that know the answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fathomseg.data.datasets.streets import Streets
from fathomseg.data.places import evenly
from fathomseg.demo.pictures import Gallery, best_pair, to_scale
from fathomseg.demo.plan import ROWS
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predictor import Predictor
from fathomseg.io.draw import colourise, depth_picture
from fathomseg.mixing import Pixels
from tests.stages.saved_run import network_of

WORLD = Streets(size=(48, 96), train_clips=4, val_clips=3, frames=2)
CLASSES = WORLD.classes


BOTH = ("segmentation", "depth")


class Known(nn.Module):
    """Says the same class everywhere. The lower in the image, the nearer; the brighter the image, the steeper."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, image: Tensor, outputs: Collection[str]) -> dict[str, Any]:
        logits = torch.zeros(len(image), len(CLASSES), 4, 8)
        logits[:, self.index] = 9
        ramp = torch.linspace(0.02, 0.4, 48).view(1, 1, 48, 1).expand(len(image), 1, 48, 96)
        depth = [ramp * (0.5 + image.mean((1, 2, 3), keepdim=True))]
        return {task: {"segmentation": logits, "depth": depth}[task] for task in outputs}


def knows(index: int) -> Predictor:
    card = ModelCard(network=network_of(BOTH), classes=CLASSES.names, colours=CLASSES.colours, size=(48, 96))
    return Predictor(Known(index), card)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    """Rows by the titles of the demo, of which the last one knows depth as well."""
    return Gallery(WORLD, knows(0), {row.title: knows(index) for index, row in enumerate(ROWS)})


def test_predictions_stand_beside_image_and_truth(gallery: Gallery) -> None:
    id = WORLD.ids("val")[3]
    cells = gallery.prediction_strip(id).cells
    assert [words for words, _ in cells] == ["image", *(row.title for row in ROWS), "truth"]
    assert (cells[0][1] == WORLD.image(id)).all()
    for index in range(4):
        assert (cells[1 + index][1] == CLASSES.colours[index]).all()
    assert (cells[5][1] == colourise(WORLD.label(id), CLASSES)).all()


def test_depth_is_brought_to_the_scale_of_the_truth(gallery: Gallery) -> None:
    id = WORLD.ids("val")[0]
    (_, image), (_, learned), (_, truth) = gallery.depth_strip(id).cells
    assert (image == WORLD.image(id)).all()
    assert (truth == depth_picture(WORLD.depth(id))).all()
    guess, real = gallery.depth.predict(image).depth, WORLD.depth(id)
    known = (real > 0) & (real < 80)
    scaled = guess * (np.median(real[known]) / np.median(guess[known]))
    assert np.abs(learned.astype(int) - depth_picture(scaled.astype(np.float32))).max() <= 2
    assert (learned != depth_picture(guess)).any()


def test_scale_without_truth_and_by_hand() -> None:
    depth = np.array([[1, 2, 3, 9]], np.float32)
    assert (to_scale(depth, np.zeros((1, 4), np.float32)) == depth).all()
    truth = np.array([[4, 8, 12, 500]], np.float32)  # what is beyond 80 m does not count
    assert (to_scale(depth, truth) == 4 * depth).all()


def test_a_mix_takes_every_pixel_from_where_its_mask_says(gallery: Gallery) -> None:
    cells = dict(enumerate(picture for _, picture in gallery.mix_strip(WORLD.ids("train")).cells))
    assert len(cells) == 9
    keep = cells[6][..., 0] > 200
    assert set(np.unique(cells[6][..., 0])) <= {20, 245}
    for one, other, mixed in ((0, 3, 7), (2, 5, 8)):  # images, pseudo-labels
        expected = np.where(keep[..., None], cells[one], cells[other])
        assert (cells[mixed] == expected).all()
    assert (cells[2] == CLASSES.colours[1]).all()  # the teacher is the second row's network
    assert (cells[0] != cells[3]).any()


def test_the_best_pair_has_the_share_that_shows_most() -> None:
    def pixels(disparity: list[float]) -> Pixels:
        row = torch.tensor(disparity).view(1, 1, 1, -1)
        flat = torch.zeros(1, 1, row.shape[3], dtype=torch.uint8)
        return Pixels(row.expand(1, 3, 1, -1), flat, flat.float(), flat == 0, row)

    seen = {
        "far": pixels([0.0] * 10),
        "near": pixels([1.0] * 10),
        "some": pixels([0.5] * 3 + [0.0] * 7),  # pastes 3 of 10 pixels over `far`
    }
    assert best_pair(seen) == ("far", "some")


def test_the_poster_has_heads_and_a_row_for_each_image(gallery: Gallery) -> None:
    ids = evenly(WORLD.ids("val"), 2)
    poster = gallery.poster(ids, [0.4, 0.5])
    height, width = WORLD.size
    assert poster.shape[1] == 5 * width + 4 * 4
    head = poster.shape[0] - 2 * (height + 4)
    assert 10 < head < 60
    assert (poster[:head] < 128).any()  # there is text
    for number, id in enumerate(ids):
        row = poster[head + 4 + number * (height + 4) :][:height]
        assert (row[:, :width] == WORLD.image(id)).all()
        assert (row[:, 2 * (width + 4) :][:, :width] == CLASSES.colours[0]).all()
        assert (row[:, 3 * (width + 4) :][:, :width] == CLASSES.colours[3]).all()
        assert (row[:, 4 * (width + 4) :] == colourise(WORLD.label(id), CLASSES)).all()
