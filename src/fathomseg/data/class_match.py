"""Classes of one dataset as classes of another: matched by their names, or by a mapping where the names differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from jaxtyping import UInt8
from pydantic import BeforeValidator

from fathomseg.config import read_yaml
from fathomseg.config.words import Word
from fathomseg.errors import ConfigError
from fathomseg.text import at_home
from fathomseg.types import IGNORE

SHIPPED: Final = Path(__file__).parent / "class_maps"
"""Mapping files that come with the package, each named `theirs-ours.yaml`."""

_IGNORED: Final = "(ignored)"


def read_mapping(given: str | Path) -> dict[str, str | None]:
    """The mapping `theirs: ours` (or null, to ignore a class) in a YAML file, or in one of `SHIPPED` by its name.

    Raises `ConfigError` for a file that is not there or holds anything else.
    """
    path = at_home(given)
    if not path.is_file() and (SHIPPED / f"{given}.yaml").is_file():
        path = SHIPPED / f"{given}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        begins = "" if path.is_absolute() else f" in {Path.cwd()}, where paths begin"
        raise ConfigError(
            f"there is no file {given}{begins}; give a YAML file, or one that comes with the package: {shipped}"
        )
    tree = {name: _class_name(value) for name, value in read_yaml(path).items()}
    if not tree or not all(value is None or isinstance(value, str) for value in tree.values()):
        raise ConfigError(f"{path} must hold a mapping of names, one line per class: `rider: bicyclist` (or null)")
    return tree


def _class_name(value: Any) -> Any:
    """A word keeps its spelling, such as `no` or `01`, and only null is none."""
    return value if not isinstance(value, Word) else None if value.value is None else value.text


def _read(given: Any) -> Any:
    """What a file holds, so that the saved recipe holds the mapping itself; all else is left as it is."""
    return read_mapping(given) if isinstance(given, str | Path) else given


ClassMapping = Annotated[Mapping[str, str | None], BeforeValidator(_read)]
"""Their name -> our name, or null for a class that is to be ignored; or the YAML file that holds it."""


@dataclass(frozen=True)
class ClassMatch:
    """What each class of other data or of a teacher ("theirs") is among the classes that are learned ("ours")."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    partners: tuple[int | None, ...]
    """Our index of each of their classes; None = it has no partner, and its pixels are ignored."""

    @cached_property
    def table(self) -> UInt8[np.ndarray, " 256"]:
        """Our class index of each of their label values; 255 (ignore) without a partner."""
        table = np.full(256, IGNORE, np.uint8)
        for index, partner in enumerate(self.partners):
            table[index] = IGNORE if partner is None else partner
        return table

    @property
    def same(self) -> bool:
        """Whether both lists are the same classes in the same order, so that labels need no change."""
        return self.partners == tuple(range(len(self.ours)))

    @property
    def shared(self) -> tuple[str, ...]:
        """Our classes that some class of theirs means, in our order."""
        return tuple(name for index, name in enumerate(self.ours) if index in self.partners)

    @property
    def by_name(self) -> dict[str, str | None]:
        """Our class of each of theirs; None = ignored."""
        pairs = zip(self.theirs, self.partners, strict=True)
        return {name: None if partner is None else self.ours[partner] for name, partner in pairs}

    def lines(self) -> Iterator[str]:
        """The match as a table for people: our class, theirs; then what is ignored."""
        width = max(map(len, (*self.ours, _IGNORED)))
        for index, name in enumerate(self.ours):
            partners = [their for their, partner in zip(self.theirs, self.partners, strict=True) if partner == index]
            yield f"  {name:<{width}}  {', '.join(partners) or '-'}"
        if ignored := [their for their, partner in zip(self.theirs, self.partners, strict=True) if partner is None]:
            yield f"  {_IGNORED:<{width}}  {', '.join(ignored)}"


def match_classes(
    theirs: Sequence[str],
    ours: Sequence[str],
    mapping: Mapping[str, str | None] | None = None,
    setting: str = "classes",
) -> ClassMatch:
    """Match by the mapping, and what it does not name by equal names, whatever their case, underscores and hyphens.

    Raises `ConfigError` naming `setting` if the mapping names a class that is not there, or no class has a partner.
    """
    own = by_plain_name(ours)
    said: dict[int, int | None] = {}
    for their, our in (mapping or {}).items():
        said[find(their, theirs, f"{setting} maps")] = (
            None if our is None else find(our, ours, f"{setting} maps {their!r} to")
        )
    partners = tuple(said.get(i, own.get(plain(name))) for i, name in enumerate(theirs))
    if all(partner is None for partner in partners):
        raise ConfigError(
            f"None of the {len(theirs)} classes ({', '.join(theirs[:4])} ...) has a partner among the {len(ours)} "
            f"classes that are learned ({', '.join(ours[:4])} ...). Map those that mean the same with {setting}: a "
            f"YAML file, one line `THEIRS: OURS` per class."
        )
    return ClassMatch(tuple(theirs), tuple(ours), partners)


def plain(name: str) -> str:
    """The name of a class as names are compared: without case, underscores and hyphens."""
    return name.casefold().replace("_", " ").replace("-", " ").strip()


def by_plain_name(names: Sequence[str]) -> dict[str, int]:
    """The index of each class by its `plain` name."""
    return {plain(name): index for index, name in enumerate(names)}


def find(name: str, names: Sequence[str], what: str) -> int:
    """The index of the class of this name. Raises `ConfigError`, which begins with `what`, if there is none."""
    if (index := by_plain_name(names).get(plain(name))) is not None:
        return index
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"{what} {name!r}, which is no class there; there is: {', '.join(names)}.{hint}")
