"""From what a user types to the dataset he means."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict

from fathomseg import config
from fathomseg.config import Part
from fathomseg.data.datasets import AnyDataset
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.folder import DESCRIPTION, Folder
from fathomseg.data.datasets.layout import layout_of
from fathomseg.errors import ConfigError, FathomError
from fathomseg.named_recipes import nearest, packaged
from fathomseg.text import at_home


class _DataOfRecipe(Part):
    """The group `data` of a recipe; the rest is not looked at."""

    model_config = ConfigDict(extra="ignore")

    data: AnyDataset


def resolve_dataset(text: str, overrides: Sequence[str] = ()) -> Dataset:
    """The dataset meant by a recipe (path or name), a dataset.yaml, the folder of one or with COCO's or YOLO's labels,
    or a dataset's name.

    Overrides are `data.root=...`, as for a recipe, and no others; without a recipe `root=...` does as well. A name that
    both a dataset and a recipe have is the dataset's. Raises `FathomError` saying what was expected.
    """
    path, kinds = at_home(text), dataset_kinds()
    own = [override.removeprefix("data.") for override in overrides]
    if path.name == DESCRIPTION and path.is_file():
        return config.load(Folder, {"name": "folder", "root": str(path.parent)}, own)
    layout = layout_of(path)
    if layout == "folder":
        return config.load(Folder, {"name": layout, "root": text}, own)
    if not path.exists() and text not in kinds and (recipe := packaged(text)) is not None:
        path = recipe
    if path.is_file():
        if foreign := [override for override in overrides if not override.startswith("data.")]:
            raise ConfigError(
                f"{foreign[0]!r} is not used: only the data of {text} counts here. "
                f"Give data.KEY=VALUE{_nearest(foreign[0])}"
            )
        return config.load(_DataOfRecipe, path, overrides).data
    if text in kinds:
        _refuse_incomplete(text, kinds[text], own)
        return config.load(kinds[text], {"name": text}, own)
    names = ", ".join(sorted(kinds))
    if layout is not None:
        return config.load(kinds[layout], {"name": layout, "root": text}, own)
    if path.is_dir():
        raise FathomError(
            f"The folder {text} holds no {DESCRIPTION}. Write one (docs/data.md), or name the dataset it is a copy of: "
            f"{names}; for example `camvid root={text}`."
        )
    close = difflib.get_close_matches(text, kinds, n=1) or nearest(text)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise FathomError(
        f"There is no dataset {text!r}: expected a recipe or {DESCRIPTION} that exists, a folder that holds one, "
        f"or one of the names {names}.{hint}"
    )


def _refuse_incomplete(name: str, kind: type[Dataset], overrides: Sequence[str]) -> None:
    """Raise `ConfigError` for a dataset that needs to be told where it lies, if nothing is."""
    needs = [key for key, field in kind.model_fields.items() if field.is_required()]
    if not overrides and needs:
        given = " ".join(f"{key}={'PATH' if key == 'root' else '...'}" for key in needs)
        raise ConfigError(
            f"The dataset {name} is not complete: {', '.join(needs)} is required. Give {given} after its name: "
            f"`{name} {given}`."
        )


def _nearest(override: str) -> str:
    """The setting of some dataset that an override may mean: `root=x` and `dta.root=x` are `data.root=x`."""
    key, equals, value = override.partition("=")
    fields = {name for kind in dataset_kinds().values() for name in kind.model_fields}
    close = difflib.get_close_matches(key.strip().rpartition(".")[2], sorted(fields), n=1)
    return f"; did you mean 'data.{close[0]}={value}'?" if close and equals else "."


def dataset_kinds() -> dict[str, type[Dataset]]:
    """The class of every dataset in the union `AnyDataset`, by its name."""
    union: Any = typing.get_args(AnyDataset)[0]
    return {kind.model_fields["name"].default: kind for kind in typing.get_args(union)}
