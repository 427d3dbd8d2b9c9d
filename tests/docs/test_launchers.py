"""The torchrun lines that pages print, as they are printed, by two processes on this machine."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fathomseg.named_recipes import find
from tests.docs.markdown import PAGES, name
from tests.small_recipes import ENCODER, SMALL, STREETS
from tests.stages.ranks import free_ports


def launches() -> Iterator[tuple[str, str]]:
    """Page and command, continued lines as one."""
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            if line.strip().startswith("torchrun "):
                yield name(page), line.strip()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("page", "command"), list(launches()))
def test_two_processes_train_by_the_line_of_a_page(page: str, command: str, tmp_path: Path) -> None:
    """Two machines are two agents of torchrun, which meet at the address that the page calls FIRST."""
    words = shlex.split(command.replace("FIRST:29400", f"127.0.0.1:{free_ports(1)[0]}"))
    machines = int(words[words.index("--nnodes") + 1]) if "--nnodes" in words else 1
    words[words.index("--nproc-per-node") + 1] = str(2 // machines)
    recipe = find("streets")
    words = [str(recipe) if word.startswith("RECIPE") else word for word in words if word != "..."]
    if "--out" not in words:
        words += ["--out", "runs/big"]
    words += [*SMALL, *ENCODER, *STREETS, "train.steps=2", "streams.labelled.labels.count=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *words[1:]],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(machines)
    ]
    said = [agent.communicate(timeout=500)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * machines, (page, command, said)
    out = tmp_path / words[words.index("--out") + 1]
    assert (out / "model.safetensors").is_file(), said


def test_pages_print_both_ways() -> None:
    """One machine, and several: else the test above would pass without a run."""
    assert {"--nnodes" in command for _, command in launches()} == {False, True}
