"""The run-time type checker of the tests: every annotation of fathomseg, shapes included, is checked at every call.

pyproject.toml hands `checked` to jaxtyping's pytest plugin. A test of the error that a wrong argument gives the user
makes its calls inside `unchecked()`, since the checker would refuse them first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""An int will do where a float is asked for, as PEP 484 says."""


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its arguments and its result checked."""
    try:
        return _check(function)
    except BeartypeDecorHintPep673Exception:
        return function  # it returns `Self`, which means nothing here: jaxtyping shows functions without their class


@contextmanager
def unchecked() -> Iterator[None]:
    """Calls as a user makes them, who has no type checker."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
