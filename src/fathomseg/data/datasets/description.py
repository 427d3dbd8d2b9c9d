"""What the user writes about his own data: `dataset.yaml` (classes, kind of labels) and `camera.yaml`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, model_validator

from fathomseg.config import Part
from fathomseg.config.bounds import Byte
from fathomseg.data.datasets.folder_splits import SplitLists
from fathomseg.data.datasets.labels import LabelKind, LabelMap, distinct_colours, pack_one, unpack
from fathomseg.errors import DataError, Problem
from fathomseg.types import IGNORE, Camera, ClassList


def _from_hex(value: Any) -> Any:
    """ "#8040ff" as (128, 64, 255); everything else is left to the validation."""
    if isinstance(value, str) and len(value) == 7 and value.startswith("#"):
        try:
            return tuple(bytes.fromhex(value[1:]))
        except ValueError:
            return value
    return value


def _named(value: Any) -> Any:
    """A class given by its name alone."""
    if value is None:
        raise ValueError("is null, which YAML writes as null, ~ or nothing; put a name that looks so in quotes")
    return {"name": value} if isinstance(value, str) else value


BACKGROUND: Final = "background"
"""The class of this name is what nobody has painted, unless `unpainted` says otherwise."""
IGNORED: Final = "ignore"
"""What `unpainted` says if no class is meant."""

Bits = Annotated[int, Field(ge=8, le=16)]
Rgb = Annotated[tuple[Byte, Byte, Byte], BeforeValidator(_from_hex)]


def _metres(scale: float) -> float:
    if scale > 1:
        raise ValueError(
            f"is the metres of one stored unit, at most 1; for {scale:g} units a metre write depth_scale: {1 / scale:g}"
        )
    return scale


MetresPerStep = Annotated[float, Field(gt=0), AfterValidator(_metres)]


def _listed(classes: Any) -> Any:
    """What is no list of classes, but meant as one."""
    if isinstance(classes, str):
        raise ValueError("must be a list in dataset.yaml itself, not a file: a line `- NAME` per class")
    return classes


def _none_or_several(classes: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(classes) == 1:
        raise ValueError("has one class; give 2 to 254: what is none of the others is a class too (`background`)")
    return classes


class NoClasses(DataError):
    """A dataset that lists no classes is asked for them."""


class ClassEntry(Part):
    """One class of the user's data."""

    name: Annotated[str, Field(min_length=1)]
    """What the class is called."""
    id: int | None = None
    """The pixel value that means it; left out for all classes = their order, from 0."""
    colour: Rgb | None = None
    """[red, green, blue], 0 to 255, or "#rrggbb": how it is drawn and, with `labels: colours`, how it is stored."""


class CameraEntry(Part):
    """A pinhole camera, for images of `width` x `height` pixels; it is scaled to images stored at another size."""

    width: Annotated[int, Field(gt=0)]
    """Width in pixels of the images the numbers below were measured on."""
    height: Annotated[int, Field(gt=0)]
    """Height in pixels of the images the numbers below were measured on."""
    fx: PositiveFloat
    """Focal length in pixels, horizontally."""
    fy: PositiveFloat
    """Focal length in pixels, vertically."""
    cx: float
    """Principal point in pixels, horizontally; 0 is the centre of the first pixel."""
    cy: float
    """Principal point in pixels, vertically."""
    fps: PositiveFloat | None = None
    """Frames per second of the clip, for the reader's information."""

    def camera(self) -> Camera:
        """The same as the program's camera."""
        return Camera(fx=self.fx, fy=self.fy, cx=self.cx, cy=self.cy, height=self.height, width=self.width)


