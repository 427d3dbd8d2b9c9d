"""What a resumed run may be told anew, and on which device a run is scored."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from fathomseg.data.labelled import Labels
from fathomseg.errors import ConfigError, FathomError
from fathomseg.evaluation.ranks import processes
from fathomseg.inference.card import load_card
from fathomseg.training import run_folder
from fathomseg.training.run_folder import begin, labelled_ids, origin, own_data, own_device, refuse_changes, reopen


@pytest.mark.parametrize(
    "setting",
    [
        "data.root=elsewhere",
        "data.datasets.town.root=elsewhere",
        "streams.clips.data.root=elsewhere",
        "streams.unlabelled.data.datasets.my-town.root=elsewhere",
        "train.device=cpu",
    ],
)
def test_where_things_lie_and_run_may_change(setting: str) -> None:
    refuse_changes([setting])


@pytest.mark.parametrize(
    "setting",
    [
        "data.name=camvid",
        "data.datasets.town.name=kitti",
        "data.datasets.root=x",
        "clips.data.root=x",
        "streams.clips.root=x",
        "train.deviceful=cpu",
        "seed=1",
    ],
)
def test_what_is_learned_may_not(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} cannot be given; only data.root, .* the root of each dataset"):
        refuse_changes(["data.root=elsewhere", setting])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("train: {device: cpu}\n", "cpu"), ("train: {device: cuda}\n", "cuda"), ("train: {}\n", "auto"), (None, "auto")],
)
def test_the_device_of_a_run(tmp_path: Path, text: str | None, wanted: str) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    assert own_device(tmp_path) == wanted


@pytest.mark.parametrize(("wanted", "device"), [("cpu", "cpu"), ("auto", "cuda"), ("cuda", "cuda")])
def test_a_run_on_the_cpu_is_scored_there(monkeypatch: pytest.MonkeyPatch, wanted: str, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes(wanted) as found:
        assert found.type == device


def test_only_what_a_failed_run_has_left_makes_way(tmp_path: Path) -> None:
    """Its own files, as long as nobody has changed them; a folder with anything else is kept."""
    run = tmp_path / "run"
    begin(run, Labels(), {"mine": ["a"], "other": ["b"]}, Accelerator(cpu=True))
    begin(run, Labels(), {"other": ["a", "b"]}, Accelerator(cpu=True))
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert names == {"config.yaml", "origin.json", "other.txt"}
    assert labelled_ids(run, ["other", "clips"]) == {"other": ("a", "b")}
    (run / "other.txt").write_text("a\n# b is blurred\n")
    with pytest.raises(FathomError, match=r"exists and is not empty: other\.txt"):
        begin(run, Labels(), {}, Accelerator(cpu=True))
    assert "blurred" in (run / "other.txt").read_text()
    assert (run / "config.yaml").is_file()


@pytest.mark.parametrize("name", ["config.yaml", "labelled.txt", "notes/mine.txt", ".hidden"])
def test_a_users_files_are_kept_whatever_they_are_called(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(FathomError, match=r"exists and is not empty: .* use an empty folder"):
        begin(tmp_path, Labels(), {"labelled": ["a"]}, Accelerator(cpu=True))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_that_has_trained_is_not_begun_again(tmp_path: Path) -> None:
    begin(tmp_path, Labels(), {}, Accelerator(cpu=True))
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(FathomError, match=r"it is a run\. Resume it"):
        begin(tmp_path, Labels(), {}, Accelerator(cpu=True))
    (tmp_path / "file").write_text("")
    spaced = tmp_path / "my run"
    spaced.mkdir()
    (spaced / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(FathomError, match=r"Resume it \(--resume '/.*/my run'\)"):
        begin(spaced, Labels(), {}, Accelerator(cpu=True))
    with pytest.raises(FathomError, match="is a file"):
        begin(tmp_path / "file", Labels(), {}, Accelerator(cpu=True))


def test_a_folder_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    """In the same words, whoever asks for it."""
    for ask in (own_data, load_card):
        with pytest.raises(FathomError, match=r"^There is no run .*nope\. Give a folder written by `fathom train`"):
            ask(tmp_path / "nope")
    with pytest.raises(FathomError, match=r"^There is no choice .*nope\. Give the folder"):
        reopen(tmp_path / "nope", "choice")


@pytest.mark.parametrize("file", ["cli.py", "__main__.py"])
def test_the_command_is_named_as_the_user_knows_it(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(str(run_folder.__file__)).parents[1]
    monkeypatch.setattr(sys, "argv", [str(package / file), "train", "data.root=my data"])
    assert origin()["command"] == ["fathom", "train", "data.root=my data"]
    monkeypatch.setattr(sys, "argv", ["/home/me/cli.py"])
    assert origin()["command"] == ["cli.py"]
