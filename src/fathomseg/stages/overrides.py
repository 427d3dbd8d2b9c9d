"""Which settings verbs that use a finished run may change: how images go through it, and where its data lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fathomseg.errors import ConfigError

INFERENCE: Final = "evaluation.inference."
"""What keys begin with that say how images go through a run."""

_DATA: Final = "data."


def of_inference(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of evaluation.inference, and the others."""
    inference = [text for text in overrides if text.startswith(INFERENCE)]
    return inference, [text for text in overrides if text not in inference]


def parted(verb: str, overrides: Sequence[str], data: bool = True) -> tuple[list[str], list[str]]:
    """Those of evaluation.inference, and those of the data, if the verb uses any.

    Raises `ConfigError` for any other setting of a run.
    """
    inference, others = of_inference(overrides)
    for text in others:
        if not data or text.partition(".")[0] in ("evaluation", "train", "network", "streams", "objectives"):
            known = f"{INFERENCE}KEY" + (f" and {_DATA}KEY" if data else "")
            raise ConfigError(
                f"{text!r} is not used by `fathom {verb}`; of a run's settings {known} can be given. "
                "`fathom settings RUN/config.yaml --word inference` lists them."
            )
    return inference, others
