"""Difficulty by its formula, students that are trained once and resumed, and what they are shown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.config import validate
from fathomseg.depth_sources import RunDepth
from fathomseg.engine.guard import Interrupted
from fathomseg.engine.loop import Trainer
from fathomseg.errors import ConfigError, FathomError
from fathomseg.selection.difficulty import IgnoredRegions, Student, StudentError
from fathomseg.selection.pool import Pool
from tests.selection.pools import STUDENT, camvid, pool
from tests.stages.saved_run import save_depth_run


def in_loops(student: np.ndarray, teacher: np.ndarray, ignored_regions: IgnoredRegions) -> float:
    height, width = teacher.shape
    reach, total = ignored_regions.dilation // 2, 0.0
    for y in range(height):
        for x in range(width):
            around = teacher[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            own_car = y >= height - round(ignored_regions.hood * height)
            if not (own_car or math.isnan(teacher[y, x]) or (around < ignored_regions.far).any()):
                total += abs(math.log(1 + student[y, x]) - math.log(1 + teacher[y, x]))
    return total / (height * width)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 3, 7]), st.floats(0, 0.9), st.sampled_from([0.0, 0.02]))
def test_equals_the_formula_in_loops(seed: int, dilation: int, hood: float, far: float) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.random((2, 2, 1, 9, 11)).astype(np.float32)
    teacher[rng.random(teacher.shape) < 0.05] = np.nan
    ignored_regions = IgnoredRegions(far=far, dilation=dilation, hood=hood)
    found = ignored_regions.error(torch.from_numpy(student), torch.from_numpy(teacher))
    expected = [in_loops(student[i, 0], teacher[i, 0], ignored_regions) for i in range(2)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_the_papers_rows_and_an_even_square() -> None:
    assert IgnoredRegions().first_row(512) == 445  # 0.87 of 512 is 445.4
    assert IgnoredRegions(hood=0).first_row(512) == 512
    with pytest.raises(ConfigError, match="odd"):
        validate(IgnoredRegions, {"dilation": 4})


@pytest.fixture
def examined(tmp_path: Path) -> Pool:
    return pool(camvid(tmp_path / "camvid", images=6), tmp_path / "stages")


@pytest.fixture
def student_error(examined: Pool, tmp_path: Path) -> StudentError:
    run = save_depth_run(tmp_path / "run", {"name": "streets"}, pose=False)
    return StudentError.of(examined, RunDepth(run=run), validate(Student, STUDENT), IgnoredRegions(dilation=1))


def test_the_student_does_not_learn_the_car_itself(student_error: StudentError) -> None:
    disparity = student_error.teacher(student_error.pool.ids[0])
    assert disparity.shape == (32, 64)
    assert np.isnan(disparity[28:]).all()
    assert np.isfinite(disparity[:28]).all()
    assert disparity[:28].std() > 0


def test_a_stage_is_done_once(student_error: StudentError, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = student_error.pool.ids
    errors = student_error.errors([ids[2], ids[0]], 1)
    assert errors.shape == (6,)
    assert len(set(errors.tolist())) == 6
    assert (errors > 0).all()
    monkeypatch.setattr(Trainer, "run", None)
    np.testing.assert_array_equal(student_error.errors([ids[0], ids[2]], 1), errors)
    monkeypatch.undo()
    assert (student_error.errors([ids[1], ids[3]], 1) != errors).any(), "other images teach something else"


def test_a_later_student_learns_longer(student_error: StudentError) -> None:
    student_error.errors(list(student_error.pool.ids[:4]), 3)
    lines = (student_error.pool.folder / "000004" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 9


def test_an_interrupted_student_goes_on(student_error: StudentError, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = list(student_error.pool.ids[:3])
    whole = student_error.errors(ids, 2)
    for path in (student_error.pool.folder / "000003").iterdir():
        if path.is_file():
            path.unlink()
    step, done = Trainer._step, []

    def interrupted(self: Trainer, number: int, batches: object) -> None:
        step(self, number, batches)  # type: ignore[arg-type]
        done.append(number)
        if len(done) == 2:
            self.step_done = number + 1
            self.save()
            raise Interrupted(130)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    with pytest.raises(Interrupted):
        student_error.errors(ids, 2)
    np.testing.assert_array_equal(student_error.errors(ids, 2), whole)
    assert done == [0, 1, 2, 3, 4, 5]


def test_a_student_that_diverges_says_so(student_error: StudentError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IgnoredRegions, "error", lambda self, student, teacher: torch.full((len(student),), math.nan))
    with pytest.raises(FathomError, match="student gives NaN"):
        student_error.errors(student_error.pool.ids[:2], 1)
