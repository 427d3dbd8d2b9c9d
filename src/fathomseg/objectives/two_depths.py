"""Whether a network's two depths can be compared (`DepthAgreement`): they are of one range, learned on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fathomseg.losses.depth_agreement import DepthAgreement
from fathomseg.objectives.base import Objective
from fathomseg.tasks import DepthLoss
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.source_depth import SOURCE_DEPTH


def unlike(network: NetworkConfig) -> str | None:
    """Why a network has no two depths of one range, with what to set; None if it has."""
    if lacking := [task for task in ("depth", SOURCE_DEPTH) if task not in network.tasks]:
        return (
            f"depth_agreement compares depth with {SOURCE_DEPTH}, but the network lacks {' and '.join(lacking)}: "
            f"give network.tasks.{lacking[0]}={{decoder: shared}}, or depth_agreement=null"
        )
    ranges = [network.tasks[task].depth_range for task in ("depth", SOURCE_DEPTH)]
    if ranges[0] != ranges[1]:
        return (
            f"depth_agreement compares depths of one range, but depth has {ranges[0]} and {SOURCE_DEPTH} "
            f"{ranges[1]}: give both the same min_depth and max_depth"
        )
    return None


def learned_unlike(
    agreement: DepthAgreement, network: NetworkConfig, objectives: Mapping[str, Objective]
) -> Iterator[str]:
    """Which of a run's objectives teach a depth in another unit, with what to set."""
    for name, objective in objectives.items():
        if "frames" in objective.needs(network):
            yield (
                f"depth_agreement compares depths of one scale, but {name!r} learns depth from video, in a scale of "
                "its own: pretrain depth, and give streams.NAME.depth={name: run, run: RUN} and "
                "losses.depth.target=disparity"
            )
        for task in ("depth", SOURCE_DEPTH):
            loss = objective.task_losses.get(task)
            if isinstance(loss, DepthLoss) and (loss.target != agreement.target or loss.leaves_scale_open):
                yield (
                    f"depth_agreement compares what is learned by losses.TASK.target={agreement.target} on one scale: "
                    f"set objectives.{name}.losses.{task}={{target: {agreement.target}, error: berhu}}, or "
                    "depth_agreement.target"
                )
