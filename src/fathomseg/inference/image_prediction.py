"""A prediction that knows its image and its classes, so that it can be looked at and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from PIL import Image

from fathomseg.errors import FathomError
from fathomseg.io import draw
from fathomseg.io.draw import Picture
from fathomseg.io.files import write_bytes
from fathomseg.tasks.base import Task
from fathomseg.types import ClassList, Prediction

_PICTURES: Final = (".jpg", ".jpeg", ".png")
_SHOWN: Final = 4
"""Classes that are named."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImagePrediction(Prediction):
    """What `Predictor.predict` gives: the fields of `Prediction`, pictures of them, and files."""

    image: Picture = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    """The image it is of, upright RGB."""
    tasks: Mapping[str, Task] = field(default_factory=dict)
    """What was predicted."""
    classes: ClassList | None = None
    """Names and colours of the values of `label`."""
    name: str = "image"
    """What its files are called: the file the image was read from, without ending."""

    @classmethod
    def of(
        cls, prediction: Prediction, image: Picture, tasks: Mapping[str, Task], classes: ClassList | None, name: str
    ) -> ImagePrediction:
        """The same prediction with what is known besides."""
        own = {one.name: getattr(prediction, one.name) for one in fields(Prediction)}
        return cls(**own, image=image, tasks=tasks, classes=classes, name=name)

    def overlay(self, task: str | None = None) -> Image.Image:
        """The prediction of a task (the first one) as a picture of the size of the image: class colours over it, depth
        in colours. Notebooks show it. Raises `FathomError` for a task that was not predicted."""
        chosen = next(iter(self.tasks), None) if task is None else task
        if chosen is None or chosen not in self.tasks:
            raise FathomError(f"{task!r} was not predicted; there is: {', '.join(self.tasks)}.")
        return Image.fromarray(self.tasks[chosen].painter(self.classes)(self.image, self))

    def save(self, place: Path | str, overwrite: bool = False) -> list[Path]:
        """Write what was predicted; returns the files. `place` is the file of a picture (.jpg or .png: `overlay()`), or
        a folder, which gets the files that `fathom predict` writes: ids/NAME.png, overlays/NAME.jpg ...

        Raises `FathomError` if one of them is there already, unless `overwrite`; what describes the whole folder
        (classes.json ...) may be there if it says the same.
        """
        place = Path(place)
        if place.suffix.lower() in _PICTURES:
            _refuse([place], overwrite)
            draw.write(place, np.asarray(self.overlay()))
            return [place]
        made = {
            task: (place / task.places.values / f"{self.name}.png", place / task.places.views / f"{self.name}.jpg")
            for task in self.tasks.values()
        }
        about = self._about()
        other = [place / name for name, text in about.items() if _differs(place / name, text)]
        _refuse([*(path for pair in made.values() for path in pair), *other], overwrite)
        for task, (values, view) in made.items():
            task.write(values, self, self.classes)
            draw.write(view, task.viewer(self.classes)(self.image, self))
        for name, text in about.items():
            write_bytes(place / name, text)
        return [path for pair in made.values() for path in pair]

    def __repr__(self) -> str:
        """Size, the most frequent classes, and the range of depths."""
        height, width = self.image.shape[:2]
        return f"Prediction({', '.join([f'{height} x {width}', *self._facts()])})"

    def _repr_png_(self) -> bytes:
        """What notebooks show."""
        content = BytesIO()
        self.overlay().save(content, "PNG")
        return content.getvalue()

    def _about(self) -> dict[str, bytes]:
        """By name the files that say what the numbers of all predictions in a folder mean."""
        with TemporaryDirectory() as folder:
            for task in self.tasks.values():
                task.describe(Path(folder), self.classes, "fathomseg.Predictor")
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}

    def _facts(self) -> Sequence[str]:
        found = []
        if self.label is not None and self.classes is not None:
            shares = np.bincount(self.label.ravel(), minlength=len(self.classes)) / self.label.size
            best = [index for index in np.argsort(-shares, kind="stable")[:_SHOWN].tolist() if shares[index] > 0]
            found += [f"{self.classes.names[index]} {100 * shares[index]:.0f} %" for index in best]
        if self.confidence is not None:
            found.append(f"confidence {self.confidence.mean():.2f}")
        if self.depth is not None:
            near, middle, far = np.percentile(self.depth, (2, 50, 98))
            unit = "m" if self.depth_unit == "metres" else "(relative)"
            found.append(f"depth {near:.3g} to {far:.3g} {unit}, median {middle:.3g}")
        if self.normals is not None:
            found.append("normals")
        return found


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and not (path.is_file() and path.read_bytes() == content)


def _refuse(paths: Sequence[Path], overwrite: bool) -> None:
    if not overwrite and (there := [path for path in paths if path.exists()]):
        raise FathomError(f"{there[0]} is there already; give another place, or overwrite=True.")
