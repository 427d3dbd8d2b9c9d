"""From a recipe to the modules that train: network, what objectives bring, and the step around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from fathomseg.data.colour import ColourJitter
from fathomseg.engine.balancing.base import Balancing
from fathomseg.engine.step import Step
from fathomseg.inference.card import ModelCard
from fathomseg.inference.depth_scale import DepthScale
from fathomseg.metrics.depth import Alignment
from fathomseg.models.network import Network
from fathomseg.models.pose import PoseNetwork
from fathomseg.models.scene.saved import SceneCard
from fathomseg.objectives import Contrastive, Photometric
from fathomseg.objectives.base import Objective, ObjectiveModule, Setup, groups_of
from fathomseg.objectives.contrastive import ContrastiveObjective
from fathomseg.objectives.photometric import PhotometricObjective
from fathomseg.objectives.supervised import SupervisedObjective
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.depth_loss import DepthLoss
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.cameras import known_factors, learned
from fathomseg.training.domains import held_for, own_norms, shared_classes, weighing_objective
from fathomseg.training.recipe import Recipe
from fathomseg.training.streams import Streams
from fathomseg.types import ClassList

Brought = Mapping[str, nn.ModuleDict]
"""What objectives bring, by the objective's name."""


def build_networks(recipe: Recipe, pretrained: bool) -> tuple[Network, dict[str, nn.ModuleDict]]:
    """The network, and what each objective brings beside it."""
    classes = len(recipe.data.classes) if "segmentation" in recipe.network.tasks else 0
    network = recipe.network.build(classes, pretrained)
    return network, {name: o.brings(network, pretrained) for name, o in recipe.objectives.items()}


def refuse_unfit(recipe: Recipe) -> None:
    """Raise `FathomError` for objectives that do not fit the classes of the data, each other, or the files they name:
    what building them would find after everything is prepared."""
    depth_of(recipe)  # which may ask an earlier run
    classes = _classes(recipe, recipe.streams)
    for objective in recipe.objectives.values():
        objective.refuse(classes)
    giving = {name for name, stream in recipe.streams.items() if stream.labels is None or stream.labels.count != 0}
    every = recipe.objectives.items()
    weighing = [name for name, one in every if one.weighs_classes and giving.intersection(one.streams)]
    weighing_objective(recipe, weighing)


def _classes(recipe: Recipe, streams: Iterable[str]) -> ClassList | None:
    """The classes of the labels, if anything goes by them."""
    uses_labels = any(recipe.uses(name) & {"label", "distilled_label"} for name in streams)
    return recipe.data.classes if uses_labels or "segmentation" in recipe.network.tasks else None


def pose_network(brought: Brought) -> PoseNetwork | None:
    """The network for camera motion, if depth is learned from video."""
    found = next((modules["pose"] for modules in brought.values() if "pose" in modules), None)
    assert found is None or isinstance(found, PoseNetwork)
    return found


def build_step(recipe: Recipe, network: Network, brought: Brought, streams: Streams) -> Step:
    """The training step. Supervised losses come first, since pseudo-labels go by the weights they give the classes."""
    labels = {name for name in streams.by_name if "label" in recipe.needs(name)}
    cameras = learned(streams.intrinsics)
    setup = Setup(
        network=recipe.network,
        steps=recipe.train.steps,
        label_pixels={name: streams.by_name[name].drawn_pixels(len(recipe.data.classes)) for name in labels},
        focal_ids=streams.learned_focal_ids,
        focal_factors=known_factors(recipe.init_from, cameras),
        focal_cameras=[(name, camera.fx) for name, camera in cameras],
        classes=_classes(recipe, streams.by_name),
        samples={name: (recipe.dataset(name), stream.ids) for name, stream in streams.by_name.items()},
    )
    outputs = frozenset().union(*(objective.learns(recipe.network) for objective in recipe.objectives.values()))
    if recipe.network.outputs - outputs:  # by objectives of weight 0 alone: several processes wait for every gradient
        reached = {id(parameter) for parameter in network.reached(outputs)}
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in reached)
    built: dict[str, ObjectiveModule] = {}
    weights: dict[str, Tensor] = {}
    for name in (name for name, objective in recipe.objectives.items() if objective.task_losses):
        objective = built[name] = recipe.objectives[name].build(setup, network, brought[name])
        if isinstance(objective, SupervisedObjective) and (own := objective.class_weights()) is not None:
            weights[name] = own
    if (weighing := weighing_objective(recipe, weights)) is not None:
        setup = replace(setup, class_weights=weights[weighing])
    for name in [name for name in recipe.objectives if name not in built]:
        built[name] = recipe.objectives[name].build(setup, network, brought[name])
    return assembled(
        network,
        recipe.network,
        recipe.objectives,
        built,
        colours(recipe),
        held_for(recipe, streams.by_name),
        recipe.train.ema_decay,
        recipe.balancing,
        own_norms(recipe, streams.by_name),
    )


def assembled(
    network: Network,
    config: NetworkConfig,
    objectives: Mapping[str, Objective],
    built: Mapping[str, ObjectiveModule],
    colours: Mapping[str, ColourJitter | None],
    held_for: Mapping[str, Collection[str]] | None,
    ema_decay: float,
    balancing: Balancing,
    own_norms: Mapping[str, Collection[str]] | None,
) -> Step:
    """The step of objectives that are `built`, with what their settings say; `colours` of every stream. The rest is as
    `Step` takes it."""
    return Step(
        network,
        {name: built[name] for name in objectives},
        {stream: tuple(name for name, one in objectives.items() if stream in one.streams) for stream in colours},
        colours,
        held_for,
        ema_decay,
        balancing,
        groups_of(objectives, config),
        own_norms,
        {name: objective.weight for name, objective in objectives.items()},
    )


