"""The objective `supervised`: what is known of the images, by the loss of each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self, cast

import torch
from jaxtyping import Float
from pydantic import BeforeValidator, NonNegativeFloat, model_validator
from torch import Tensor, nn

from fathomseg.config import named_by_key
from fathomseg.data.distilled import TARGETS, target_name
from fathomseg.losses.distribution import together
from fathomseg.models.network import Network, Outputs, early
from fathomseg.objectives.base import Base, Nets, Objective, Request, RunSettings, Setup, Shown, SteppedObjective
from fathomseg.tasks import AnyTaskLoss, SegmentationLoss
from fathomseg.tasks.base import TaskCriterion, TaskLoss, nothing
from fathomseg.tasks.distilled import Distilled
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch, StepResult, Term

_KINDS: Final[Mapping[str, Literal["label", "depth", "disparity"]]] = {
    "label": "label",
    "depth": "depth",
    "disparity": "disparity",
}
"""The targets that are drawn, and how."""


class Supervised(Objective):
    """Every image trains the tasks whose target it has: labels, depths, or both; others count nowhere."""

    name: Literal["supervised"] = "supervised"
    stream: str | tuple[str, ...] = "labelled"
    losses: Annotated[Mapping[str, AnyTaskLoss], BeforeValidator(named_by_key)] = {"segmentation": SegmentationLoss()}
    """The loss of each task that is trained, by its name; {segmentation: {}, depth: {}} trains both."""
    distilled: Mapping[str, Distilled] = {}
    """By task how it learns from a teacher's predictions on images without the target (`streams.NAME.distilled`):
    {segmentation: {weight: 0.5}}. Logged as `TASK_distilled`."""
    early: NonNegativeFloat = 1.0
    """Weight of an early output (`network.links.early`) beside 1 of the final one; the two are averaged."""

    @model_validator(mode="after")
    def _by_task(self) -> Self:
        if not self.losses:
            raise ValueError("give the loss of at least one task: losses={segmentation: {}} or losses={depth: {}}")
        if wrong := [key for key, loss in self.losses.items() if key != loss.name]:
            raise ValueError(f"a loss goes by its task's name, so {wrong[0]!r} must be {self.losses[wrong[0]].name!r}")
        for task, how in self.distilled.items():
            if task not in self.losses:
                raise ValueError(f"distilled has {task!r}, which has no loss: give losses.{task}={{}} too")
            if task not in TARGETS:
                raise ValueError(f"distilled has {task!r}, but a teacher writes {', '.join(TARGETS)} alone")
            if (reason := self.losses[task].distilled_misfit(how.soft, how.weigh)) is not None:
                raise ValueError(f"distilled.{task}: {reason}")
        return self

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """The tasks that have a loss, early outputs included."""
        early_too = {early(task) for task in self.losses if early(task) in network.outputs and self.early > 0}
        return frozenset({*self.losses, *early_too})

    def groups(self, network: NetworkConfig) -> dict[str, frozenset[str]]:
        """One for each task that counts, its early output included."""
        learned = self.learns(network)
        return {t: learned & {t, early(t)} for t, loss in self.losses.items() if loss.weight * self.weight > 0}

    def needs(self, network: NetworkConfig) -> frozenset[str]:
        """The targets of its losses."""
        return frozenset(loss.target for loss in self.losses.values())

    def uses(self, network: NetworkConfig) -> frozenset[str]:
        """A teacher's predictions."""
        return frozenset().union(*(how.uses(self.losses[task].target) for task, how in self.distilled.items()))

    def misfit(self, network: NetworkConfig) -> str | None:
        """What a loss says about its task."""
        tasks = network.tasks
        found = [loss.misfit(tasks[task]) for task, loss in self.losses.items() if task in tasks]
        return "; ".join(reason for reason in found if reason is not None) or None

    def misfits(self, name: str, run: RunSettings) -> Iterator[str]:
        """A teacher that has predicted nothing."""
        for task in self.distilled:
            if not any(target_name(TARGETS[task]) in run.streams.get(stream, ()) for stream in self.streams):
                yield (
                    f"objective {name!r} learns {task} from a teacher's predictions, which no stream of it has: give "
                    f"streams.{self.streams[0]}.distilled.{task}.folder=FOLDER, or leave "
                    f"objectives.{name}.distilled.{task} out"
                )

    @property
    def task_losses(self) -> Mapping[str, TaskLoss]:
        """As set."""
        return self.losses

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> SupervisedObjective:
        """Weighs classes by the labelled pixels of its streams."""
        counted = [setup.label_pixels[stream] for stream in self.streams if stream in setup.label_pixels]
        pixels = together(counted) if counted else None
        criteria = {task: loss.build(setup.network.tasks[task], pixels) for task, loss in self.losses.items()}
        shares = {task: self.early if early(task) in network.outputs else 0.0 for task in criteria}
        return SupervisedObjective(self, criteria, shares, setup.steps)


