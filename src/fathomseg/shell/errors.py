"""Errors of the command line: a message if the user can fix it, a traceback if it is a bug of ours."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from fathomseg.errors import FathomError
from fathomseg.io.ranks import is_first

_PATIENCE_S: Final = 5.0
"""How long a process that is not the one to speak waits before it does."""


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Errors the user can fix are printed without a traceback; the exit status is 2."""
    try:
        yield
    except FathomError as error:
        _stop(str(error))
    except OSError as error:
        if error.strerror is None:  # not of the system: a fault of ours
            raise
        _stop(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    except RuntimeError as error:
        if not (_started_by_torchrun() and any(word in str(error).lower() for word in ("gloo", "nccl", "connection"))):
            raise
        _stop(f"Another process of this run stopped: {str(error).splitlines()[0]}", second=True)


def _started_by_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _stop(message: str, second: bool = False) -> NoReturn:
    """Print an error and end; of the processes of torchrun the first to stop, or process 0, speaks for all.

    The others wait for torchrun to end them, which it does when one has stopped.
    """
    if _started_by_torchrun() and (second or not is_first()):
        time.sleep(_PATIENCE_S)
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2) from None
