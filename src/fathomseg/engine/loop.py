"""The training loop: batches in, one optimiser step at a time, checkpoints out. Knows no task by name.

Devices, mixed precision and data parallelism are Accelerate's; the order of things is here, on one page.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.config.bounds import Fraction
from fathomseg.data.loading import BatchSlice, Steps, Stream, loader
from fathomseg.engine import sharding
from fathomseg.engine.balancing.base import TermLoss, total
from fathomseg.engine.checkpoint import load_checkpoint, save_checkpoint
from fathomseg.engine.count_check import CountCheck
from fathomseg.engine.guard import FiniteGuard, StopRequest
from fathomseg.engine.logging import Log
from fathomseg.engine.meter import Meter
from fathomseg.engine.optimiser import Optimiser
from fathomseg.engine.step import Batches, Step
from fathomseg.engine.trackers import Name, demand
from fathomseg.errors import FathomError
from fathomseg.models.ema import effective_decay
from fathomseg.types import StepResult

if TYPE_CHECKING:
    import accelerate


_PATIENCE: Final = timedelta(days=2)
"""How long processes wait for one of them: the first one of a machine decodes all images and predicts their depth
before the others read them, and NCCL's ten minutes are too short for that."""


class Loop(Part):
    """How long, how much at once, and on what."""

    steps: PositiveInt = 400
    """Optimiser steps."""
    batch: PositiveInt = 8
    """Images of each stream in one optimiser step, over all processes and micro-batches; of a stream that has a `batch`
    of its own (unlabelled, clips) as many as that says."""
    accumulate: PositiveInt = 1
    """Micro-batches one optimiser step is made of; raise it when the device's memory is too small for the batch."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto = bf16 on a GPU that has it, float32 elsewhere."""
    ema_decay: Fraction = 0.99
    """Decay of the averaged weights (EMA): the ones evaluated and used, and the teacher of pseudo-labels. A limit:
    in step s, counted from 0, the decay is min(s / (s + 9), ema_decay), so that 0.9 is in effect from step 81 on, 0.99
    from 891, 0.996 from 2241 and 0.999 from 8991; before that an average looks back over a tenth of the steps so far.
    The log shows it."""
    clip: Annotated[float, Field(ge=0)] = 10.0
    """Largest norm of the gradient over all parameters; 0 = no clipping."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto = the GPU if there is one."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Data-loading processes per stream and process; nothing = none on a CPU, where they would take the training's
    cores, else the cores there are, shared over streams and processes, 1 to 8."""
    threads: PositiveInt | None = None
    """CPU threads of this process; nothing = PyTorch's choice."""
    compile: bool = False
    """Compile the network with torch.compile: faster steps after a slow first one."""
    log_every: PositiveInt = 20
    """Steps between two lines of the log; losses are averaged over them."""
    trackers: tuple[Name, ...] = ("tensorboard",)
    """Where the numbers of metrics.jsonl also go: tensorboard, wandb (Weights & Biases), mlflow; [] = nowhere."""
    save_every: PositiveInt = 200
    """Steps between two checkpoints; one more is written at the end, and on Ctrl-C or SIGTERM."""


def accelerator(config: Loop) -> accelerate.Accelerator:
    """Accelerate, set up for one process or for the processes torchrun started.

    Raises `FathomError` for a GPU that is not there and for a tracker that is not installed.
    """
    import accelerate  # here, as it takes long and no recipe is read by it

    demand(config.trackers)
    cpu = config.device == "cpu" or not torch.cuda.is_available()
    if config.device == "cuda" and cpu:
        raise FathomError("train.device is 'cuda', but PyTorch sees no GPU; use train.device=auto.")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if not cpu and torch.cuda.is_bf16_supported() else "fp32"
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    # On a GPU SyncBatchNorm keeps the buffers of all ranks equal; gloo has none, so rank 0's are sent round.
    ddp = accelerate.DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=cpu)
    waiting = accelerate.InitProcessGroupKwargs(timeout=_PATIENCE)
    return accelerate.Accelerator(
        cpu=cpu, mixed_precision=precision.replace("fp32", "no"), kwargs_handlers=[ddp, waiting]
    )


def batch_slices(
    streams: Iterable[str], own: Mapping[str, int], config: Loop, accelerate: accelerate.Accelerator
) -> dict[str, BatchSlice]:
    """What this process takes of every batch of each stream; `own`: the sizes of those that have another than
    config.batch. Raises `FathomError` if a batch cannot be shared out evenly."""
    parts = accelerate.process_index, accelerate.num_processes, config.accumulate
    return {
        name: BatchSlice(own[name], *parts, setting=f"streams.{name}.batch")
        if name in own
        else BatchSlice(config.batch, *parts)
        for name in streams
    }


