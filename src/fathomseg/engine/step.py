"""THE training step: a network, its averaged copy, and the objectives that say what is learned.

The network runs once for each stream on its images (the base view), with the union of the outputs that the stream's
objectives want of it, and once for each batch of images an objective has made itself. Losses are sums and counts; the
loop adds them up over everything that makes one optimiser step, divides, and calls `backward` once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.data.colour import ColourJitter
from fathomseg.engine.balancing import Fixed
from fathomseg.engine.balancing.base import Balancing, Groups
from fathomseg.errors import FathomError
from fathomseg.models.ema import Ema
from fathomseg.models.network import Network, Outputs
from fathomseg.models.norms import OwnNorms, has_batch_norm, norms_of_both, statistics_held
from fathomseg.objectives.base import Base, Nets, ObjectiveModule, View, Whom, qualified
from fathomseg.types import Batch, StepResult, Term

LINKS: Final = "links"
"""What the names of what is logged of links begin with."""

Batches = Mapping[str, Batch]
"""One batch from each stream, by the stream's name."""


class Step(nn.Module):
    """All losses of one (micro-)batch of every stream. Everything a checkpoint must hold is in its `state_dict`."""

    def __init__(
        self,
        network: Network,
        objectives: Mapping[str, ObjectiveModule],
        streams: Mapping[str, Sequence[str]],
        colours: Mapping[str, ColourJitter | None],
        held_for: Mapping[str, Collection[str]] | None = None,
        ema_decay: float = 0.99,
        balancing: Balancing | None = None,
        groups: Groups | None = None,
        own_norms: Mapping[str, Collection[str]] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """`streams`: for each, the objectives that learn from it; `colours`: the random colours of its base view;
        `weights`: of objectives beside each other, 1 if not named.

        `held_for`: streams of another dataset than the network is used on, each with the outputs for which the
        network's BatchNorm statistics stay those of the other streams. `balancing` of the `groups` of loss terms
        (`groups_of`); None = the weights of the terms. `own_norms`: the held streams that have a scale and shift of
        their own in BatchNorms, each with the outputs it trains: where others train them too.
        """
        super().__init__()
        self.network = network
        self.ema = Ema(network, ema_decay)
        self.objectives = nn.ModuleDict(objectives)
        self.streams, self.colours = dict(streams), dict(colours)
        self.held_for = dict(held_for or {})
        self.weights = dict(weights or {})
        names = {module: name for name, module in network.named_modules()}
        places = {  # found once: links that are off ask for fewer modules
            stream: [
                norm
                for norm in norms_of_both(network.modules_for(self.held_for[stream]), network.modules_for(outputs))
                if norm.affine and norm.weight.requires_grad  # what is frozen stays as it is for every stream
            ]
            for stream, outputs in (own_norms or {}).items()
        }
        self.own_places = {stream: [names[norm] for norm in norms] for stream, norms in places.items()}
        """By stream the names of the network's BatchNorms that its own stand for: on several GPUs other modules take
        their place."""
        self.own_norms = nn.ModuleDict({stream: OwnNorms(norms) for stream, norms in places.items()})
        self.balancer = (balancing or Fixed()).build(groups or {}, network)
        for stream in self.own_places:
            self.balancer.stand_in(self._originals(stream))
        self.tracks = network.norm == "batch" and has_batch_norm(network)
        self.measuring = False

    def begin_step(self, step: int, measuring: bool = False) -> None:
        """Called before every optimiser step; `measuring`: whether it ends in a line of the log, for what costs too
        much to be looked at in every step."""
        self.measuring = measuring
        for network, measured in ((self.network, measuring), (self.ema.network, False)):
            if network.links is not None:
                network.links.begin_step(step, measured)

    def forward(self, batches: Batches) -> StepResult:
        """The losses of every objective by name."""
        terms: dict[str, Term] = {}
        logs: dict[str, Float[Tensor, ""]] = {}
        for stream in batches:
            held = self.network.modules_for(self.held_for[stream]) if stream in self.held_for else ()
            with statistics_held(held), self._norms_of(stream):
                for name, result in self._learn(stream, batches).items():
                    weight = self.weights.get(name, 1.0)
                    terms |= {
                        self._named(name, term, stream): replace(
                            value, weight=weight * value.weight, group=qualified(name, value.group)
                        )
                        for term, value in result.terms.items()
                    }
                    logs |= {self._named(name, log, stream): value for log, value in result.logs.items()}
        return StepResult(self._with_idle(terms), logs | self._of_links())

    def counts(self, batches: Batches) -> dict[str, Float[Tensor, ""]]:
        """Counts of loss terms that can be read off the data before the forward pass, for accumulation."""
        return {
            self._named(name, term, stream): count
            for stream, batch in batches.items()
            for name in self.streams[stream]
            for term, count in self._objective(name).counts(batch).items()
        }

    def drop_idle_gradients(self) -> None:
        """Called before the gradients are applied: links that are off have none, however many processes train."""
        links = self.network.links
        for parameter in links.parameters() if links is not None and not links.on else ():
            parameter.grad = None

    def after_step(self, step: int) -> None:
        """Called after every optimiser step."""
        self.ema.update(self.network, step)
        for name in self.objectives:
            self._objective(name).after_step(step)

    def parameter_groups(self, encoder_lr: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
        """Optimiser groups: `lr_scale` as below, and no weight decay on vectors (biases, normalisation layers) and on
        links that ask for none.

        `encoder_lr` is the factor of the learning rate of encoders; `factors` that of the network's encoders
        ("encoder"), of a task's branch (by the task's name), of the links ("links"), of learned weights of losses
        ("balancing"), and of everything an objective brings (by the objective's name), its encoder included, to which
        `encoder_lr` then does not apply. Parameters whose factor is 0 are frozen. Raises `FathomError` for a name that
        is none of these.
        """
        balanced = list(self.balancer.parameters())
        known = {"encoder", "links", *(["balancing"] if balanced else []), *self.network.tasks, *self.objectives}
        if unknown := sorted(factors.keys() - known):
            raise FathomError(
                f"optimiser.factors has {unknown[0]!r}, which this training does not have; "
                f"there is: {', '.join(sorted(known))}."
            )
        factor = {name: factors.get(name, 1.0) for name in known}
        scales = {id(p): encoder_lr * factor["encoder"] for p in self.network.encoder_parameters()}
        for task in self.network.tasks:
            scales |= {id(p): factor[task] for p in self.network.task_parameters(task)}
        if self.network.links is not None:
            scales |= {id(p): factor["links"] for p in self.network.links.parameters()}
        scales |= {id(p): factor["balancing"] for p in balanced}
        for name in self.objectives:
            objective = self._objective(name)
            scales |= {id(p): factor[name] for p in objective.parameters()}
            scales |= {id(p): factors.get(name, encoder_lr) for p in objective.encoder_parameters()}
        for stream in self.own_places:
            scales |= {id(own): scales.get(id(original), 1.0) for own, original in self._originals(stream)}
        links = self.network.links
        undecayed = {id(p) for p in links.parameters()} if links is not None and not links.decays else set()
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for parameter in self.parameters():
            scale = scales.get(id(parameter), 1.0)
            parameter.requires_grad_(parameter.requires_grad and scale > 0)
            if parameter.requires_grad:
                decays = parameter.ndim > 1 and id(parameter) not in undecayed
                groups.setdefault((scale, decays), []).append(parameter)
        return [
            {"params": parameters, "lr_scale": scale, "decays": decays}
            for (scale, decays), parameters in sorted(groups.items(), reverse=True)
        ]

    def _learn(self, stream: str, batches: Batches) -> dict[str, StepResult]:
        """The losses of the objectives of one stream."""
        batch = batches[stream]
        base = Base.of(batch, self.colours[stream], batches)
        asked: dict[Whom, frozenset[str]] = {}
        for name in self.streams[stream]:
            for whom, asks in self._objective(name).asks(batch).items():
                asked[whom] = asked.get(whom, frozenset()) | asks
        nets = Nets(self.network, self.ema.network, asked)
        requests = {name: self._objective(name).request(batch, base, nets) for name in self.streams[stream]}
        views = [view for request in requests.values() for view in request.views]
        foreign = frozenset().union(*(view.outputs for view in views if view.foreign))
        seen = {name: [self._seen(view, bool(foreign)) for view in request.views] for name, request in requests.items()}
        wanted = frozenset().union(*(request.outputs for request in requests.values()))
        settled = foreign - frozenset(self.held_for.get(stream, ())) if self.tracks else frozenset()
        if settled and not wanted:  # a pass for the statistics of what only foreign views are shown
            with torch.no_grad():
                self.network(base.clean, settled)
        outputs = self.network(base.image, wanted | settled) if wanted else {}
        return {name: request.losses(outputs, seen[name]) for name, request in requests.items()}

    def _norms_of(self, stream: str) -> AbstractContextManager[None]:
        """The scale and shift of a stream in BatchNorms, for its pass."""
        if stream not in self.own_places:
            return nullcontext()
        return self._own_norms(stream).used(self._stood_for(stream))

    def _originals(self, stream: str) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        """Every parameter of a stream's own norms with the network's that it stands for."""
        return self._own_norms(stream).originals(self._stood_for(stream))

    def _stood_for(self, stream: str) -> list[nn.Module]:
        """The network's BatchNorms that a stream's own stand for."""
        return [self.network.get_submodule(name) for name in self.own_places[stream]]

    def _own_norms(self, stream: str) -> OwnNorms:
        norms = self.own_norms[stream]
        assert isinstance(norms, OwnNorms)
        return norms

    def _seen(self, view: View, held: bool) -> Outputs:
        """What an objective wants of images of its own; `held`: BatchNorm keeps its statistics.

        Feature maps that are changed in training alone (dropped channels double the others) have another variance than
        those the decoders see in use, so that these keep the statistics of unchanged ones.
        """
        changed = () if view.change is None else self.network.after_encoders()
        with statistics_held((self.network,) if held else changed):
            return cast(Outputs, self.network(view.image, view.outputs, view.change))

    def _with_idle(self, terms: dict[str, Term]) -> dict[str, Term]:
        """Several processes wait for the gradient of every parameter: that of links that are off is zero then, and
        so is that of a stream's own norms that nothing it trains goes through."""
        links, idle = self.network.links, list(self.own_norms.parameters())
        if links is not None and not links.on:
            idle += links.parameters()
        if not idle or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return terms
        nothing = torch.stack([parameter.sum() for parameter in idle]).sum() * 0
        return {name: replace(term, sum=term.sum + nothing) for name, term in terms.items()}

    def _of_links(self) -> dict[str, Float[Tensor, ""]]:
        links = self.network.links
        if links is None or not self.measuring:
            return {}
        return {f"{LINKS}.{name}": value for name, value in links.measured().items()}

    def _objective(self, name: str) -> ObjectiveModule:
        objective = self.objectives[name]
        assert isinstance(objective, ObjectiveModule)
        return objective

    def _named(self, objective: str, term: str, stream: str) -> str:
        """`objective.term`, or the objective alone for its main term; with the stream if it learns from several."""
        several = sum(objective in names for names in self.streams.values()) > 1
        place = f"{objective}@{stream}" if several else objective
        return qualified(place, term)
