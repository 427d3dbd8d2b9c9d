"""The run-time type checker of the tests: every annotation of fathomseg, shapes included, is checked at every call.

jaxtyping's import hook decorates every function and class of the package with `jaxtyping.jaxtyped`. `install` puts
`jaxtyped` below in its place: beartype, made at the first call, and a table of axis sizes of its own for each call of a
function that names any. jaxtyping's own checks every argument twice and binds every call to its signature, arrays or
not.

A test of the error that a wrong argument gives the user makes its calls inside `unchecked()`, since the checker would
refuse them first.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Final

import jaxtyping
from beartype import BeartypeConf, beartype

_check: Final = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))
"""An int will do where a float is wanted, as PEP 484 says."""

_axes: Final = jaxtyping.jaxtyped
"""`_axes("context")`: what is called inside has a table of axis sizes of its own."""

_switch: Final = {"on": True}


def install() -> None:
    """Check whatever of fathomseg is imported from now on."""
    jaxtyping.jaxtyped = jaxtyped  # type: ignore[assignment]
    jaxtyping.install_import_hook("fathomseg", "beartype.beartype")


def jaxtyped(*, typechecker: object) -> Callable[[Any], Any]:
    """The decorator of every function and class; of classes only the `__init__` that a dataclass gets is checked."""

    def decorate(thing: Any) -> Any:
        if not isinstance(thing, type):
            return _Checked(thing).wrapper()
        if "__dataclass_fields__" in vars(thing):
            thing.__init__ = _Checked(thing.__init__).wrapper()  # type: ignore[misc]
        return thing

    return decorate


class _Checked:
    """A function whose checks are made when it is called first: most of them never are in one process."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.plain = function
        self.checked: Callable[..., Any] | None = None
        self.axes = False

    def wrapper(self) -> Callable[..., Any]:
        @functools.wraps(self.plain)
        def call(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if not _switch["on"]:
                return self.plain(*args, **kwargs)
            checked = self.checked or self.made()
            if not self.axes:
                return checked(*args, **kwargs)
            with _axes("context"):
                return checked(*args, **kwargs)

        return call

    def made(self) -> Callable[..., Any]:
        hints = _hints(self.plain)
        self.plain.__annotations__ = hints
        self.axes = any(map(_is_array, hints.values()))
        self.checked = _check(self.plain)
        return self.checked


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function without those whose names are not known at run time: imported for type checkers
    alone, or local to another function."""
    found = {}
    for name, hint in function.__annotations__.items():
        try:
            value = eval(hint, function.__globals__) if isinstance(hint, str) else hint
        except (NameError, AttributeError):
            continue
        if value is not typing.Self and not isinstance(value, FunctionType):  # no class known here; replaced by a test
            found[name] = value
    return found


def _is_array(hint: Any) -> bool:
    inside = typing.get_args(hint)
    return (isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)) or any(map(_is_array, inside))


@contextmanager
def unchecked() -> Iterator[None]:
    """Calls as a user makes them, who has no type checker."""
    _switch["on"] = False
    try:
        yield
    finally:
        _switch["on"] = True