def loader_processes(streams: int) -> int:
    """How many, 1 to 8, each stream of each process on this machine gets of the cores that may be used here, as in a
    job that has some of a machine's."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, usable // (streams * int(os.environ.get("LOCAL_WORLD_SIZE", 1)))))


class Trainer:
    """One run: a training step, its streams and an optimiser, from a first step to a last, resumable at every
    checkpoint."""

    def __init__(
        self,
        step: Step,
        streams: Mapping[str, Stream],
        config: Loop,
        optimiser: Optimiser,
        folder: Path,
        seed: int,
        accelerate: accelerate.Accelerator,
        batch: Mapping[str, int] | None = None,
    ) -> None:
        """`batch`: how many samples of a stream are in one optimiser step, for the streams to which config.batch does
        not apply. Raises `FathomError` if a batch cannot be shared out evenly."""
        self.streams, self.config, self.schedule = streams, config, optimiser
        self.folder, self.seed, self.accelerate = folder, seed, accelerate
        self.slices = batch_slices(streams, batch or {}, config, accelerate)
        self.module = _on_device(step, config, accelerate)
        self.model: nn.Module
        self.model, self.optimiser = accelerate.prepare(
            self.module, optimiser.build(self.module.parameter_groups(optimiser.encoder_lr, optimiser.factors))
        )
        self.balancer = self.module.balancer
        self.balancer.prepare(accelerate, [p for group in self.optimiser.param_groups for p in group["params"]])
        self.meter = Meter(accelerate.device)
        self.guard = FiniteGuard(accelerate.device)
        self.counted = CountCheck()
        self.step_done = 0

    def run(self, every: int, evaluate: Callable[[int], Mapping[str, Any]] | None) -> None:
        """Train until the last step; `evaluate(steps done)` is called every `every` steps and logged."""
        config, main = self.config, self.accelerate.is_main_process
        log = Log(self.folder, config.steps, self.step_done, main, config.trackers)
        with contextlib.closing(log), StopRequest() as stop:
            batches = self._batches()
            for step in range(self.step_done, config.steps):
                self._step(step, [next(batches) for _ in range(config.accumulate)])
                self.step_done = done = step + 1
                log.advance(done)
                if done % config.log_every == 0 or done == config.steps:
                    log.write(done, "train", self.meter.take())
                if evaluate is not None and done % every == 0 and done < config.steps:
                    log.write(done, "val", evaluate(done))
                stopping = stop.anywhere(self.accelerate, done % config.log_every == 0)
                if done % config.save_every == 0 or done == config.steps or stopping:
                    self.save()
                if stopping:
                    stop.leave(done)

    def _step(self, step: int, micro_batches: Sequence[Batches]) -> None:
        """One optimiser step. Every random number drawn in it depends on (seed, step, rank) alone."""
        torch.manual_seed(_mix(self.seed, step, self.accelerate.process_index))
        lr = self.schedule.set_lr(self.optimiser, step, self.config.steps)
        self.module.begin_step(step, (step + 1) % self.config.log_every == 0 or step + 1 == self.config.steps)
        counts = self._counts(micro_batches)
        self.counted.begin(counts)
        self.balancer.begin(step, self.seed)
        for index, batches in enumerate(micro_batches):
            self._learn(batches, counts, last=index == len(micro_batches) - 1)
        self.meter.add_logs({f"balancing.{group}": w for group, w in self.balancer.finish().items()})
        self.counted.end()
        self.guard.demand(step)
        self.module.drop_idle_gradients()
        norm = self._clip()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.module.after_step(step)
        self.meter.add_step(lr, effective_decay(self.config.ema_decay, step), norm)

    def _learn(self, batches: Batches, counts: Mapping[str, Tensor], last: bool) -> None:
        """Forward and backward of one micro-batch."""
        with contextlib.nullcontext() if last else self.accelerate.no_sync(self.model):
            with self.accelerate.autocast():  # which Accelerate has put around the model, but for FSDP
                result = self.model(batches)
            losses = self._losses(result, counts)
            self.guard.note(total(loss.everyone for loss in losses))
            self.balancer.backward(losses, last)

    def _losses(self, result: StepResult, counts: Mapping[str, Tensor]) -> list[TermLoss]:
        """Each term as it is to be differentiated on this rank, and over all ranks, which is the one to look at.

        Ranks average their gradients, so this rank's sum is divided by the GLOBAL count and multiplied by their number.
        """
        names = sorted(result.terms)  # the same row for a term on every rank
        self.counted.check(names)  # before ranks add up rows of different terms
        terms = [result.terms[name] for name in names]
        mine = torch.stack([torch.stack((t.sum.detach().float(), t.count.detach().float())) for t in terms])
        everyone: Tensor = self.accelerate.reduce(mine, "sum") if self.accelerate.num_processes > 1 else mine
        self.counted.note(names, everyone[:, 1])
        rows, scale = dict(zip(names, everyone, strict=True)), self.accelerate.num_processes
        losses = []
        for name, term in result.terms.items():
            summed, count = rows[name]
            denominator = counts.get(name, count * self.config.accumulate).clamp(min=1)
            own = term.weight * scale * term.sum / denominator
            losses.append(TermLoss(term.group, own, term.weight * summed / denominator, count))
            self.meter.add_term(name, summed, count)
        self.meter.add_logs(self._logs(result))
        return losses

    def _logs(self, result: StepResult) -> Mapping[str, Tensor]:
        """What is only logged, as the mean over the ranks."""
        if self.accelerate.num_processes == 1:
            return result.logs
        names = sorted(result.logs)
        self.counted.check_logs(names, self.module.measuring)
        if not names:
            return {}
        mean: Tensor = self.accelerate.reduce(torch.stack([result.logs[n].detach().float() for n in names]), "mean")
        found = dict(zip(names, mean.unbind(), strict=True))
        return {name: found[name] for name in result.logs}

    def _counts(self, micro_batches: Sequence[Batches]) -> dict[str, Tensor]:
        """Loss counts over micro-batches and ranks, as far as the data alone tells them; for accumulation only."""
        if len(micro_batches) == 1:
            return {}
        each = [self.module.counts(batches) for batches in micro_batches]
        totals = {name: torch.stack([counts[name] for counts in each]).sum() for name in each[0]}
        return {name: self.accelerate.reduce(total, "sum") for name, total in totals.items()}

    def _clip(self) -> Tensor:
        """Clip the gradient; returns its norm before clipping."""
        limit = self.config.clip if self.config.clip > 0 else float("inf")
        norm: Tensor = sharding.full(self.accelerate.clip_grad_norm_(self.model.parameters(), limit))
        if self.accelerate.scaler is None:
            return norm
        # In fp16 an overflowing gradient is part of the method: the scaler skips that step and lowers its scale.
        return torch.where(torch.isfinite(norm), norm, 0.0)

    def _batches(self) -> Iterator[Batches]:
        """Batches of all streams on the device, from the next step to the last."""
        device, workers = self.accelerate.device, self.config.workers
        if workers is None:
            workers = 0 if device.type == "cpu" else loader_processes(len(self.streams))
        steps = {name: Steps(part, self.step_done, self.config.steps) for name, part in self.slices.items()}
        pin = device.type == "cuda"
        loaders = [loader(stream, steps[name], workers, pin) for name, stream in self.streams.items()]
        for batches in zip(*loaders, strict=True):
            yield {name: batch.to(device) for name, batch in zip(self.streams, batches, strict=True)}

    def save(self) -> None:
        """Write the checkpoint, unless what it would hold is broken."""
        self.meter.demand_finite(self.step_done)
        main = self.accelerate.is_main_process
        module, optimiser = (sharding.whole(one.state_dict(), main) for one in (self.module, self.optimiser))
        if main:
            scaler = self.accelerate.scaler
            state = {
                "step": self.step_done,
                "step_module": module,
                "optimiser": optimiser,
                "scaler": scaler.state_dict() if scaler is not None else {},
                "meter": self.meter.state_dict(),
            }
            save_checkpoint(self.folder, state)
        self.accelerate.wait_for_everyone()

    def resume(self) -> None:
        """Continue from the checkpoint in the run folder, bit for bit."""
        state = load_checkpoint(self.folder)
        try:
            sharding.load(self.module, self.optimiser, state["step_module"], state["optimiser"])
        except ValueError as error:  # groups of other sizes
            raise FathomError(
                f"{self.folder} cannot be resumed: its optimiser has other groups of parameters ({error}). Resume it "
                "with the version that began it, or train anew."
            ) from None
        if self.accelerate.scaler is not None and state["scaler"]:
            self.accelerate.scaler.load_state_dict(state["scaler"])
        self.meter.load_state_dict(state["meter"])
        self.step_done = int(state["step"])

    def trained(self, build: Callable[[], Step]) -> Step:
        """The step on one device: one in shards is built anew, and takes the weights of the last checkpoint."""
        if not sharding.in_shards(self.accelerate):
            return self.module
        step = build().to(self.accelerate.device)
        step.load_state_dict(load_checkpoint(self.folder)["step_module"])
        return step


def _mix(*numbers: int) -> int:
    """One well-mixed seed from several numbers, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _on_device(step: Step, config: Loop, accelerate: accelerate.Accelerator) -> Step:
    """The step on its device in the fastest memory layout; on GPUs BatchNorm sees the images of all ranks."""
    if accelerate.num_processes > 1 and accelerate.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(step)
    if sharding.in_shards(accelerate):
        sharding.plan(accelerate.state.fsdp_plugin, step)
        step.to(accelerate.device)  # FSDP takes no other memory format
    else:
        step.to(device=accelerate.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.compile:
        step.network.compile()
    return step.train()
