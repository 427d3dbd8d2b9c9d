"""Criteria: what they have in common, and diversity with difficulty against its definition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.config import validate
from fathomseg.data.cache import Cache
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.labelled import Labels
from fathomseg.depth_sources import DisparityMaps
from fathomseg.errors import FathomError
from fathomseg.selection import Coverage, Difficulty, Diversity, DiversityAndDifficulty, Random
from fathomseg.selection.base import Criterion
from fathomseg.selection.difficulty import IgnoredRegions, Student, StudentError, TeacherMaps
from fathomseg.selection.features import EncoderFeatures
from fathomseg.selection.pool import Pool, readable
from tests.selection.pools import ENCODER, SIZE, camvid, pool

TEACHER = {"name": "dataset"}
IMAGES = 14


def fake_errors(ids: Sequence[str], labelled: Sequence[str], stage: int) -> np.ndarray:
    """A student's errors that depend on what it learned from, and on the id."""
    seeds = [[*id.encode(), stage, *"".join(sorted(labelled)).encode()] for id in ids]
    return np.array([np.random.default_rng(seed).random() for seed in seeds], np.float32)


class FakeStudentError(StudentError):
    """Judges by `fake_errors` instead of training."""

    def errors(self, labelled: Sequence[str], stage: int) -> np.ndarray:
        return fake_errors(self.pool.ids, labelled, stage)


def fake_student_error(cls: type[StudentError], pool: Pool, *settings: object) -> StudentError:
    return FakeStudentError(pool, Student(), IgnoredRegions(), TeacherMaps(DisparityMaps({}, SIZE), IgnoredRegions()))


@pytest.fixture(autouse=True)
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudentError, "of", classmethod(fake_student_error))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return camvid(tmp_path_factory.mktemp("camvid"), images=IMAGES)


def criteria() -> list[Criterion]:
    examined: dict[str, Any] = {"teacher": TEACHER, "first_stage": 4}
    return [
        Random(),
        validate(Diversity, {"features": ENCODER}),
        validate(Diversity, {"features": ENCODER, "start": "random"}),
        validate(Difficulty, examined),
        validate(DiversityAndDifficulty, {"features": ENCODER, **examined}),
        validate(Diversity, {"features": ENCODER, "compare": "cells"}),
        validate(DiversityAndDifficulty, {"features": ENCODER, "compare": "cells", **examined}),
        validate(Coverage, {"features": ENCODER}),
        validate(Coverage, {"features": ENCODER, "compare": "cells", "start": "random"}),
    ]


def _name(criterion: Criterion) -> str:
    return "-".join([criterion.name, *(str(getattr(criterion, key, "")) for key in ("start", "compare"))])


every = pytest.mark.parametrize("criterion", criteria(), ids=_name)


@every
@pytest.mark.parametrize("known", [0, 1, 6])
def test_contract(criterion: Criterion, known: int, data: CamVid, tmp_path: Path) -> None:
    """Distinct ids, none labelled already; budgets nest; every choice says why."""
    images = pool(data, tmp_path, already=tuple(sorted(data.ids("train")[3 : 3 + known])))
    most = IMAGES - known
    answers = {budget: criterion.choose(images, budget).choices for budget in (1, 5, 7, most)}
    ids = [choice.id for choice in answers[most]]
    assert sorted([*ids, *images.already]) == list(images.ids)
    for budget, choices in answers.items():
        assert choices == answers[most][:budget]
    assert [choice.rank for choice in answers[most]] == list(range(1, most + 1))
    assert all(choice.reason.endswith(".") for choice in answers[most])
    assert validate(type(criterion), criterion.model_dump(mode="json")) == criterion
    for budget in (0, most + 1):
        with pytest.raises(FathomError, match=f"budget is {budget}.*1 to {most}"):
            criterion.choose(images, budget)


@every
def test_the_order_of_the_pool_does_not_matter(criterion: Criterion, data: CamVid, tmp_path: Path) -> None:
    shuffled = list(data.ids("train"))
    np.random.default_rng(5).shuffle(shuffled)
    good, _ = readable(Cache(data, SIZE), shuffled)
    one = pool(data, tmp_path / "a")
    other = Pool(one.cache, tuple(good), (), tmp_path / "b", device="cpu")
    assert criterion.choose(one, 6).choices == criterion.choose(other, 6).choices


def test_a_random_choice_is_that_of_labels_count(data: CamVid, tmp_path: Path) -> None:
    for seed in (0, 3):
        chosen = Random().choose(pool(data, tmp_path, seed=seed), 5).choices
        assert sorted(choice.id for choice in chosen) == list(Labels(count=5, seed=seed).choose(data, "train", seed=9))


