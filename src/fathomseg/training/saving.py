"""What a training leaves behind to be used: weights and what must be known beside them."""

from __future__ import annotations

from pathlib import Path

from fathomseg.engine.step import Step
from fathomseg.inference.card import POSE, WEIGHTS, ModelCard, save_card
from fathomseg.io.progress import say
from fathomseg.models.saved import save_weights
from fathomseg.models.scene.saved import SCENE
from fathomseg.training.build import class_weights_of, contrastive_of, model_card, photometric_of
from fathomseg.training.cameras import learned, learned_cameras, save_cameras, trained_camera
from fathomseg.training.domains import same_data
from fathomseg.training.metric_scale import with_scale
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import split_ids
from fathomseg.training.streams import Streams


def save(folder: Path, recipe: Recipe, step: Step, streams: Streams) -> None:
    """Write what a user takes away: averaged and last weights, the pose network, learned cameras, the scene model; the
    card comes last."""
    if (photometric := photometric_of(step)) is not None:
        save_weights(folder / POSE, photometric.pose.state_dict())
        save_cameras(folder, learned(streams.intrinsics), photometric.focal_factors())
    if (contrastive := contrastive_of(step)) is not None:
        save_weights(folder / SCENE, contrastive.scene.state_dict())
    if step.network.tasks:
        save_weights(folder / WEIGHTS["last"], step.network.state_dict())
        save_weights(folder / WEIGHTS["ema"], step.ema.network.state_dict())
    save_card(folder, _card(recipe, step, streams))


def _card(recipe: Recipe, step: Step, streams: Streams) -> ModelCard:
    """What must be known beside the weights; depth in metres where something tells the scale of what was learned from
    video of the recipe's own data."""
    card = model_card(recipe).model_copy(update={"class_weights": class_weights_of(recipe, step)})
    photometric = photometric_of(step)
    if photometric is not None:
        cameras = learned_cameras(learned(streams.intrinsics), photometric.focal_factors())
        card = card.model_copy(update={"cameras": cameras})
    if photometric is None or card.depth_unit != "relative" or recipe.metric_scale.source == "none":
        return card
    name = next(stream for stream in photometric.config.streams if stream in streams.intrinsics)
    if not same_data(recipe.dataset(name), recipe.data):
        say(
            f"Depth stays relative: it was learned from {recipe.dataset(name).name}, and what a unit is there need not "
            f"hold for images of {recipe.data.name}, which the network is for."
        )
        return card
    intrinsics = streams.intrinsics[name]
    camera = trained_camera(intrinsics, streams.learned_focal_ids, photometric.focal_factors())
    scales = recipe.metric_scale.measure(
        card,
        step.ema.network,
        photometric.pose,
        recipe.dataset(name),
        [(beside[-1], id, beside[1]) for id, beside in (streams.by_name[name].neighbours or {}).items()],
        split_ids(recipe, name),
        camera,
    )
    known = recipe.metric_scale.knows_height(recipe.dataset(name), split_ids(recipe, name))
    return with_scale(card, scales, known)
