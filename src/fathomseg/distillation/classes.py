"""Which class of a dataset each class of a teacher is: matched by name, or as a file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from fathomseg.config import read_yaml
from fathomseg.data.class_match import class_name
from fathomseg.errors import ConfigError


@dataclass(frozen=True)
class Matching:
    """The classes of a teacher, and those of a dataset that they are."""

    teacher: tuple[str, ...]
    dataset: tuple[str, ...]
    partners: tuple[int | None, ...]
    """For each class of the teacher the index of its partner in the dataset; None = ignored."""

    @property
    def index(self) -> Int64[Tensor, " c"]:
        """For each class of the teacher its partner, or the number of the dataset's classes if it has none."""
        return torch.tensor([len(self.dataset) if partner is None else partner for partner in self.partners])

    @property
    def by_name(self) -> dict[str, str | None]:
        """The partner of each class of the teacher by name; None = ignored."""
        return {
            name: None if partner is None else self.dataset[partner]
            for name, partner in zip(self.teacher, self.partners, strict=True)
        }

    def table(self) -> str:
        """One line for each class of the teacher, and the classes of the dataset that it never predicts."""
        width = max(map(len, self.teacher))
        lines = [f"  {name:<{width}}  {partner or '(ignored)'}" for name, partner in self.by_name.items()]
        never = [name for index, name in enumerate(self.dataset) if index not in self.partners]
        lines += [f"never predicted: {', '.join(never)}"] if never else []
        return "\n".join([f"  {'teacher':<{width}}  dataset", *lines])


def match(teacher: tuple[str, ...], dataset: tuple[str, ...], mapping: Mapping[str, str | None]) -> Matching:
    """Partners by name, whatever its case, underscores and hyphens; `mapping` goes first.

    Raises `ConfigError` for names in the mapping that there are not, or if no class has a partner.
    """
    places = {_plain(name): index for index, name in enumerate(dataset)}
    known = {_plain(name) for name in teacher}
    if unknown := [name for name in mapping if _plain(name) not in known]:
        raise ConfigError(f"The teacher has no class {unknown[0]!r}; it has {', '.join(teacher)}.")
    if unknown := [name for name in mapping.values() if name is not None and _plain(name) not in places]:
        raise ConfigError(f"The dataset has no class {unknown[0]!r}; it has {', '.join(dataset)}.")
    said = {_plain(one): other for one, other in mapping.items()}
    partners = []
    for name in teacher:
        wanted = said.get(_plain(name), name)
        partners.append(None if wanted is None else places.get(_plain(wanted)))
    if all(partner is None for partner in partners):
        raise ConfigError(
            f"None of the teacher's classes ({', '.join(teacher[:6])} ...) is a class of the dataset "
            f"({', '.join(dataset[:6])} ...). Say with --classes FILE.yaml which is which (teacher: dataset)."
        )
    return Matching(teacher, dataset, tuple(partners))


def read_mapping(path: Path | None) -> dict[str, str | None]:
    """The mapping in a YAML file, `teacher's name: dataset's name` or null; {} without one. Raises `ConfigError`."""
    if path is None:
        return {}
    found = {name: class_name(value) for name, value in read_yaml(path).items()}
    if not all(value is None or isinstance(value, str) for value in found.values()):
        raise ConfigError(f"{path} must map names to names, one `teacher's class: dataset's class` (or null) a line.")
    return found


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip()
