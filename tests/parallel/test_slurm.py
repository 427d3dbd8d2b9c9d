"""Jobs of Slurm, whose commands are fake ones: they run, fail in the words of their program, and stop when asked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg.errors import FathomError
from fathomseg.parallel import open_engine
from fathomseg.study.folder import JobFolder
from fathomseg.study.runner import Runner
from tests.parallel import fake_slurm
from tests.study.fake_study import STEPS, job
from tests.study.test_runner import ROOT, notes, until


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("submitit", reason="needs the extra cluster")
    monkeypatch.chdir(ROOT)
    return fake_slurm.install(tmp_path, monkeypatch)


@pytest.mark.slow
def test_jobs_run_fail_and_stop(jobs: Path, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    work = [job(folder, "good", 0.0), job(folder, "bad", 0.0, "fail"), job(folder, "long", 0.05, steps=5000)]
    with open_engine("slurm", tmp_path / "submitit") as engine:
        doing = Runner(folder, work, poll_s=0.05, program="tests.study.fake_train", engine=engine, gpus=1)
        doing.start(engine.room(1))
        until(lambda: not doing.wait() and doing.running() == {"long"} and "long from 0" in notes(tmp_path))
        doing.stop()
        until(doing.wait)
    assert folder.records(["good", "bad", "long"]).keys() == {"good"}
    assert folder.record("good")["miou"] == 50 + STEPS  # type: ignore[index]
    assert folder.failures(["good", "bad", "long"]) == {"bad": "the images are too green\n  label them again"}
    assert (folder.run("long") / "checkpoint.pt").is_file()
    assert "#SBATCH --gpus-per-node=1" in (jobs / "1" / "script").read_text()


def test_gpus_are_asked_for_whole_and_in_words(jobs: Path) -> None:
    with open_engine("slurm") as engine:
        assert [engine.job_share(asked) for asked in (0, 1)] == [0, 1]
        for asked, words in ((None, "nodes that are not known here"), (0.5, "gives whole GPUs"), (2, "uses one")):
            with pytest.raises(FathomError, match=rf"{words}.*--gpus 1, or --gpus 0"):
                engine.job_share(asked)


def test_what_is_missing_is_told(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_engine("slurm") as engine, pytest.raises(FathomError, match="start Ray inside a job of Slurm"):
        engine.actor(object)
    monkeypatch.delenv("SBATCH_TIMELIMIT")
    with pytest.raises(FathomError, match="export SBATCH_TIMELIMIT=4:00:00"):
        open_engine("slurm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FathomError, match="no sbatch here"):
        open_engine("slurm")
