"""How norms behave in training: with statistics that are fixed, or held for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fathomseg.geometry.numerics import without_autocast
from fathomseg.models.blocks import Norm


class FixedNorms(nn.Module):
    """A network whose BatchNorms keep their statistics in training unless `norm` is "batch"."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.norm = norm

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; BatchNorms of fixed statistics stay in evaluation mode either way."""
        super().train(mode)
        if self.norm != "batch":
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def has_batch_norm(network: nn.Module) -> bool:
    """Whether there are BatchNorms in it."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


@contextmanager
def statistics_held(modules: Iterable[nn.Module]) -> Iterator[None]:
    """For a while the BatchNorms of these modules do not move the statistics that they keep for evaluation.

    In training they go by the batch as ever. For images of another kind than those that the network will be used on,
    which would otherwise be averaged in with them (Li et al. 2017, AdaBN; Xie et al. 2020, AdvProp).
    """
    tracking = [norm for norm in _norms(modules) if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


class OwnNorms(nn.Module):
    """A scale and a shift in every BatchNorm for the images of one domain, beside those that the network keeps.

    Domain-specific batch normalisation (Chang et al. 2019), begun at the network's own values. Statistics
    are those of the batch in training (`statistics_held`), and the network is used on its own domain, so that no
    running statistics are kept here.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        norms = _affine(modules)
        self.weights = nn.ParameterList(nn.Parameter(norm.weight.detach().clone()) for norm in norms)
        self.biases = nn.ParameterList(nn.Parameter(norm.bias.detach().clone()) for norm in norms)

    @contextmanager
    def used(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """For a while the BatchNorms of these modules, those this was made for, have this scale and shift."""
        norms = _affine(modules)
        kept = [(norm.weight, norm.bias) for norm in norms]
        for norm, weight, bias in zip(norms, self.weights, self.biases, strict=True):
            norm.weight, norm.bias = weight, bias
        try:
            yield
        finally:
            for norm, (weight, bias) in zip(norms, kept, strict=True):
                norm.weight, norm.bias = weight, bias

    def originals(self, modules: Iterable[nn.Module]) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        """Every parameter here with the network's own that it stands for."""
        for norm, weight, bias in zip(_affine(modules), self.weights, self.biases, strict=True):
            yield weight, norm.weight
            yield bias, norm.bias


def norms_of_both(first: Iterable[nn.Module], second: Iterable[nn.Module]) -> list[_BatchNorm]:
    """The BatchNorms that are in modules of either kind, in the order of the first."""
    theirs = set(_norms(second))
    return [norm for norm in _norms(first) if norm in theirs]


def _norms(modules: Iterable[nn.Module]) -> list[_BatchNorm]:
    """The BatchNorms of these modules, each once."""
    found = (norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm))
    return list(dict.fromkeys(found))


def _affine(modules: Iterable[nn.Module]) -> list[_BatchNorm]:
    """Those that have a scale and a shift."""
    return [norm for norm in _norms(modules) if norm.affine]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every module is in the mode it was in, frozen norms included."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def in_own_precision(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """`layer(x)` in the precision of the layer's weights, under autocast too (bfloat16 has three digits)."""
    with without_autocast(x.device.type):
        answer: Tensor = layer(x.to(layer.weight.dtype))
    return answer
