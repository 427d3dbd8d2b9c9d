"""The command line: readable errors, nothing undocumented. What the verbs do is tested in stages/."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import fathomseg
from fathomseg import cli

VERBS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def leave(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the command as the installed script does; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["fathom", *arguments])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return exit.value.code


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"fathom {fathomseg.__version__}\n"


@pytest.mark.parametrize("module", ["fathomseg", "fathomseg.cli"])
def test_python_runs_the_command_too(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fathomseg", "--version"])
    monkeypatch.delitem(sys.modules, module + (".__main__" if module == "fathomseg" else ""), raising=False)
    with pytest.raises(SystemExit) as exit:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"fathom {fathomseg.__version__}\n"


def test_nothing_at_all_shows_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    leave(monkeypatch)
    captured = capsys.readouterr()
    assert all(f"  {verb} " in captured.out + captured.err for verb in VERBS)


@pytest.mark.parametrize(
    "arguments", [("tarin",), ("demo", "--hours", "2"), ("predict", "run"), ("demo", "--minutes", "x")]
)
def test_what_is_no_command_is_refused_in_one_line(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "Usage: fathom" in said
    assert "Error: " in said.splitlines()[-1]
    assert "Traceback" not in said


def test_an_unknown_verb_names_the_nearest_or_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(monkeypatch, "tarin") == 2
    assert "No such command 'tarin'. Did you mean train?" in capsys.readouterr().err
    assert leave(monkeypatch, "init") == 2
    assert f"No such command 'init'. There are: {', '.join(VERBS)}." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "{}/nowhere.yaml"), "nowhere.yaml"),
        (("train", "own-dta", "data.root={}"), "Did you mean own-data"),
        (("study", "studies/streetz"), "Did you mean studies/streets"),
        (("select", "selekt-streets"), "Did you mean select-streets"),
        (("recipes", "no-such-word"), "No recipe has 'no-such-word'"),
        (("check",), "Say which data: `fathom check DATA`"),
        (("check", "streets", "--data", "camvid"), "The data is given twice: streets and --data camvid"),
        (("train", "--resume", "{}"), "is not a run: it has no config.yaml"),
        (("train",), "Give either a recipe"),
        (("train", "--resume", "{}", "--out", "{}/other"), "other is not used: --resume goes on"),
        (("select", "--resume", "{}", "--out", "{}/other"), "other is not used: --resume goes on"),
        (("check", "--data", "camvid", "dta.root={}"), "dta: unknown key; there is"),
        (("evaluate", "{}"), "holds no config.yaml"),
        (("predict", "{}", "{}", "--out", "{}/out"), "holds no model"),
        (("check", "--data", "{}/nothing"), "nothing"),
        (("import-labels", "{}/job.zip", "--selection", "{}", "--to", "{}/new"), "job.zip. Give the file that CVAT"),
        (("demo", "--minutes", "0"), "give a positive number"),
    ],
)
def test_an_error_of_the_user_is_printed_without_a_traceback(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert leave(monkeypatch, *(argument.format(tmp_path) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert re.match(r"(fathom [a-z-]+: loading PyTorch \.\.\.\n)?error: ", captured.err)
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_every_option_is_explained(verb: str) -> None:
    assert VERBS[verb].help
    assert [parameter.name for parameter in VERBS[verb].params if not parameter.help] == []
    shown = CliRunner().invoke(cli.app, [verb, "--help"])
    assert shown.exit_code == 0
    options = [name for parameter in VERBS[verb].params for name in parameter.opts if name.startswith("--")]
    assert options
    assert [name for name in options if name not in shown.output] == []
