"""What classes say about depth: known answers on label maps made by hand, slow oracles in float64, and a contract."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from fathomseg.config import validate
from fathomseg.errors import FathomError
from fathomseg.losses.class_groups import GROUND, MOVING, indices, members
from fathomseg.losses.guidance import AnyGuidance
from fathomseg.losses.guidance.base import Guidance, Seen
from fathomseg.losses.guidance.contact import GroundContact, contact, foot
from fathomseg.losses.guidance.ranking import Points, Ranking, ranking, sample
from fathomseg.losses.guidance.sky import SkyIsFar, inner
from fathomseg.losses.guidance.smoothness import semantic_smoothness
from fathomseg.losses.guidance.triplet import triplet
from fathomseg.types import IGNORE, ClassList

NAMES = ("road", "building", "sky", "car")
CLASSES = ClassList(NAMES, ((0, 0, 0),) * 4)
TERMS: list[Guidance] = [kind() for kind in get_args(get_args(AnyGuidance)[0])]
EVERY = pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(*rows: str) -> Tensor:
    """One image; a character a pixel, `?` = not known."""
    return torch.tensor([[[IGNORE if c == "?" else int(c) for c in row] for row in rows]], dtype=torch.uint8)


def seen(label: Tensor, disparity: Tensor | None = None, levels: tuple[int, ...] = ()) -> Seen:
    size = label.shape[1:]
    d = 0.1 + 0.5 * noise(len(label), 1, *size) if disparity is None else disparity
    maps = {i: noise(len(label), 6, size[0] >> i, size[1] >> i, seed=i).requires_grad_() for i in levels}
    return Seen(d, 9.99 * d + 0.01, label, torch.ones(label.shape, dtype=torch.float64), maps)


@EVERY
class TestEveryTerm:
    def test_settings_travel(self, term: Guidance) -> None:
        assert validate(type(term), term.model_dump()) == term

    def test_images_without_classes_give_the_same_terms_with_nothing_in_them(self, term: Guidance) -> None:
        torch.manual_seed(0)
        roles = term.indices(CLASSES)
        known = torch.randint(0, 4, (2, 32, 48), dtype=torch.uint8)
        whole = term(seen(known, levels=(3, 2, 1)), roles)
        d = noise(2, 1, 32, 48).requires_grad_()
        none = seen(torch.full_like(known, IGNORE), d, levels=(3, 2, 1))
        empty = term(none, roles)
        assert list(whole) == list(empty)
        for (total, count), _ in empty.values():
            assert (total.item(), count.item()) == (0, 0)
            total.backward(retain_graph=True)
        for tensor in (d, *none.maps.values()):
            assert tensor.grad is None or not tensor.grad.any()

    def test_confidence_counts(self, term: Guidance) -> None:
        if term.name == "triplet":
            pytest.skip("features are compared as they are")
        label = labels(*["1" * 8 + "2" * 16] * 8, *["1" * 8 + "3" * 8 + "2" * 8] * 8, *["0" * 24] * 8)
        one, half = seen(label), seen(label)
        half = Seen(half.disparity, half.inverse_depth, label, torch.full_like(half.confidence, 0.5))
        torch.manual_seed(0)
        ((first, count), _) = term(one, term.indices(CLASSES))[""]
        torch.manual_seed(0)
        ((second, other), _) = term(half, term.indices(CLASSES))[""]
        assert count == other
        assert float(first) > 0
        assert float(second / first) == pytest.approx(0.25 if term.name in ("ranking", "smoothness") else 0.5)


class TestRanking:
    WALL = labels(*["1" * 12 + "3" * 12] * 20)

    def test_points_lie_two_and_two_on_either_side_of_the_border(self) -> None:
        torch.manual_seed(0)
        points = sample(self.WALL, 30, reach=8)
        assert points.valid.any()
        found = self.WALL.flatten()[points.index[0][:, points.valid[0]]]
        assert (found[0] == found[1]).all()
        assert (found[2] == found[3]).all()
        assert (found[1] != found[2]).all()
        rows, columns = points.index // 24, points.index % 24
        inside = points.valid[0]
        assert (rows[0][:, inside] == rows[0][:1, inside]).all(), "across an upright border"
        away = (columns[0][:, inside] - 11.5).abs()
        assert (away[0] >= away[1]).all()
        assert (away[3] >= away[2]).all()
        assert away.max() <= 9
        assert away.max() > 4

    def test_a_border_of_the_unknown_is_none(self) -> None:
        torch.manual_seed(0)
        assert not sample(labels(*["1" * 12 + "?" * 12] * 20), 30, reach=8).valid.any()
        assert not sample(labels(*["1" * 24] * 20), 30, reach=8).valid.any()

    def test_the_value_of_a_step_by_hand(self) -> None:
        torch.manual_seed(0)
        depth = torch.full((1, 1, 20, 24), 5.0, dtype=torch.float64)
        depth[..., 12:] = 10.0
        points = sample(self.WALL, 30, reach=8)
        total, count = ranking(1 / depth, torch.ones(1, 20, 24), points, tolerance=0.1, margin=0.05)
        pairs = int(points.valid.sum())
        assert float(count) == 3 * pairs
        assert float(total) == pytest.approx(pairs * math.log(1 + 0.5))
        total, count = ranking(torch.ones_like(depth), torch.ones(1, 20, 24), points, tolerance=0.1, margin=0.05)
        assert (float(total), float(count)) == (0, 2 * pairs)

    def test_against_an_oracle(self) -> None:
        torch.manual_seed(0)
        points = sample(self.WALL, 30, reach=8)
        inverse, sure = 0.1 + noise(1, 1, 20, 24), noise(1, 20, 24, seed=1)
        total, pairs = 0.0, 0
        z, w = (1 / inverse).flatten().tolist(), sure.flatten().tolist()
        for n in range(30):
            if not points.valid[0, n]:
                continue
            a, b, c, d = points.index[0, :, n].tolist()
            for i, j in ((a, b), (c, d)):
                total += max(0.0, abs(math.log(z[i] / z[j])) - 0.05) ** 2 * w[i] * w[j]
                pairs += 1
            if max(z[b] / z[c], z[c] / z[b]) > 1.1:
                total += math.log(1 + min(z[b], z[c]) / max(z[b], z[c])) * w[b] * w[c]
                pairs += 1
        found, count = ranking(inverse, sure, points, 0.1, 0.05)
        assert float(found) == pytest.approx(total)
        assert float(count) == pairs

    def test_it_pulls_a_jump_apart_and_a_side_together(self) -> None:
        inverse = torch.tensor([[[[0.30, 0.25, 0.10, 0.12]]]], dtype=torch.float64, requires_grad=True)
        points = Points(torch.tensor([[[0], [1], [2], [3]]]), torch.ones(1, 1, dtype=torch.bool))
        ranking(inverse, torch.ones(1, 1, 4), points, 0.1, 10.0)[0].backward()
        assert inverse.grad is not None
        _, near, far, _ = inverse.grad.flatten().tolist()
        assert near < 0 < far, "descent brings b nearer and c farther"
        inverse.grad = None
        ranking(inverse, torch.ones(1, 1, 4), points, 99.0, 0.0)[0].backward()
        a, b, c, d = inverse.grad.flatten().tolist()  # type: ignore[union-attr]
        assert a > 0 > b
        assert c < 0 < d


def test_smoothness_against_an_oracle() -> None:
    inverse, sure = 0.1 + noise(2, 1, 5, 6), noise(2, 5, 6, seed=1)
    label = torch.tensor([[[0, 0, 1, 1, 255, 2]] * 5, [[i % 3] * 6 for i in range(5)]], dtype=torch.uint8)
    total, pairs = 0.0, 0
    for n in range(2):
        d = inverse[n, 0] / inverse[n].mean()
        for y in range(5):
            for x in range(6):
                for v, u in ((y, x + 1), (y + 1, x)):
                    if v >= 5 or u >= 6 or IGNORE in (int(label[n, y, x]), int(label[n, v, u])):
                        continue
                    factor = 1.0 if label[n, y, x] == label[n, v, u] else math.exp(-3)
                    total += float((d[y, x] - d[v, u]).abs() * factor * sure[n, y, x] * sure[n, v, u])
                    pairs += 1
    found, count = semantic_smoothness(inverse, label, label != IGNORE, sure, 3.0)
    assert float(found) == pytest.approx(total, rel=1e-6)
    assert float(count) == pairs / 2


def test_triplet_against_an_oracle() -> None:
    features = noise(1, 4, 7, 8) - 0.5
    label = torch.randint(0, 3, (1, 7, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    label[0, 0, :3] = IGNORE
    total, pixels = 0.0, 0
    unit = features[0] / features[0].norm(dim=0)
    for y in range(7):
        for x in range(8):
            same, other = [], []
            for v in range(max(0, y - 2), min(7, y + 3)):
                for u in range(max(0, x - 2), min(8, x + 3)):
                    if (v, u) == (y, x) or label[0, v, u] == IGNORE:
                        continue
                    distance = math.sqrt(2 - 2 * float(unit[:, y, x] @ unit[:, v, u]))
                    (same if label[0, v, u] == label[0, y, x] else other).append(distance)
            if label[0, y, x] == IGNORE or len(same) < 4 or len(other) < 4:
                continue
            total += max(0.0, sum(same) / len(same) - sum(other) / len(other) + 0.3)
            pixels += 1
    found, count = triplet(features, label)
    assert pixels > 10
    assert float(count) == pixels
    assert float(found) == pytest.approx(total)


def test_triplet_is_nothing_where_features_are_the_classes() -> None:
    label = labels(*["1" * 6 + "3" * 6] * 8)
    features = torch.stack([label[0] == 1, label[0] == 3])[None].double()
    total, count = triplet(features, label)
    assert float(count) > 0
    assert float(total) == pytest.approx(0, abs=1e-9)


def test_only_the_sky_is_pushed_away() -> None:
    label = labels("2211", "2??0")
    d = torch.full((1, 1, 2, 4), 0.2, dtype=torch.float64, requires_grad=True)
    term = SkyIsFar(margin=0)
    ((total, count), factor) = term(seen(label, d), term.indices(CLASSES))[""]
    assert total.item() == pytest.approx(3 * 0.9, rel=1e-5)  # d / mean(d) of three pixels, less a tenth
    assert (count.item(), factor) == (3, 1)
    total.backward()
    assert d.grad is not None
    assert torch.equal(d.grad[0, 0] > 0, label[0] == 2)
    assert d.grad.sum().item() == pytest.approx(0, abs=1e-5), "the scale of the image is left alone"
    far = torch.where(label == 2, 0.01, d.detach())[:, None, 0].requires_grad_()
    ((total, _), _) = term(seen(label, far), term.indices(CLASSES))[""]
    total.backward()
    assert total.item() == 0
    assert far.grad is not None
    assert not far.grad.any(), "what is far enough is not pushed on"


def test_sky_beside_something_else_is_left_alone() -> None:
    where = labels("22222", "22222", "22212") == 2
    assert inner(where, 0).equal(where)
    assert inner(where, 1)[0].tolist() == [
        [True] * 5,
        [True, True, False, False, False],
        [True, True, False, False, False],
    ]


class TestContact:
    LABEL = labels("2232", "1331", "1331", "0330", "0030", "0000", "0000")

    def test_the_foot_of_every_column_by_hand(self) -> None:
        row, there = foot(members(self.LABEL, (3,)), members(self.LABEL, (0,)), below=1)
        columns = [sorted({int(row[0, y, x]) for y in range(7) if there[0, y, x]}) for x in range(4)]
        assert columns == [[], [5], [6], []]
        assert torch.equal(there[0], self.LABEL[0] == 3)

    def test_what_ends_on_something_else_or_below_the_image_has_none(self) -> None:
        label = labels("3331", "3331", "1?31", "0031", "0031")
        _, there = foot(members(label, (3,)), members(label, (0,)), below=0)
        assert not there.any()

    def test_it_moves_what_stands_to_the_depth_of_the_ground_and_never_the_ground(self) -> None:
        inverse = torch.full((1, 1, 7, 4), 0.1, dtype=torch.float64)
        inverse[0, 0, 5], inverse[0, 0, 6] = 0.2, 0.4
        inverse.requires_grad_()
        row, there = foot(members(self.LABEL, (3,)), members(self.LABEL, (0,)), below=1)
        total, count = contact(inverse, row, there, torch.ones(1, 7, 4))
        assert count.item() == 8
        assert total.item() == pytest.approx(3 * math.log(2) + 5 * math.log(4))
        total.backward()
        assert inverse.grad is not None
        assert torch.equal(inverse.grad[0, 0] < 0, self.LABEL[0] == 3)
        along = (inverse.grad * inverse).sum().item()
        assert along == pytest.approx(0, abs=1e-4), "the scale of the image is left alone"

    def test_its_classes(self) -> None:
        assert GroundContact().indices(CLASSES) == {"standing": (3,), "ground": (0,)}
        assert GroundContact(classes=("building", "car")).indices(CLASSES)["standing"] == (1, 3)


class TestClasses:
    def test_names_are_matched_whatever_their_spelling(self) -> None:
        found = indices(None, MOVING, ClassList(("Living-Things", "road", "CAR"), ((0, 0, 0),) * 3), "x")
        assert sorted(found) == [0, 2]

    def test_a_name_that_is_not_there_and_a_list_without_any(self) -> None:
        with pytest.raises(FathomError, match=r"sky.classes has 'clouds', which is no class there; there is: road"):
            indices(("clouds",), ("sky",), CLASSES, "losses.sky.classes")
        with pytest.raises(FathomError, match="None of the classes a, b is one of road"):
            indices(None, GROUND, ClassList(("a", "b"), ((0, 0, 0),) * 2), "x")


def test_ranking_draws_are_those_of_the_generator() -> None:
    label = TestRanking.WALL
    torch.manual_seed(4)
    first = sample(label, 30, 8).index
    torch.manual_seed(4)
    assert torch.equal(first, sample(label, 30, 8).index)
    assert not torch.equal(first, sample(label, 30, 8).index)
    assert Ranking().reach < 1