def test_both_equals_its_definition(data: CamVid, tmp_path: Path) -> None:
    """Stages of 4 and 8 images: within each, distance + lambda * error in float64, lambda from the spreads."""
    criterion = validate(
        DiversityAndDifficulty, {"features": ENCODER, "teacher": TEACHER, "first_stage": 4, "weight": 1.5}
    )
    images = pool(data, tmp_path)
    answer = criterion.choose(images, 12)
    assert answer.features is not None
    points = answer.features.matrix.astype(np.float64)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    taken = [int(np.linalg.norm(points - points.mean(0), axis=1).argmin())]
    bonus = np.zeros(IMAGES)
    while len(taken) < 12:
        left = [i for i in range(IMAGES) if i not in taken]
        distance = apart[:, taken].min(1)
        if len(taken) in (4, 8):
            errors = fake_errors(images.ids, [images.ids[i] for i in taken], len(taken) // 4).astype(np.float64)
            bonus = 1.5 * distance[left].std() / errors[left].std() * errors
        taken.append(max(left, key=lambda i: distance[i] + bonus[i]))
    assert [choice.id for choice in answer.choices] == [images.ids[i] for i in taken]
    assert set(answer.choices[3].scores) == {"diversity"}
    assert set(answer.choices[4].scores) == {"diversity", "difficulty"}
    diverse = Diversity(features=criterion.features).choose(images, 12).choices
    assert [c.id for c in diverse[:4]] == [c.id for c in answer.choices[:4]]
    assert [c.id for c in diverse] != [c.id for c in answer.choices]


def test_difficulty_takes_the_worst_of_every_stage(data: CamVid, tmp_path: Path) -> None:
    criterion = validate(Difficulty, {"teacher": TEACHER, "first_stage": 4})
    images = pool(data, tmp_path, seed=2)
    choices = criterion.choose(images, 7).choices
    first = [choice.id for choice in Random().choose(images, 4).choices]
    assert [choice.id for choice in choices[:4]] == first
    errors = dict(zip(images.ids, fake_errors(images.ids, first, 1).tolist(), strict=True))
    worst = sorted((id for id in images.ids if id not in first), key=lambda id: -errors[id])
    assert [choice.id for choice in choices[4:]] == worst[:3]
    assert choices[4].scores == {"difficulty": errors[worst[0]]}


@given(st.integers(0, 200), st.integers(1, 200), st.integers(2, 60))
def test_stages_double_and_do_not_depend_on_where_they_end(begin: int, count: int, first: int) -> None:
    stages = list(validate(Difficulty, {"teacher": TEACHER, "first_stage": first}).stages(begin, begin + count))
    assert stages[-1][1] == begin + count
    for number, end in stages[:-1]:
        assert end == first * 2**number
    assert [number for number, _ in stages] == list(range(stages[0][0], stages[-1][0] + 1))
    assert (stages[0][0] == 0) == (begin < first)


def test_the_choice_goes_on_from_what_is_labelled(data: CamVid, tmp_path: Path) -> None:
    """Diversity's answer for 3 and then, with those labelled, for 4 is its answer for 7."""
    criterion = criteria()[1]
    at_once = [choice.id for choice in criterion.choose(pool(data, tmp_path), 7).choices]
    later = pool(data, tmp_path, already=tuple(sorted(at_once[:3])))
    assert [choice.id for choice in criterion.choose(later, 4).choices] == at_once[3:]


def test_cells_say_which_part_is_new(data: CamVid, tmp_path: Path) -> None:
    """The part is the cell of the grid, here one of two halves, whose nearest cell in any image before is farthest."""
    criterion = validate(Diversity, {"features": ENCODER, "compare": "cells"})
    answer = criterion.choose(pool(data, tmp_path), 6)
    assert answer.features is not None
    halves = answer.features.matrix.astype(np.float64).reshape(IMAGES, -1, 2)
    row = {id: i for i, id in enumerate(answer.features.ids)}
    assert answer.choices[0].part is None
    for number, choice in enumerate(answer.choices[1:], 1):
        before = halves[[row[c.id] for c in answer.choices[:number]]]
        apart = np.linalg.norm(before[..., None] - halves[row[choice.id]][None, :, None], axis=1).min((0, 1))
        column = int(apart.argmax())
        assert choice.part == (0.0, column / 2, 1.0, (column + 1) / 2)
        assert choice.distance == pytest.approx(apart[column])
        assert f"1 of 1 down, {column + 1} of 2 across" in choice.reason


@pytest.mark.slow
def test_near_duplicates_are_not_chosen_before_every_place_is(tmp_path: Path) -> None:
    """Six drives of three frames a tenth of a metre apart: the first six images are of six drives."""
    streets = Streets(size=(64, 128), train_clips=6, frames=3, step=0.1)
    ids = tuple(streets.ids("train"))
    images = Pool(Cache(streets, (64, 128)), ids, (), tmp_path, device="cpu", threads=1)
    choices = Diversity(features=EncoderFeatures()).choose(images, 7).choices
    assert len({choice.id.split("/")[1] for choice in choices[:6]}) == 6
    assert choices[5].distance is not None
    assert choices[6].distance is not None
    assert choices[5].distance > 1.3 * choices[6].distance
    drawn = [choice.id.split("/")[1] for choice in Random().choose(images, 6).choices]
    assert len(set(drawn)) < 6
