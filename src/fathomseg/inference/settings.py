"""How an image goes through a network: whole or in windows, at what size, mirrored too or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from fathomseg import config
from fathomseg.config import Part
from fathomseg.data.sizes import step_of
from fathomseg.data.transforms import PositiveSize
from fathomseg.errors import FathomError
from fathomseg.inference.onnx import is_onnx, read_metadata
from fathomseg.inference.shape import kept_aspect
from fathomseg.io.files import CONFIG
from fathomseg.types import Size

LINKS: Final = {"on": True, "off": False}
"""What --links says."""


class Window(Part):
    """The window of sliding-window inference."""

    size: PositiveSize | None = None
    """(height, width) in pixels of the working image; null = a square as wide as its shorter side."""
    stride: Annotated[float, Field(gt=0, le=1)] = 2 / 3
    """Step from window to window, as a fraction of the window; below 1 they overlap."""

    def boxes(self, image: Size) -> list[tuple[int, int, int, int]]:
        """(top, left, height, width) of the windows that cover an image; all of one size, none beyond the image."""
        height, width = (min(s) for s in zip(self.size or (min(image), min(image)), image, strict=True))
        tops, lefts = _places(image[0], height, self.stride), _places(image[1], width, self.stride)
        return [(top, left, height, width) for top in tops for left in lefts]


class Inference(Part):
    """How an image goes through the network."""

    mode: Literal["whole", "slide", "tiles"] = "whole"
    """whole: the image at once. slide: overlapping windows of the resized image, whose probabilities are averaged.
    tiles: the same of the image as it is, not resized, for images much larger than those of the training but of their
    scale, such as aerial ones. Depth always sees the whole image."""
    size: PositiveSize | None = None
    """(height, width) an image is resized to first, whatever its shape. null = the working size of the training, or as
    many pixels in the proportions of the image, if these are not those of the training (by a tenth)."""
    window: Window = Window()
    """The window of modes slide and tiles; its size in tiles is by default that of the training."""
    flip: bool = False
    """Average with the prediction of the mirrored image: twice the time, often half a per cent of mIoU."""
    links: bool = True
    """Whether the network's links take part; false shows what they are worth."""

    def size_for(self, trained: Size, image: Size) -> Size:
        """The (height, width) at which an image goes through a network trained at another size."""
        return self.size or kept_aspect(trained, image)

    def misfit(self, trained: Size) -> str | None:
        """What `size` may cost a network trained at another one, in a line; None if nothing."""
        step = step_of(trained)
        if self.size is None or self.mode == "tiles" or not any(side % step for side in self.size):
            return None
        height, width = (max(step, round(side / step) * step) for side in self.size)
        return (
            f"WARNING: {self.size[0]} x {self.size[1]} is no multiple of {step}, as the training's sides are: maps may "
            f"not lie where they did, which costs accuracy. Give evaluation.inference.size=[{height},{width}]."
        )

    def differences(self, usual: Inference) -> list[str]:
        """A word for each setting that is not the usual one; they tell the folders of results apart."""
        window = "" if self.window.size is None else "{}x{}-".format(*self.window.size)
        words = {
            "mode": self.mode,
            "size": "trained-size" if self.size is None else "{}x{}".format(*self.size),
            "window": f"window-{window}stride-{self.window.stride:.4g}",
            "flip": "flip" if self.flip else "no-flip",
            "links": "links-on" if self.links else "links-off",
        }
        return [word for name, word in words.items() if getattr(self, name) != getattr(usual, name)]


class _Evaluation(Part):
    inference: Inference = Inference()


class _Configuration(Part):
    """The part of a run's configuration that matters here."""

    evaluation: _Evaluation = _Evaluation()


def trained_inference(
    run: Path,
    mode: str | None = None,
    flip: bool = False,
    overrides: Sequence[str] = (),
    links: bool | str | None = None,
) -> Inference:
    """The inference settings in a run's configuration, or in an exported file (the defaults if it has none), perhaps in
    another mode, flipped too, or with its links on or off (or True, False). Of a run's other settings nothing is read;
    `overrides` are of these alone.

    Raises `ConfigError` for an override of anything else, `FathomError` for another word about links.
    """
    more = [] if mode is None else [f"evaluation.inference.mode={mode}"]
    more += ["evaluation.inference.flip=true"] if flip else []
    wanted = LINKS.get(links) if isinstance(links, str) else links
    if wanted is None and links is not None:
        raise FathomError(f"--links is {links!r}; give on or off.")
    more += [] if wanted is None else [f"evaluation.inference.links={str(wanted).lower()}"]
    if is_onnx(run):
        known = read_metadata(run).get("inference", {})
    else:
        path = run / CONFIG
        tree = config.read_yaml(path).get("evaluation") if path.is_file() else None
        known = tree.get("inference", {}) if isinstance(tree, dict) else {}
    source: dict[str, Any] = {"evaluation": {"inference": known}}
    return config.load(_Configuration, source, [*overrides, *more]).evaluation.inference


def _places(length: int, window: int, stride: float) -> list[int]:
    """Evenly spaced starts of the fewest windows, at most `stride` of a window apart, that cover `length` pixels."""
    steps = -(-(length - window) // max(1, int(window * stride)))
    return [round(i * (length - window) / steps) for i in range(steps + 1)] if steps else [0]
