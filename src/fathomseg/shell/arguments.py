"""Arguments and options that several verbs share, and what stands first among a verb's words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fathomseg.errors import FathomError
from fathomseg.named_recipes import find
from fathomseg.shell.completion import recipe_or_setting, setting_in


def _settings(what: str, *groups: str) -> Any:
    return typer.Argument(metavar="KEY=VALUE", help=what, show_default=False, autocompletion=setting_in(*groups))


Overrides = Annotated[
    list[str] | None, _settings("Settings to change, as group.key=value.", "data.", "evaluation.inference.")
]
InferenceOverrides = Annotated[
    list[str] | None,
    _settings("How images go through the network, as evaluation.inference.key=value.", "evaluation.inference."),
]
RecipeAndOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe by its name (`fathom recipes`) or path, and settings to change.",
        show_default=False,
        autocompletion=recipe_or_setting,
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        help="Segmentation: whole image, slide (sliding window) or tiles (windows at the image's own scale, for large "
        "images); default: the run's."
    ),
]
Flip = Annotated[
    bool, typer.Option("--flip", help="Average with the prediction of the mirrored image, in twice the time.")
]
Links = Annotated[str | None, typer.Option(help="on or off: enable the links between tasks; default: the run's.")]
Engine = Annotated[
    str, typer.Option(help="local: this machine; ray: the cluster RAY_ADDRESS names, or one that is started here.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes that share the work, each with the network loaded.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else there.")
]


def recipe_first(arguments: Sequence[str] | None) -> tuple[Path | None, list[str]]:
    """The recipe, if one is given, and the settings to change."""
    given = list(arguments or [])
    recipe = find(given.pop(0)) if given and ("=" not in given[0] or Path(given[0]).is_file()) else None
    return recipe, given


def data_first(arguments: Sequence[str] | None, option: str | None) -> tuple[str, list[str]]:
    """The data, given in front or as --data, and the settings to change."""
    given = list(arguments or [])
    if option is None and given and ("=" not in given[0] or Path(given[0]).exists()):
        return given.pop(0), given
    if option is None:
        raise FathomError(
            "Say which data: `fathom check DATA`, with a recipe, a dataset.yaml or its folder, or a dataset's name."
        )
    if given and "=" not in given[0]:
        raise FathomError(f"The data is given twice: {given[0]} and --data {option}. Leave one out.")
    return option, given
