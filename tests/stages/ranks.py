"""What each process of test_two_processes.py runs: commands of the command line, one after the other.

Starting processes costs more than all they do, so the tests share them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from fathomseg.cli import app


def main(folder: Path) -> None:
    """Run the commands of commands.json; what number N says on standard output goes into said.RANK.N.

    The processes meet at the port given with each command, since torchrun's own meeting place serves only once.
    """
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    for number, (port, arguments) in enumerate(json.loads((folder / "commands.json").read_text())):
        os.environ["MASTER_PORT"] = str(port)
        with (folder / f"said.{os.environ['RANK']}.{number}").open("w") as file, redirect_stdout(file):
            app(arguments, standalone_mode=False)


def free_ports(count: int) -> list[int]:
    """Ports at which nothing listens."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def launched(folder: Path, timeout: float, program: str = __file__) -> str:
    """Run a program (this one) on two processes, with the folder as its argument, and return what it says as errors."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [*launcher, program, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]))