class SupervisedObjective(SteppedObjective):
    """The losses of one batch, by task."""

    def __init__(
        self, config: Supervised, criteria: Mapping[str, TaskCriterion], early_weights: Mapping[str, float], steps: int
    ) -> None:
        super().__init__()
        self.config, self.steps = config, steps
        self.criteria = nn.ModuleDict(criteria)
        self.shares = {task: weight / (1 + weight) for task, weight in early_weights.items()}
        """What part of a task's loss is that of its early output."""

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """One pass over the images for all tasks."""
        wanted = {output for task, share in self.shares.items() for output in _outputs(task, share)}
        return Request(lambda outputs, _: self._losses(batch, outputs), frozenset(wanted))

    def counts(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Those that the losses know ahead."""
        known: dict[str, Float[Tensor, ""]] = {}
        for task, criterion in self._criteria():
            if (count := criterion.count(batch)) is not None:
                known |= dict.fromkeys(_outputs(task, self.shares[task]), count)
            if (how := self.config.distilled.get(task)) is not None:
                count = criterion.count(how.stand_in(batch, self.config.losses[task].target))
                if count is not None:
                    known |= {_distilled(name): count for name in _outputs(task, self.shares[task])}
        return known

    @torch.no_grad()
    def shown(self, batch: Batch, base: Base, nets: Nets) -> list[Shown]:
        """The images in the stream's random colours, and the targets of its losses."""
        found = [Shown("image, as it is learned from", "image", base.image, batch.ids)]
        targets = dict.fromkeys(loss.target for loss in self.config.losses.values())
        drawn = [name for name in targets if name in _KINDS and name in batch.targets]
        found += [Shown(name, _KINDS[name], batch.targets[name], batch.ids) for name in drawn]
        return found

    def class_weights(self) -> Float[Tensor, " c"] | None:
        """The weights it gives the classes, if they differ."""
        weights = (criterion.class_weights() for _, criterion in self._criteria())
        return next((weight for weight in weights if weight is not None), None)

    def _losses(self, batch: Batch, outputs: Outputs) -> StepResult:
        terms = {}
        for task in self.criteria:
            loss, how = self.config.losses[task], self.config.distilled.get(task)
            share, weight = self.shares[task], loss.weight
            taught = None if how is None else how.stand_in(batch, loss.target)
            for output, part in zip(_outputs(task, share), (1 - share, share), strict=False):
                terms[output] = self._term(task, outputs[output], batch, weight * part)
                if how is not None and taught is not None:
                    by_teacher = weight * part * how.weight
                    terms[_distilled(output)] = self._term(task, outputs[output], taught, by_teacher)
        return StepResult(terms)

    def _term(self, task: str, output: Any, batch: Batch, weight: float) -> Term:
        """The loss of an output of a task on those samples that have its target."""
        there = self.config.losses[task].target in batch.targets
        criterion = cast(TaskCriterion, self.criteria[task])
        total, count = criterion(output, batch, self.done / self.steps) if there else nothing(output)
        return Term(total, count, weight, task)

    def _criteria(self) -> Sequence[tuple[str, TaskCriterion]]:
        return list(self.criteria.items())  # type: ignore[arg-type]


def _distilled(output: str) -> str:
    """The name of the loss on a teacher's predictions."""
    return f"{output}_distilled"


def _outputs(task: str, share: float) -> tuple[str, ...]:
    """The outputs of a task that its loss is applied to: the final one, then the early one."""
    return (task, early(task)) if share > 0 else (task,)