class Description(SplitLists):
    """The file `dataset.yaml`: classes, labels, cameras, and which images are held out."""

    classes: Annotated[
        tuple[Annotated[ClassEntry, BeforeValidator(_named)], ...],
        BeforeValidator(_listed),
        Field(max_length=254),
        AfterValidator(_none_or_several),
    ] = ()
    """The classes, in the order they get their index in; left out = none, for depth alone."""
    labels: LabelKind = "ids"
    """Whether a label file stores class ids (grey values or palette indices) or colours."""
    ignore: tuple[int | Rgb, ...] | None = None
    """Ids (or colours) that count nowhere; left out = id 255, and no colour."""
    unpainted: str | None = None
    """The class of pixels that nobody has painted, or `ignore`: they count nowhere. These are the transparent ones of a
    label, and what an annotation tool leaves empty. Left out = the class `background` if there is one, else ignored."""
    bits: Bits | None = None
    """Bits that images in files of 16 bits use, such as 12; left out = found from each file's largest value."""
    depth_scale: MetresPerStep | None = None
    """Metres per stored unit of the maps in depth/: 0.001 = millimetres, 1 = metres. A stored 0 is unknown."""
    camera: CameraEntry | None = None
    """The camera of all images that have no camera file of their own."""
    camera_height: PositiveFloat | None = None
    """Metres from the ground to the camera of all clips: what depth that is learned from video gets its metres from."""

    @model_validator(mode="after")
    def _consistent(self) -> Description:
        faults = [*self._repeated(), *self._lacking()]
        names = [entry.name for entry in self.classes]
        if self.unpainted is not None and self.unpainted not in (*names, IGNORED):
            faults.append(f"`unpainted` is {self.unpainted!r}; expected {IGNORED} or a class: {', '.join(names)}")
        if both := set(self._values) & set(self._ignored):
            faults.append(f"{self._show(both)} is both a class and in `ignore`")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def class_list(self, where: str = "dataset.yaml") -> ClassList:
        """Names and colours; classes without a colour get distinct ones. Raises `NoClasses` of the file `where`."""
        self._refuse_none(where)
        spare = distinct_colours(len(self.classes))
        colours = tuple(entry.colour or colour for entry, colour in zip(self.classes, spare, strict=True))
        return ClassList(tuple(entry.name for entry in self.classes), colours)

    def label_map(self, where: str = "dataset.yaml") -> LabelMap:
        """How stored labels become class indices. Raises `NoClasses` of the file `where`."""
        self._refuse_none(where)
        return LabelMap(
            kind=self.labels,
            names=tuple(entry.name for entry in self.classes),
            values=self._values,
            ignored=self._ignored,
            colours=tuple(None if entry.colour is None else pack_one(entry.colour) for entry in self.classes)
            if self.labels == "ids" and any(entry.colour for entry in self.classes)
            else (),
            unpainted=self.unpainted_index,
            remedy="add it to `classes` or to `ignore` in dataset.yaml, or correct the label",
        )

    def _refuse_none(self, where: str) -> None:
        if not self.classes:
            reason = "`classes` is required for labels and segmentation; depth alone needs none"
            raise NoClasses([Problem(where, reason)])

    @property
    def unpainted_index(self) -> int:
        """The class index of pixels that nobody has painted; 255 if they count nowhere."""
        names = [entry.name for entry in self.classes]
        name = BACKGROUND if self.unpainted is None else self.unpainted
        return names.index(name) if name in names else IGNORE

    @property
    def _values(self) -> tuple[int, ...]:
        """The stored value of each class."""
        if self.labels == "colours":
            return tuple(pack_one(entry.colour) for entry in self.classes if entry.colour is not None)
        return tuple(index if entry.id is None else entry.id for index, entry in enumerate(self.classes))

    @property
    def _ignored(self) -> tuple[int, ...]:
        if self.ignore is None:
            return (IGNORE,) if self.labels == "ids" else ()
        return tuple(item if isinstance(item, int) else pack_one(item) for item in self.ignore)

    def _repeated(self) -> Iterable[str]:
        yield from (f"the name {name!r} is given twice" for name in _twice(entry.name for entry in self.classes))
        for value in _twice(self._values):
            yield f"{self._show([value])} is given twice"

    def _lacking(self) -> Iterable[str]:
        colours = self.labels == "colours"
        lacking = [entry.name for entry in self.classes if (entry.colour if colours else entry.id) is None]
        if colours and lacking:
            yield f"with `labels: colours` every class needs a colour; without one: {', '.join(lacking)}"
        if not colours and 0 < len(lacking) < len(self.classes):
            yield f"give every class an id or none; without one: {', '.join(lacking)}"
        wrong: type = int if colours else tuple
        if any(isinstance(item, wrong) for item in self.ignore or ()):
            yield f"`ignore` must list {self.labels}, as `labels` says"

    def _show(self, values: Iterable[int]) -> str:
        """Stored values as the user wrote them."""
        shown = [unpack(value) if self.labels == "colours" else value for value in sorted(values)]
        return f"{'colour' if self.labels == 'colours' else 'id'} {', '.join(map(str, shown))}"


def _twice(items: Iterable[Hashable]) -> list[Any]:
    return [item for item, count in Counter(items).items() if count > 1]
