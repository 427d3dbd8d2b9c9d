"""The deployable of depth: a trained network that takes an image of any size and tells how far everything in it is.

predictor = fathomseg.load_depth("runs/depth-kitti")
prediction = predictor.predict(image)     # uint8 H x W x 3 RGB -> disparity 0..1 and depth, float32 H x W
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.inference.predictor import inferring, mirrored_mean, pick_device, stacked
from fathomseg.models.joint import only
from fathomseg.inference.card import WEIGHTS, Weights, load_depth_model
from fathomseg.types import DepthPrediction, Size


def load_depth(
    run: Path | str, weights: Weights = "ema", device: torch.device | str | None = None, flip: bool = False
) -> DepthPredictor:
    """The trained depth network of a run folder; on a GPU if there is one and `device` names none.

    `flip` averages disparity with that of the mirrored image, in twice the time. Raises `FathomError` if the folder
    holds no network that gives depth.
    """
    if weights not in WEIGHTS:
        raise FathomError(f"There are no weights {weights!r}; choose from {', '.join(WEIGHTS)}.")
    card, network = load_depth_model(Path(run), WEIGHTS[weights])
    assert card.depth_range is not None, "load_depth_model gives cards with a depth range"
    place = pick_device(device)
    network = network.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return DepthPredictor(network, card.size, card.depth_range, place, flip)


class DepthPredictor:
    """A network in eval mode with everything around it: resizing and the scale of disparity.

    `network(images float 0..1)` must return a mapping whose "disparity" holds maps (b 1 h' w') of 0..1, finest first.
    """

    def __init__(
        self,
        network: nn.Module,
        size: Size,
        depth_range: tuple[float, float],
        device: torch.device | str = "cpu",
        flip: bool = False,
    ) -> None:
        """`size` is the (height, width) the network works at, `depth_range` the depth of disparity 1 and of 0."""
        self.network, self.device = only(network, "disparity"), torch.device(device)
        self.size, self.depth_range, self.flip = size, depth_range, flip

    def predict(self, image: UInt8[np.ndarray, "h w 3"], size: Size | None = None) -> DepthPrediction:
        """Disparity and depth of one RGB image of any size, at that size or at `size`.

        Raises `FathomError` if the array is no such image or the network gives NaN.
        """
        return self.predict_batch([image], None if size is None else [size])[0]

    def predict_batch(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size] | None = None
    ) -> list[DepthPrediction]:
        """The same of several images, of any sizes, in one pass of the network."""
        sizes = [image.shape[:2] for image in images] if sizes is None else sizes
        maps = self.disparity(stacked(images, self.size))
        results = []
        for one, size in zip(maps, sizes, strict=True):
            disparity = F.interpolate(one[None], size, mode="bilinear", align_corners=False)[0, 0]
            depth = disparity_to_depth(disparity, *self.depth_range)
            results.append(DepthPrediction(disparity.cpu().numpy(), depth.cpu().numpy()))
            if not np.isfinite(results[-1].disparity).all():
                raise FathomError("The network gives NaN for this image: its weights are not finite. Train it again.")
        return results

    @torch.inference_mode()
    def disparity(self, images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 1 h2 w2"]:
        """Disparity 0..1 of images at working size, at the network's own finest resolution, on the device.

        With `flip`, the mean of the image's and the mirrored image's (Godard et al. 2017, arXiv:1609.03677, "pp",
        without the ramps at the borders, which stereo needs and one camera does not).
        """
        inputs: Float[Tensor, "b 3 h w"] = images.to(self.device).float().div(255)
        return mirrored_mean(self._forward, inputs) if self.flip else self._forward(inputs)

    def _forward(self, inputs: Float[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 1 h2 w2"]:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with inferring(self.network, self.device):
            finest: Tensor = self.network(inputs)["disparity"][0]
        return finest.float()
