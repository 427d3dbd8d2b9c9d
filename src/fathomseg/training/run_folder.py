"""The folder of one run: its settings, labels and machine, so that it can be resumed and reproduced."""

from __future__ import annotations

import json
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fathomseg.config import Part, read_yaml
from fathomseg.engine.checkpoint import FILE as CHECKPOINT
from fathomseg.engine.logging import METRICS
from fathomseg.engine.trackers import BOARD, TRACKED
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import no_run
from fathomseg.inference.onnx import is_onnx, read_metadata
from fathomseg.io.files import CONFIG, write_config
from fathomseg.io.owned import foreign, own, remove_own
from fathomseg.text import read_text
from fathomseg.version import __version__

if TYPE_CHECKING:
    import accelerate

ORIGIN = "origin.json"
IDS = "{}.txt"
"""The ids whose labels a stream may use, one per line, by the stream's name: labelled.txt."""

FRAMES = "frames-{}.csv"
"""The frames chosen for a stream that learns from neighbouring ones."""


CHANGEABLE = ("data.root", "train.device", "train.workers", "train.threads", "train.save_every", "train.compile")
"""Settings that may be given again when a run is resumed: they do not change what is learned."""

_ROOT = re.compile(r"(streams\.[^.]+\.)?data\.(datasets\.[^.]+\.)?root")
"""Where data lies, of every stream and of every dataset among several."""


def begin(
    folder: Path, recipe: Part, labelled: Mapping[str, Sequence[str]], accelerate: accelerate.Accelerator
) -> None:
    """Create the run folder and write down its recipe, where it ran, and by stream the ids whose labels it uses.

    Never overwrites a run nor anything the program has not written, but takes the place of a run that failed before its
    first step.
    """
    if accelerate.is_main_process:
        _make_way(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_config(recipe, folder / CONFIG)
        for stream, ids in labelled.items():
            (folder / IDS.format(stream)).write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")
        (folder / ORIGIN).write_text(json.dumps(origin(), indent=2) + "\n", encoding="utf-8")
        own(folder, [CONFIG, ORIGIN, *(IDS.format(stream) for stream in labelled)])
        own(folder, [METRICS, f"{BOARD}/*", TRACKED], grows=True)
    accelerate.wait_for_everyone()


def _make_way(folder: Path) -> None:
    """Remove what a run has left that failed before its first step. Raises `FathomError` for anything else there."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FathomError(f"{folder} is a file. Give the name of a new folder (--out).")
    resume = f"--resume {shlex.quote(str(folder))}"
    if (folder / METRICS).is_file() or (folder / CHECKPOINT).is_file():
        found = f"it is a run. Resume it ({resume})"
    elif others := foreign(folder):
        found = f"{others[0].relative_to(folder)} is not to be replaced. Resume it if it is a run ({resume})"
        found += ", use an empty folder"
    else:
        remove_own(folder)
        return
    raise FathomError(f"{folder} exists and is not empty: {found}, or give another folder (--out).")


def may_change(setting: str, changeable: Sequence[str] = CHANGEABLE) -> bool:
    """Whether a setting, by its dotted key, may be given again: a `changeable` one, or where data lies."""
    return setting in changeable or _ROOT.fullmatch(setting) is not None


def refuse_changes(overrides: Sequence[str], changeable: Sequence[str] = CHANGEABLE, what: str = "run") -> None:
    """Raise `ConfigError` for settings that what is resumed (`what`) cannot be given: neither `changeable` nor where
    data lies."""
    keys = {text: text.partition("=")[0].strip() for text in overrides}
    if foreign := [text for text, key in keys.items() if not may_change(key, changeable)]:
        raise ConfigError(
            f"A resumed {what} keeps its settings, so {', '.join(foreign)} cannot be given;"
            f" only {', '.join(changeable)} can (and the root of each dataset, if there are several)."
        )


def reopen(folder: Path, what: str = "run") -> Path:
    """The configuration file of an existing run, or choice (`what`). Raises `FathomError` if the folder is none."""
    path = folder / CONFIG
    if not folder.exists():
        raise FathomError(f"There is no {what} {folder}. Give the folder that the command wrote (--out).")
    if not path.is_file():
        raise FathomError(f"{folder} is not a run: it has no {CONFIG}. A run is the folder a training wrote (--out).")
    return path


def own_data(folder: Path) -> str:
    """The configuration that says which data a run was trained on; that of its run for an exported file.

    Raises `FathomError` if there is none.
    """
    if is_onnx(folder):
        run = Path(str(read_metadata(folder).get("origin", {}).get("run", "")))
        if (run / CONFIG).is_file():
            return str(run / CONFIG)
        raise FathomError(f"{folder} was exported from the run {run}, which is not here: say which data with --data.")
    if not folder.exists():
        raise FathomError(no_run(folder))
    if not (folder / CONFIG).is_file():
        raise FathomError(
            f"{folder} holds no {CONFIG} that says which data it was trained on. Give the folder of a run, or --data."
        )
    return str(folder / CONFIG)


def own_device(folder: Path) -> str:
    """`train.device` of a run; "auto" for a folder that does not say."""
    path = folder / CONFIG
    train = read_yaml(path).get("train") if path.is_file() else None
    return str(train.get("device", "auto")) if isinstance(train, dict) else "auto"


def labelled_ids(folder: Path, streams: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By stream the ids of the images whose labels the run may use, for the streams that have any."""
    files = {stream: folder / IDS.format(stream) for stream in streams}
    return {stream: tuple(read_text(file).split("\n")[:-1]) for stream, file in files.items() if file.is_file()}


def origin() -> dict[str, Any]:
    """When, where and by which command and code something was made."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [_program(Path(sys.argv[0])), *sys.argv[1:]],
        "commit": _commit(),
        "fathomseg": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def _program(path: Path) -> str:
    """The program's name; `fathom` for that of `python -m fathomseg` and `torchrun -m fathomseg.cli`."""
    return "fathom" if path.parent == Path(__file__).parents[1] and path.stem in {"cli", "__main__"} else path.name


def _commit() -> str | None:
    """The commit of the source tree this code runs from; None for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file():
        return None
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _processor() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
