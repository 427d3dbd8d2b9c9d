"""The deployable: a trained network that takes an image of any size and gives classes at that size.

predictor = fathomseg.load("runs/camvid")
prediction = predictor.predict(image)     # uint8 H x W x 3 RGB -> label uint8 H x W, confidence float32 H x W
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from fathomseg import config
from fathomseg.config import Part
from fathomseg.data.transforms import PositiveSize
from fathomseg.errors import FathomError
from fathomseg.io.images import resize_image
from fathomseg.models.joint import only
from fathomseg.models.saved import WEIGHTS, Weights, load_model
from fathomseg.types import ClassList, Prediction, Size

_STRIP: Final = 2**24
"""Scores held at once at the size of the given image, so that a photograph of 100 megapixels needs no more memory."""


class Window(Part):
    """The window of sliding-window inference."""

    size: PositiveSize | None = None
    """(height, width) in pixels of the working image; nothing = a square as wide as its shorter side."""
    stride: Annotated[float, Field(gt=0, le=1)] = 2 / 3
    """Step from window to window, as a fraction of the window; below 1 they overlap."""

    def boxes(self, image: Size) -> list[tuple[int, int, int, int]]:
        """(top, left, height, width) of the windows that cover an image; all of one size, none beyond the image."""
        height, width = (min(s) for s in zip(self.size or (min(image), min(image)), image, strict=True))
        tops, lefts = _places(image[0], height, self.stride), _places(image[1], width, self.stride)
        return [(top, left, height, width) for top in tops for left in lefts]


class Inference(Part):
    """How an image goes through the network."""

    mode: Literal["whole", "slide"] = "whole"
    """whole: the image at once. slide: overlapping windows, whose probabilities are averaged."""
    size: PositiveSize | None = None
    """(height, width) an image is resized to first; nothing = the working size of the training."""
    window: Window = Window()
    """The window of mode slide."""
    flip: bool = False
    """Average with the prediction of the mirrored image: twice the time, often half a per cent of mIoU."""


def load(
    run: Path | str,
    weights: Weights = "ema",
    device: torch.device | str | None = None,
    inference: Inference | None = None,
) -> Predictor:
    """The trained network of a run folder, ready to predict; on a GPU if there is one and `device` names none.

    `inference` is by default what the run was configured with. Raises `FathomError` if the folder holds no such model.
    """
    if weights not in WEIGHTS:
        raise FathomError(f"There are no weights {weights!r}; choose from {', '.join(WEIGHTS)}.")
    folder = Path(run)
    card, network = load_model(folder, WEIGHTS[weights])
    place = pick_device(device)
    network = network.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Predictor(network, card.class_list, card.size, place, inference or trained_inference(folder))


class _Evaluation(Part):
    model_config = ConfigDict(extra="ignore")

    inference: Inference = Inference()


class _Configuration(Part):
    """The part of a run's configuration that matters here; the rest is not looked at."""

    model_config = ConfigDict(extra="ignore")

    evaluation: _Evaluation = _Evaluation()


def trained_inference(
    run: Path, mode: str | None = None, flip: bool = False, overrides: Sequence[str] = ()
) -> Inference:
    """The inference settings in a run's configuration (the defaults if it has none), perhaps in another mode, or
    flipped too."""
    path = run / "config.yaml"
    more = [] if mode is None else [f"evaluation.inference.mode={mode}"]
    more += ["evaluation.inference.flip=true"] if flip else []
    return config.load(_Configuration, path if path.is_file() else {}, [*overrides, *more]).evaluation.inference