def colours(recipe: Recipe) -> dict[str, ColourJitter | None]:
    """The random colours of every stream."""
    papers = ColourJitter(probability=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    found: dict[str, ColourJitter | None] = {}
    for name, stream in recipe.streams.items():
        needs = recipe.needs(name)
        usual = ColourJitter() if needs & {"label", "depth", "normals"} else papers if "frames" in needs else None
        seen = any(objective.trains_network for objective in recipe.objectives_of(name).values())
        colour = usual if stream.colour is None else stream.colour.over(usual or ColourJitter())
        found[name] = colour if seen else None
    return found


def model_card(recipe: Recipe) -> ModelCard:
    """What must be known beside the weights."""
    classes = recipe.data.classes if "segmentation" in recipe.network.tasks else None
    labels = None if classes is None else recipe.data.label_map()
    photometric = next((o for o in recipe.objectives.values() if isinstance(o, Photometric)), None)
    contrastive = next((o for o in recipe.objectives.values() if isinstance(o, Contrastive)), None)
    network, scale, alignment = depth_of(recipe)
    depth = network.tasks.get("depth")
    return ModelCard(
        network=network,
        classes=() if classes is None else classes.names,
        colours=() if classes is None else classes.colours,
        shared_classes=shared_classes(recipe),
        ids=() if labels is None else labels.ids,
        labels="ids" if labels is None else labels.kind,
        size=recipe.size,
        bits=recipe.data.stated_bits,
        depth_unit=depth.depth_unit if isinstance(depth, Depth) else None,
        depth_scale=scale,
        depth_alignment=alignment,
        pose=None if photometric is None else photometric.pose,
        pose_size=None if photometric is None else recipe.working_size(photometric.streams[0]),
        scene=None if contrastive is None else scene_card(contrastive, recipe.data.classes),
    )


def depth_of(recipe: Recipe) -> tuple[NetworkConfig, DepthScale | None, Alignment | None]:
    """The network with the unit that its depth is learned in, and how that has to be aligned with a truth; for depth
    that is frozen all of that, with its range and its scale, from the card of the run it comes from.

    metres: a loss of this very scale on true depth. A loss that leaves the scale open makes the rest relative, and
    leaves a shift open as well unless depth is learned from video too. So does disparity, but for one that is learned
    as it is.
    """
    network, depth = recipe.network, recipe.network.tasks.get("depth")
    if not isinstance(depth, Depth):
        return network, None, None
    if depth.frozen:
        assert recipe.init_from is not None, "what is frozen comes from a run"
        card = recipe.init_from.kept(depth)
        theirs = card.network.tasks["depth"].model_dump(include={"min_depth", "max_depth"})
        return _with_depth(network, unit=card.depth_unit, **theirs), card.depth_scale, card.depth_alignment
    found = [
        (o.task_losses.get("depth"), recipe.streams[name].depth)
        for o in recipe.objectives.values()
        for name in o.streams
    ]
    losses = [(loss, source) for loss, source in found if isinstance(loss, DepthLoss) and loss.weight > 0]
    metres = any(loss.target == "depth" and not loss.leaves_scale_open for loss, _ in losses)
    unit = depth.unit or ("metres" if metres else "relative" if losses else depth.depth_unit)
    shape_alone = losses and all(
        loss.leaves_shift_open or (loss.target == "disparity" and (source is None or source.normalise.over != "none"))
        for loss, source in losses
    )
    video = any("frames" in o.needs(network) for o in recipe.objectives.values())
    alignment: Alignment = "none" if unit == "metres" else "scale_shift" if shape_alone and not video else "median"
    return _with_depth(network, unit=unit), None, alignment


def _with_depth(network: NetworkConfig, **known: Any) -> NetworkConfig:
    """The network with what is known of its depth."""
    tasks = {**network.tasks, "depth": network.tasks["depth"].model_copy(update=known)}
    return network.model_copy(update={"tasks": tasks})


def scene_card(contrastive: Contrastive, classes: ClassList) -> SceneCard:
    """What must be known beside the weights of the scene model."""
    return SceneCard(
        encoder=contrastive.encoder, classes=classes.names, colours=classes.colours, apart=contrastive.apart
    )


def class_weights_of(recipe: Recipe, step: Step) -> tuple[float, ...]:
    """What the supervised loss weighs each class by, if they differ; of several, those `logit_adjusted` uses."""
    weights = {
        name: own
        for name, objective in step.objectives.items()
        if isinstance(objective, SupervisedObjective) and (own := objective.class_weights()) is not None
    }
    name = weighing_objective(recipe, weights)
    return () if name is None else tuple(weights[name].tolist())


def contrastive_of(step: Step) -> ContrastiveObjective | None:
    """The objective that trains a scene model, if there is one."""
    return next((o for o in step.objectives.values() if isinstance(o, ContrastiveObjective)), None)


def photometric_of(step: Step) -> PhotometricObjective | None:
    """The objective that learns depth from video, if there is one."""
    return next((o for o in step.objectives.values() if isinstance(o, PhotometricObjective)), None)
