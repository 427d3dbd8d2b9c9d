"""Whether the loss terms of a step are those that objectives promise: their names always, their counts once.

Processes add up what has the same name, so that they compare names in the first step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.errors import FathomError
from fathomseg.io.ranks import gathered


class CountCheck:
    """Asked in every step; waits for the device in the first alone, and only if counts are known beforehand."""

    def __init__(self) -> None:
        self.names: frozenset[str] | None = None
        self.logs: dict[bool, frozenset[str]] = {}
        self.first = True
        self.promised: Mapping[str, Tensor] = {}
        self.found: dict[str, list[Tensor]] = {}

    def begin(self, promised: Mapping[str, Tensor]) -> None:
        """Before an optimiser step: the counts over all its micro-batches and ranks, as the data tells them."""
        self.promised, self.found = promised, {}

    def check(self, names: Sequence[str]) -> None:
        """After each forward pass: the terms there were.

        Raises `FathomError` if their names are not those of the first pass, on all ranks, or lack one that `begin` was
        given. The first call waits for all ranks.
        """
        refusal = "The loss term {!r} is in some batches only: give it a count of 0 in the others."
        if self.names is None:
            self.names = _agreed(names, refusal)
        _refuse_odd([self.names, frozenset(names)], refusal)
        if odd := sorted(self.promised.keys() - self.names):
            raise FathomError(f"`counts` names {odd[0]!r}, which is no loss term; there is: {', '.join(names)}.")

    def check_logs(self, names: Sequence[str], measuring: bool) -> None:
        """The names of what several ranks log beside, in steps that are `measuring` and in others; as `check`."""
        refusal = "{!r} is logged for some batches only, so that processes cannot average it: log it for all of them."
        if measuring not in self.logs:
            self.logs[measuring] = _agreed(names, refusal)
        _refuse_odd([self.logs[measuring], frozenset(names)], refusal)

    def note(self, names: Sequence[str], counts: Float[Tensor, " terms"]) -> None:
        """Then their counts over all ranks."""
        if self.first and self.promised:
            for name, count in zip(names, counts.unbind(), strict=True):
                self.found.setdefault(name, []).append(count)

    def end(self) -> None:
        """Before the gradients are applied. Raises `FathomError` if a count differs from the one promised."""
        if not self.first or not self.promised:
            return
        self.first = False
        for name, count in self.promised.items():
            total, said = torch.stack(self.found[name]).sum().item(), count.item()
            if abs(total - said) > 1e-3 * max(1.0, abs(total)):
                raise FathomError(
                    f"`counts` says {said:g} of the loss term {name!r}, whose own counts add up to {total:g}: "
                    "micro-batches would not give the gradient of the whole batch."
                )


def _agreed(names: Sequence[str], refusal: str) -> frozenset[str]:
    """These names, if all ranks have the same. Raises `FathomError` on all of them."""
    _refuse_odd(gathered([frozenset(names)]), refusal)
    return frozenset(names)


def _refuse_odd(every: Sequence[frozenset[str]], refusal: str) -> None:
    """Raise `FathomError` for a name that is in some of these alone."""
    if odd := sorted(frozenset().union(*every) - every[0].intersection(*every)):
        raise FathomError(refusal.format(odd[0]))
