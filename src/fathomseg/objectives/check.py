"""The one check of whether a network, streams and objectives fit together, made before anything is read or built."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fathomseg.data.distilled import TARGETS, target_name
from fathomseg.losses.depth_agreement import DepthAgreement
from fathomseg.objectives.base import Objective
from fathomseg.objectives.contrastive import Contrastive
from fathomseg.objectives.photometric import Photometric
from fathomseg.objectives.pseudo_labels import PseudoLabels
from fathomseg.objectives.semantic_guidance import SemanticGuidance
from fathomseg.objectives.supervised import Supervised
from fathomseg.tasks import DepthLoss
from fathomseg.tasks.network import NetworkConfig
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
    for name, objective in objectives.items():
        for stream in objective.streams:
            if stream not in streams:
                yield f"objective {name!r} learns from stream {stream!r}, but there is none: give streams.{stream}={{}}"
            elif "disparity" in objective.needs(network) and "disparity" not in streams[stream]:
                own = "" if "depth" in network.tasks else ", or let the network predict it: network.tasks.depth={}"
                yield (
                    f"objective {name!r} needs the disparity of the images of stream {stream!r}, which nothing gives: "
                    f"give streams.{stream}.depth={{name: run, run: RUN}}{own}"
                )
        yield from _partner_misfits(name, objective, network, streams)
        for output in sorted(objective.learns(network) - network.outputs):
            remedy = f"give network.tasks.{output}={{}}"
            yield f"objective {name!r} trains {output!r}, which the network does not predict: {remedy}"
        if (reason := objective.misfit(network)) is not None:
            yield f"objective {name!r}: {reason}"
        if isinstance(objective, SemanticGuidance) and not objective.predicted:
            labelled = any("label" in given for given in streams.values())
            labelled |= any("label" in other.needs(network) for other in objectives.values())
            taught = any(target_name("label") in streams.get(stream, ()) for stream in objective.streams)
            if not labelled and not taught:
                yield (
                    f"objective {name!r} goes by classes, which nothing gives: give "
                    f"streams.{objective.streams[0]}.distilled.segmentation.folder=FOLDER, labels of the images "
                    f"(streams.{objective.streams[0]}.labels={{}}), or objectives.{name}.predicted=true"
                )
        if isinstance(objective, PseudoLabels) and objective.depth_agreement is not None:
            yield from _agreement_misfits(name, objective.depth_agreement, objectives)
        if isinstance(objective, Supervised):
            for task in objective.distilled:
                if not any(target_name(TARGETS[task]) in streams.get(stream, ()) for stream in objective.streams):
                    yield (
                        f"objective {name!r} learns {task} from a teacher's predictions, which no stream of it has: "
                        f"give streams.{objective.streams[0]}.distilled.{task}.folder=FOLDER, or leave "
                        f"objectives.{name}.distilled.{task} out"
                    )
    learned = frozenset().union(*(objective.learns(network) for objective in objectives.values()))
    for output in sorted(network.outputs - learned):
        yield f"the network predicts {output!r}, but no objective trains it: {_remedy(output)}"
    read = {stream for o in objectives.values() for stream in (*o.streams, *o.partners)}
    for stream in sorted(streams.keys() - read):
        yield f"no objective learns from stream {stream!r}: leave streams.{stream} out, or name it in an objective"
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
    photometric = [name for name, objective in objectives.items() if isinstance(objective, Photometric)]
    if len(photometric) > 1:
        yield (
            f"{' and '.join(photometric)} would each have a pose network of their own: give one of them all streams, "
            f"objectives.{photometric[0]}.stream=[{', '.join(streams)}]"
        )
    contrastive = [name for name, objective in objectives.items() if isinstance(objective, Contrastive)]
    if len(contrastive) > 1:
        yield f"{' and '.join(contrastive)} would each train a scene model, and a run has one: leave one of them out"
    adjusted = [name for name, o in objectives.items() if isinstance(o, PseudoLabels) and o.logit_adjusted]
    if adjusted and not any(_weighs_classes(objective) for objective in objectives.values()):
        yield (
            f"objective {adjusted[0]!r}: logit_adjusted has no class weights to go by: give "
            "objectives.supervised.losses.segmentation.balance, or set it to false"
        )


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


def _agreement_misfits(name: str, agreement: DepthAgreement, objectives: Mapping[str, Objective]) -> Iterator[str]:
    """Why two depths cannot be compared: they are not learned in one unit."""
    for other, objective in objectives.items():
        if isinstance(objective, Photometric):
            yield (
                f"objective {name!r}: depth_agreement compares depths of one scale, but {other!r} learns depth from "
                "video, in a scale of its own: pretrain depth, and give streams.NAME.depth={name: run, run: RUN} and "
                "losses.depth.target=disparity"
            )
        losses = objective.losses if isinstance(objective, Supervised) else {}
        for task in ("depth", SOURCE_DEPTH):
            loss = losses.get(task)
            if isinstance(loss, DepthLoss) and (loss.target != agreement.target or loss.leaves_scale_open):
                yield (
                    f"objective {name!r}: depth_agreement compares what is learned by "
                    f"losses.TASK.target={agreement.target} on one scale: set objectives.{other}.losses.{task}"
                    f"={{target: {agreement.target}, error: berhu}}, or depth_agreement.target"
                )


def _weighs_classes(objective: Objective) -> bool:
    return isinstance(objective, Supervised) and objective.weighs_classes


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
