"""What each process of test_two_processes.py runs: commands of the command line, one after the other.

Starting processes costs more than all they do, so the tests share them.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
