"""Runs a program that ends when its parent does: `python -m fathomseg.study.tether MODULE [ARGUMENT]...`.

The parent keeps the other end of standard input open. When it closes it, or dies of whatever, the program gets SIGTERM,
as which a training takes it to save a checkpoint and leave, and after `GRACE_S` it is ended. So no training goes on
without a process that keeps its claim: GRACE_S is well below the age at which a claim counts as left behind.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from typing import Final

GRACE_S: Final = 60.0


def main() -> None:
    """Call `main()` of the module named first, with the other arguments as its command line."""
    _, module, *arguments = sys.argv
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
