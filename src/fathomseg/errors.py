"""Errors meant for the person at the keyboard: what was given, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SHOWN: Final = 20
"""Bad files that one message names."""


class FathomError(ValueError):
    """Anything the user can mend. The command line prints its message alone, without a traceback."""


class ConfigError(FathomError):
    """A recipe or an override that does not describe a valid run; the message lists every mistake at once."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One bad file: `where` names it (a path or a sample id), `reason` says what is wrong with it and what to do."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def by_clip(problems: Sequence[Problem]) -> list[Problem]:
    """The same with one line for all frames of a video that have the same fault."""
    frames: dict[tuple[str, str], list[int]] = {}
    for problem in problems:
        path, word, number = problem.where.rpartition(" frame ")
        key = (path, problem.reason) if word and number.isdecimal() else (problem.where, problem.reason)
        frames.setdefault(key, []).extend([int(number)] if key[0] == path else [])
    told = []
    for (path, reason), numbers in frames.items():
        which = f" frame {numbers[0]}" if len(numbers) == 1 else ""
        if len(numbers) > 1:
            which = f" frames {min(numbers)} to {max(numbers)}, {len(numbers)} of them"
        told.append(Problem(f"{path}{which}", reason))
    return told


class DataError(FathomError):
    """Files that cannot be used. Training raises it with the same words `fathom check` prints."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        told = by_clip(self.problems)
        lines = [f"  {problem}" for problem in told[:_SHOWN]]
        if len(told) > _SHOWN:
            lines.append(f"  ... and {len(told) - _SHOWN} more")
        files = "1 file" if len(told) == 1 else f"{len(told)} files"
        super().__init__(f"{files} cannot be used:\n" + "\n".join(lines))

    def __reduce__(self) -> tuple[type[DataError], tuple[tuple[Problem, ...]]]:
        """Survive the trip out of a data-loading worker, which pickles exceptions."""
        return (DataError, (self.problems,))
