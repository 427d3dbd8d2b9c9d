"""A tiny problem of two or three tasks: an encoder of two maps, a linear head a task, squared errors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fathomseg.engine.balancing.base import Balancer, TermLoss
from fathomseg.engine.loop import Loop, accelerator

ACCELERATE = accelerator(Loop(device="cpu", threads=1))


class Encoder(nn.Module):
    """image (n x 3) -> [image, map (n x 4), map (n x 2)], the last made from the other, as encoders return them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """With something that is not linear."""
        first = self.first(image).tanh()
        return [image, first, self.second(first).tanh()]


class Toy:
    """Everything of one problem; the same for the same seed."""

    def __init__(self, tasks: int = 2, seed: int = 0, samples: int = 6) -> None:
        random = torch.Generator().manual_seed(seed)
        self.groups = tuple(f"task{i}" for i in range(tasks))
        self.encoder = Encoder()
        self.heads = [nn.Parameter(torch.randn(6, generator=random)) for _ in range(tasks)]
        with torch.no_grad():
            for p in self.encoder.parameters():
                p.copy_(torch.randn(p.shape, generator=random))
        self.images = torch.randn(samples, 3, generator=random)
        self.targets = 2 * torch.randn(tasks, samples, generator=random)
        self.shared = list(self.encoder.parameters())
        self.parameters = [*self.shared, *self.heads]

    def losses(self, rows: slice = slice(None), absent: Sequence[int] = ()) -> list[TermLoss]:
        """Of some of the samples: sums over them by the number of all. What is absent is a 0 with a count of 0."""
        maps = torch.cat(self.encoder(self.images[rows])[1:], dim=1)
        found = []
        for i, (group, head) in enumerate(zip(self.groups, self.heads, strict=True)):
            loss = (maps @ head - self.targets[i, rows]).square().sum() / len(self.images) * (i not in absent)
            found.append(TermLoss(group, loss, loss.detach(), torch.tensor(float(i not in absent))))
        return found

    def step(self, balancer: Balancer, number: int = 0, parts: int = 1, seed: int = 0) -> dict[str, Tensor]:
        """The gradients of one step in so many micro-batches; returns the logged weights."""
        for p in [*self.parameters, *balancer.parameters()]:
            p.grad = None
        balancer.begin(number, seed)
        size = len(self.images) // parts
        for part in range(parts):
            balancer.backward(self.losses(slice(part * size, (part + 1) * size)), last=part == parts - 1)
        return dict(balancer.finish())

    def gradients(self) -> Tensor:
        """By hand, in float64: of each task (row) by all parameters, those of the encoder first."""
        rows = [torch.autograd.grad(loss.mine, self.parameters, allow_unused=True) for loss in self.losses_again()]
        return torch.stack(
            [torch.cat([self._flat(g, p) for g, p in zip(r, self.parameters, strict=True)]) for r in rows]
        )

    def losses_again(self) -> list[TermLoss]:
        """Each with a graph of its own."""
        return [self.losses()[i] for i in range(len(self.groups))]

    @staticmethod
    def _flat(gradient: Tensor | None, parameter: Tensor) -> Tensor:
        return (torch.zeros_like(parameter) if gradient is None else gradient).flatten().double()

    def found(self) -> Tensor:
        """The gradients a step has left, in the same order."""
        return torch.cat([self._flat(p.grad, p) for p in self.parameters])

    @property
    def width(self) -> int:
        """How many numbers the encoder holds."""
        return sum(p.numel() for p in self.shared)


def prepared(balancer: Balancer, toy: Toy) -> Balancer:
    """Ready for steps."""
    balancer.prepare(ACCELERATE, [p for p in [*toy.parameters, *balancer.parameters()] if p.requires_grad])
    return balancer
