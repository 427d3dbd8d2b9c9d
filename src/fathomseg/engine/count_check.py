"""Whether the loss terms of a step are those that objectives promise: their names always, their counts once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.errors import FathomError


class CountCheck:
    """Asked in every step; waits for the device in the first alone, and only if counts are known beforehand."""

    def __init__(self) -> None:
        self.names: frozenset[str] | None = None
        self.first = True
        self.promised: Mapping[str, Tensor] = {}
        self.found: dict[str, list[Tensor]] = {}

    def begin(self, promised: Mapping[str, Tensor]) -> None:
        """Before an optimiser step: the counts over all its micro-batches and ranks, as the data tells them."""
        self.promised, self.found = promised, {}

    def check(self, names: Sequence[str]) -> None:
        """After each forward pass: the terms there were.

        Raises `FathomError` if their names are not those of the first pass, or lack one that `begin` was given.
        """
        self.names = frozenset(names) if self.names is None else self.names
        if odd := sorted(self.names.symmetric_difference(names)):
            raise FathomError(f"The loss term {odd[0]!r} is in some batches only: give it a count of 0 in the others.")
        if odd := sorted(self.promised.keys() - self.names):
            raise FathomError(f"`counts` names {odd[0]!r}, which is no loss term; there is: {', '.join(names)}.")

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
