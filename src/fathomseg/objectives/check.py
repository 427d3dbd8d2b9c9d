"""The one check of whether a network, streams and objectives fit together, made before anything is read or built."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from fathomseg.data.distilled import TARGETS, in_batch, is_target, target_name
from fathomseg.objectives.base import Objective, RunSettings
from fathomseg.tasks.network import NetworkConfig, task_names
from fathomseg.tasks.source_depth import SOURCE_DEPTH


def misfits(
    network: NetworkConfig, streams: Mapping[str, Collection[str]], objectives: Mapping[str, Objective]
) -> Iterator[str]:
    """What does not fit, one sentence each: which objective, what it lacks, what to set.

    `streams`: for each, the targets that only its own settings can give ("disparity", if it has a depth source;
    "label", if it has a label budget; "distilled_label" ..., if it has a teacher's predictions).
    """
    if not objectives:
        yield "nothing is learned: give an objective, for example objectives.supervised={stream: labelled}"
    elif not network.predicted and any(objective.trains_network for objective in objectives.values()):
        yield "a network needs a task: give network.tasks.segmentation={} or network.tasks.depth={}"
    run, frozen = RunSettings(network, streams, objectives), {n for n, task in network.tasks.items() if task.frozen}
    for name, objective in objectives.items():
        for stream in objective.streams:
            if stream not in streams:
                like = [one for one in streams if f"un{stream}" != one and f"un{one}" != stream]  # labelled, unlabelled
                close = "".join(f"did you mean {one!r}? Or " for one in get_close_matches(stream, like, n=1))
                yield (
                    f"objective {name!r} learns from stream {stream!r}, but there is none: {close}give "
                    f"streams.{stream}={{}}"
                )
            elif "disparity" in objective.needs(network) and "disparity" not in streams[stream]:
                own = "" if "depth" in network.tasks else ", or let the network predict it: network.tasks.depth={}"
                yield (
                    f"objective {name!r} needs the disparity of the images of stream {stream!r}, which nothing gives: "
                    f"give streams.{stream}.depth={{name: run, run: RUN}}{own}"
                )
        yield from _partner_misfits(name, objective, network, streams)
        asked = objective.needs(network) | objective.uses(network)
        asked |= objective.partner_needs(network) | objective.partner_uses(network)
        for target in sorted(one for one in asked if not is_target(one)):
            there = ", ".join(sorted(in_batch()))
            yield f"objective {name!r} asks for the target {target!r}, which nothing gives; there is: {there}"
        for output in sorted(objective.learns(network) - network.outputs):
            there = f"give network.tasks.{output}={{}}" if output in task_names() else _predicted(network)
            yield f"objective {name!r} trains {output!r}, which the network does not predict: {there}"
        for output in sorted(one for one in objective.learns(network) if one in frozen and objective.weight > 0):
            yield (
                f"objective {name!r} trains {output!r}, which network.tasks.{output}.frozen=true keeps as it is: give "
                f"objectives.{name}.weight=0, or leave frozen out"
            )
        if (reason := objective.misfit(network)) is not None:
            yield f"objective {name!r}: {reason}"
        yield from objective.misfits(name, run)
    learned = frozenset().union(*(objective.learns(network) for objective in objectives.values()))
    for output in sorted(network.outputs - learned - frozen):
        yield f"the network predicts {output!r}, but no objective trains it: {_remedy(output)}"
    read = {stream for o in objectives.values() for stream in (*o.streams, *o.partners)}
    for stream in sorted(streams.keys() - read):
        yield (
            f"no objective learns from stream {stream!r}: leave it out (streams.{stream}=null), or name it in an "
            "objective"
        )
    for stream, given in streams.items():
        used = frozenset().union(*(o.uses(network) for o in objectives.values() if stream in o.streams))
        unused = [
            task for task, target in TARGETS.items() if target_name(target) in given and target_name(target) not in used
        ]
        for task in unused:
            yield (
                f"stream {stream!r} has a teacher's predictions of {task}, but no objective learns from them: give "
                f"objectives.supervised.distilled.{task}={{}}, or leave streams.{stream}.distilled.{task} out"
            )
    yield from _more_than_one(streams, objectives)


def _partner_misfits(
    name: str, objective: Objective, network: NetworkConfig, streams: Mapping[str, Collection[str]]
) -> Iterator[str]:
    """What keeps the images of other streams from being looked at beside those it learns from."""
    for stream in objective.partners:
        if stream not in streams:
            yield f"objective {name!r} has the partner {stream!r}, but there is no such stream; give streams.{stream}"
        elif "disparity" in objective.partner_needs(network) and "disparity" not in streams[stream]:
            yield (
                f"objective {name!r} compares depths with those of stream {stream!r}, which nothing gives: give "
                f"streams.{stream}.depth={{name: dataset}} or {{name: run, run: RUN}}"
            )


def _more_than_one(streams: Collection[str], objectives: Mapping[str, Objective]) -> Iterator[str]:
    """What a run has one of, and several objectives would each bring."""
    for what in dict.fromkeys(objective.single for objective in objectives.values() if objective.single is not None):
        names = [name for name, objective in objectives.items() if objective.single == what]
        if len(names) == 1:
            continue
        if objectives[names[0]].takes_several:
            yield (
                f"{' and '.join(names)} would each have a {what} of their own: give one of them all streams, "
                f"objectives.{names[0]}.stream=[{', '.join(streams)}]"
            )
        else:
            yield f"{' and '.join(names)} would each train a {what}, and a run has one: leave one of them out"


def _predicted(network: NetworkConfig) -> str:
    return f"it predicts {', '.join(sorted(network.outputs))}"


def _remedy(output: str) -> str:
    if output == "depth":
        return (
            "give objectives.photometric={} (from video), objectives.supervised.losses.depth={} (from true depth), or "
            "leave network.tasks.depth out"
        )
    if output == SOURCE_DEPTH:
        return (
            "give objectives.NAME={name: supervised, stream: SOURCE, losses: {source_depth: {target: disparity}}}, or "
            "leave network.tasks.source_depth out"
        )
    if output.startswith("early_"):
        return "give a weight to objectives.supervised.early, or set network.links.early=[]"
    return f"give objectives.supervised.losses.{output}={{}}, or leave network.tasks.{output} out"