class Predictor:
    """A network in eval mode with everything around it: resizing, windows, softmax. Changes nothing in the network.

    `network(images float 0..1)` must return a mapping whose "segmentation" holds logits (b c h' w').
    """

    def __init__(
        self,
        network: nn.Module,
        classes: ClassList,
        size: Size,
        device: torch.device | str = "cpu",
        inference: Inference | None = None,
    ) -> None:
        self.network, self.classes, self.device = only(network, "segmentation"), classes, torch.device(device)
        self.inference = inference or Inference()
        self.size = self.inference.size or size

    def predict(self, image: UInt8[np.ndarray, "h w 3"], size: Size | None = None) -> Prediction:
        """Classes and confidences of one RGB image of any size, at that size or at `size`.

        Raises `FathomError` if the array is no such image or the network gives NaN.
        """
        return self.predict_batch([image], None if size is None else [size])[0]

    def predict_batch(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size] | None = None
    ) -> list[Prediction]:
        """The same of several images, of any sizes, in one pass of the network; they fit its memory or do not."""
        results = []
        for label, confidence in self.score(images, sizes):
            prediction = Prediction(label.cpu().numpy(), confidence.cpu().numpy())
            if not np.isfinite(prediction.confidence).all():
                raise FathomError("The network gives NaN for this image: its weights are not finite. Train it again.")
            results.append(prediction)
        return results

    def score(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size] | None = None
    ) -> list[tuple[UInt8[Tensor, "h w"], Float32[Tensor, "h w"]]]:
        """Label and confidence of every image as tensors on the device; does not wait for them."""
        sizes = [image.shape[:2] for image in images] if sizes is None else sizes
        logits = self.logits(stacked(images, self.size))
        return [decode(one, size) for one, size in zip(logits, sizes, strict=True)]

    @torch.inference_mode()
    def logits(self, images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b c h2 w2"]:
        """Class scores whose softmax are the probabilities, of images at working size, at the network's own resolution.

        With windows or flipping they are log-probabilities, averaged as probabilities, at working size.
        """
        inputs = images.to(self.device).float().div(255).contiguous(memory_format=torch.channels_last)
        if self.inference.mode == "whole" and not self.inference.flip:
            return self._forward(inputs)
        if self.inference.mode == "whole":
            return _log(self._probabilities(inputs))
        return _log(self._slide(inputs))

    def _slide(self, inputs: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Probabilities of overlapping windows, averaged with weights that fall off towards a window's edges."""
        size = (inputs.shape[2], inputs.shape[3])
        total, weight = inputs.new_zeros(len(inputs), len(self.classes), *size), inputs.new_zeros(size)
        for top, left, height, width in self.inference.window.boxes(size):
            inside = (..., slice(top, top + height), slice(left, left + width))
            hat = _hat(height, inputs.device)[:, None] * _hat(width, inputs.device)
            total[inside] += hat * self._probabilities(inputs[inside])
            weight[inside] += hat
        return total / weight

    def _probabilities(self, inputs: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Softmax at the size of the input, averaged with that of the mirrored input if `flip`."""
        return mirrored_mean(self._softmax, inputs) if self.inference.flip else self._softmax(inputs)

    def _softmax(self, inputs: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        logits = self._forward(inputs)
        return F.interpolate(logits, inputs.shape[2:], mode="bilinear", align_corners=False).softmax(1)

    def _forward(self, inputs: Float[Tensor, "b 3 h w"]) -> Float32[Tensor, "b c h2 w2"]:
        with inferring(self.network, self.device):
            heads = cast(Mapping[str, Tensor], self.network(inputs))
        return heads["segmentation"].float()


def stacked(images: Sequence[UInt8[np.ndarray, "_ _ 3"]], size: Size) -> UInt8[Tensor, "b 3 h w"]:
    """RGB images of any sizes at one size, resampled as for training. Raises `FathomError` for other arrays."""
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise FathomError(
                f"An image must be a uint8 array of height x width x 3 (RGB), but this one is {image.dtype} of "
                f"shape {image.shape}."
            )
    return torch.from_numpy(np.stack([resize_image(image, size) for image in images])).permute(0, 3, 1, 2)


@torch.inference_mode()
def decode(logits: Float32[Tensor, "c h w"], size: Size) -> tuple[UInt8[Tensor, "h2 w2"], Float32[Tensor, "h2 w2"]]:
    """Class (argmax) and confidence (its softmax) of logits upsampled to `size`: bilinear, align_corners=False.

    Works in strips of rows, so that the upsampled logits of all classes never exist at once.
    """
    height, width = size
    wide = F.interpolate(logits[None], (logits.shape[1], width), mode="bilinear", align_corners=False)[0]
    label = torch.empty(size, dtype=torch.uint8, device=logits.device)
    confidence = torch.empty(size, dtype=torch.float32, device=logits.device)
    step = max(1, _STRIP // (len(logits) * width))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        strip = _rows(wide, height, rows)
        best, index = strip.max(0)
        label[rows], confidence[rows] = index.byte(), (best - strip.logsumexp(0)).exp().clamp(max=1)
    return label, confidence


def _rows(x: Float32[Tensor, "c h w"], height: int, rows: slice) -> Float32[Tensor, "c rows w"]:
    """Some rows of `x` resized to `height` rows, as F.interpolate(mode="bilinear", align_corners=False) makes them."""
    source = (torch.arange(rows.start, rows.stop, device=x.device) + 0.5) * (x.shape[1] / height) - 0.5
    source = source.clamp(min=0)
    above = source.long().clamp(max=x.shape[1] - 1)
    below = (above + 1).clamp(max=x.shape[1] - 1)
    return torch.lerp(x[:, above], x[:, below], (source - above)[:, None])


def _places(length: int, window: int, stride: float) -> list[int]:
    """Evenly spaced starts of the fewest windows, at most `stride` of a window apart, that cover `length` pixels."""
    steps = -(-(length - window) // max(1, int(window * stride)))
    return [round(i * (length - window) / steps) for i in range(steps + 1)] if steps else [0]


def _hat(length: int, device: torch.device) -> Float32[Tensor, " length"]:
    """Weights that rise evenly from the ends of a window to its middle, where the network sees most context."""
    ramp = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    return torch.minimum(ramp, ramp.flip(0)) / length


def _log(probabilities: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Finite even where a probability is 0, since interpolation would make NaN of infinities."""
    return probabilities.clamp(min=1e-30).log()


def mirrored_mean(maps: Callable[[Tensor], Tensor], images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
    """The mean of `maps(images)` and of the maps of the mirrored images, mirrored back."""
    return (maps(images) + maps(images.flip(3)).flip(3)) / 2


@contextmanager
def inferring(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode for a while, on a GPU in bfloat16 where that is safe."""
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"), evaluating(network):
        yield


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


def pick_device(wanted: torch.device | str | None) -> torch.device:
    """The device of this name; nothing = a GPU if there is one. Raises `FathomError` if it cannot be had."""
    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise FathomError(f"There is no kind of device {wanted!r}. Give cpu, cuda, cuda:1 ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise FathomError(f"Device {wanted} was asked for, but torch finds no CUDA device. Give cpu.")
    return device
