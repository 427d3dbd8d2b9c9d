"""The user's own data: a folder with `dataset.yaml` and no code. docs/data.md describes the layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import Field

from fathomseg import config
from fathomseg.data.datasets.base import Kind, Traits
from fathomseg.data.datasets.clip_order import order_in_time
from fathomseg.data.datasets.description import Bits, CameraEntry, Description
from fathomseg.data.datasets.files import Files, Listing, files_below
from fathomseg.data.datasets.folder_splits import LISTS, SplitLists, clip_of, why_no, with_splits
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.maps import DepthDataset, read_any_depth
from fathomseg.errors import ConfigError, DataError, FathomError, Problem
from fathomseg.io.images import SUFFIXES, resize_nearest
from fathomseg.io.listing import VIDEOS, ending, stamp, walk
from fathomseg.io.normal_maps import read_normals
from fathomseg.io.shapes import fitted, refuse_other_shape
from fathomseg.io.stored_maps import MAP_SUFFIXES, read_as
from fathomseg.types import IGNORE, Camera, ClassList

DESCRIPTION: Final = "dataset.yaml"
NORMAL_SUFFIXES: Final = (".png",)
_SCORED: Final = {"label": ("labelled image", "labelled images"), "depth": ("image with depth", "images with depth")}


class Folder(SplitLists, DepthDataset):
    """Images, labels, depth maps, clips and videos below one folder, described by its `dataset.yaml`.

    Ids are "images/<path without ending>" and "clips/<clip or video>/<frame>"; the label of either is the file of the
    same name below labels/ (for a frame of a clip, below labels/clips/), its depth that below depth/, its surface
    normals that below normals/ (16-bit RGB, as `fathom predict` writes them). Splits are
    `train`, `val`, `labelled` (the part of `train` whose labels may be used), `clips` (all video frames that are not
    held out) and `all`; empty ones do not exist. Lists of images and patterns say what is in `train`, `val` and
    `labelled` (`SplitLists`).
    """

    name: Literal["folder"] = "folder"
    val_percent: int = Field(default=20, ge=1, le=99)
    """Without splits/val.txt: the share of the images that `val_by` means, in percent, that is held out as `val`."""
    val_by: Literal["label", "depth"] = "label"
    """Of which images the default `val` is: of those with a label, or of those with depth, labelled or not, so that it
    stays when labels come. The choice is by a hash of the id: those held out by their label are so by their depth."""

    bits: Bits | None = None
    """Bits that images in files of 16 bits use, such as 12; left out = what dataset.yaml says."""

    @property
    def classes(self) -> ClassList:
        """The classes of dataset.yaml, in its order. Raises `NoClasses` if it lists none."""
        return self._description.class_list(str(self.root / DESCRIPTION))

    @property
    def _labels(self) -> LabelMap:
        return self._description.label_map(str(self.root / DESCRIPTION))

    @cached_property
    def _description(self) -> Description:
        path = self.root / DESCRIPTION
        if not path.is_file():
            raise FathomError(
                f"There is no {path}. A folder of your own data needs one that lists the classes; see docs/data.md. If "
                "its labels are COCO's JSON or YOLO's texts, set data.name=coco or data.name=yolo."
            )
        return config.load(Description, path)

    def image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB image, uint8. Raises `DataError` with the reason if it cannot be read."""
        return self.files(id).read(self.stated_bits)

    @property
    def stated_bits(self) -> int | None:
        """Bits that images in files of 16 are said to use, here or in dataset.yaml."""
        return self._description.bits if self.bits is None else self.bits

    def traits(self, id: str) -> Traits:
        """Those of the file, with the bits that are stated."""
        found, stated = super().traits(id), self.stated_bits
        return found if found.bits is None or stated is None else replace(found, bits=stated)

    def fingerprint(self, id: str, kind: Kind) -> str | None:
        """That of the files, and for an image how many bits they use."""
        known, bits = super().fingerprint(id, kind), self.stated_bits
        return known if known is None or kind != "image" or bits is None else f"{known}|{bits} bits"

    def _depth_file(self, id: str) -> Path | None:
        return None if self._description.depth_scale is None else self._depth_maps.get(id.removeprefix("images/"))

    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        scale = self._description.depth_scale
        assert scale is not None, "without one no map is read"
        return read_any_depth(path, scale)

    def _depth_key(self, id: str) -> str:
        path = self._depth_file(id)
        return f"{self._description.depth_scale}{'' if path is None else read_as(path)}"

    @cached_property
    def _depth_maps(self) -> dict[str, Path]:
        """The files in depth/, by image. Raises `DataError` for two of one name."""
        return files_below(self.root / "depth", MAP_SUFFIXES)

    def unread_depth(self) -> str | None:
        """That maps in depth/ are not read as nobody says what their numbers mean, and what to do."""
        maps = sum(ending(name) in MAP_SUFFIXES for name, _ in walk(self.root / "depth"))
        if self._description.depth_scale is not None or not maps:
            return None
        return (
            f"depth/ holds {maps} maps that are not read: write `depth_scale: 0.001` in dataset.yaml if they are "
            "millimetres, 1 for metres."
        )

    def stored_normals(self, id: str) -> Float32[np.ndarray, "h w 3"] | None:
        """Those in normals/, nearest at the size of the image. Raises `DataError`."""
        if (path := self._normals_file(id)) is None:
            return None
        stored, size = read_normals(path), self.files(id).size()
        refuse_other_shape("the map of normals", stored.shape[:2], size, str(path))
        return resize_nearest(stored, size)

    def has_normals(self, id: str) -> bool:
        """Whether there is a file in normals/, or depth and a camera."""
        return self._normals_file(id) is not None or super().has_normals(id)

    def normals_fingerprint(self, id: str) -> str | None:
        """That of the file in normals/, or else of depth and camera."""
        if (path := self._normals_file(id)) is None:
            return super().normals_fingerprint(id)
        return f"{path}|{stamp(path)}|{self.files(id).size()}"

    def _normals_file(self, id: str) -> Path | None:
        return self._normal_maps.get(id.removeprefix("images/"))

    @cached_property
    def _normal_maps(self) -> dict[str, Path]:
        """The files in normals/, by image. Raises `DataError` for two of one name."""
        return files_below(self.root / "normals", NORMAL_SUFFIXES)

    def camera(self, id: str) -> Camera | None:
        """The camera of the clip, or else of dataset.yaml, scaled to the stored image."""
        clip = clip_of(id)
        entry = self._cameras.get(clip, self._description.camera) if clip else self._description.camera
        if entry is None:
            return None
        files = self.files(id)
        return fitted(entry.camera(), files.size(), str(files.image))

    def camera_height(self, id: str) -> float | None:
        """That of dataset.yaml."""
        return self._description.camera_height

    def clip(self, id: str) -> str | None:
        """The clip or video a frame belongs to ("clips/harbour"); None for a single image."""
        return clip_of(id)

    def clips_remedy(self) -> str:
        """What to write where."""
        return "hold out whole drives (`val: [clips/NAME/*]` in dataset.yaml, or data.val=[clips/NAME/*])"

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame of the same clip `offset` steps later in time; None beyond its ends or in a gap of its numbers."""
        place = self._places.get(id)
        return None if place is None else self._at_place.get((clip_of(id), place + offset))

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Gaps in clips, and files that belong to no clip or image."""
        for id in ids:
            if id in self._before_gap:
                after = self._before_gap[id].rsplit("/", 1)[-1]
                reason = f"missing neighbour: the next frame is {after}; add the frames between, or make two clips"
                yield Problem(str(self.files(id).image), reason)
        samples = self._listing.samples
        for stem, path in files_below(self.root / "clips").items():
            if "/" not in stem:
                yield Problem(str(path), "belongs to no clip; put the frames of each clip into a folder of their own")
        for stem, path in files_below(self.root / "labels").items():
            if f"images/{stem}" in samples or (stem in samples and clip_of(stem)):
                continue
            where = "an image of the same name in images/"
            if stem in samples:
                where = f"that of {stem} at {self.root / 'labels' / path.relative_to(self.root / 'labels' / 'images')}"
            yield Problem(str(path), f"is the label of no image; expected {where}")
        for what in ("depth", "normals"):
            if what == "depth" and self._description.depth_scale is None:
                continue  # none is read, as `notes` says
            try:
                maps = self._depth_maps if what == "depth" else self._normal_maps
            except DataError as error:
                maps = {}
                yield from error.problems
            verb = "is" if what == "depth" else "are"
            for stem, path in maps.items():
                if f"images/{stem}" not in samples and not (stem in samples and clip_of(stem)):
                    reason = f"{verb} the {what} of no image; expected an image of the same name in images/"
                    yield Problem(str(path), reason)
        yield from self._stray_cameras()

    def _stray_cameras(self) -> Iterator[Problem]:
        """YAML files where cameras are looked for that are the camera of no clip."""
        clips = {clip_of(id) for id in self._listing.samples}
        used = {path for clip, path in self._camera_files.items() if clip in clips}
        beside = [path for path in self.root.iterdir() if path.stem.lower() == "camera"] if self.root.is_dir() else []
        for path in [*(path for part in ("clips", "videos") for _, path in walk(self.root / part)), *sorted(beside)]:
            if path.suffix.lower() in {".yaml", ".yml"} and path not in used:
                yield Problem(
                    str(path),
                    "is the camera of no clip; expected clips/NAME/camera.yaml or videos/NAME.yaml, or for all images "
                    "`camera` in dataset.yaml",
                )

    def passed_over(self) -> tuple[str, ...]:
        """Every file in the folders that is not read, counted by ending."""
        known = {"images": SUFFIXES, "labels": SUFFIXES, "clips": SUFFIXES | {".yaml"}, "videos": VIDEOS | {".yaml"}}
        known |= {"depth": frozenset(MAP_SUFFIXES), "normals": frozenset(NORMAL_SUFFIXES)}
        return self._not_read(known)

    def notes(self) -> tuple[str, ...]:
        """How the splits came about, where the user did not say."""
        listed = {name for name in LISTS if self._is_listed(name)}
        notes = [] if (unread := self.unread_depth()) is None else [unread]
        if "val" not in listed and "train" in listed:
            one = _SCORED[self.val_by][0]
            notes.append(f"There is no list of val: val is every {one} that the list of train leaves out.")
        elif "val" not in listed:
            notes.append(
                f"There is no list of val: {self._made()}. If images come from drives, hold out whole ones: "
                "`val: [clips/NAME/*]` in dataset.yaml."
            )
        if few := self.few_to_train():
            notes.append(few)
        if "train" not in listed:
            notes.append("There is no list of train: train is every image that is not in val.")
        if "labelled" in listed:
            notes.append("There is a list of labelled: labels of other images of train are never opened.")
        if away := self.held_out():
            notes.append(f"{len(away)} of {len(self._listing.samples)} images are held out: nothing learns from them.")
        if any(files.label is not None for files in self._listing.samples.values()):
            index = self._description.unpainted_index
            meaning = "count nowhere" if index == IGNORE else f"are {self.classes.names[index]!r}"
            notes.append(f"Transparent pixels of labels, which nobody has painted, {meaning} (`unpainted`).")
        return tuple(notes)

    def few_to_train(self) -> str | None:
        """That the val which nobody has listed has more labels than train: of few images a hash may take most."""
        if self._is_listed("val") or self._is_listed("train"):
            return None
        samples, splits = self._listing.samples, (self.ids(name) if name in self.splits else () for name in LISTS[:2])
        train, val = (sum(samples[id].label is not None for id in ids) for ids in splits)
        if val <= train:
            return None
        return (
            f"val has {val} labels and train {train}, since a hash of the ids chose val. Say which images are val: "
            "`val: [images/NAME, ...]` in dataset.yaml or data.val=[images/NAME,...]; data.val=[] trains on all."
        )

    def _why_no(self, split: str) -> str:
        return why_no(split, self._listing.samples)

    def _is_listed(self, name: str) -> bool:
        """Whether somebody wrote this list."""
        given = getattr(self, name) is not None or getattr(self._description, name) is not None
        return given or (self.root / "splits" / f"{name}.txt").is_file()

    def _made(self) -> str:
        """How `val` was made without a list."""
        val = len(self.ids("val")) if "val" in self.splits else 0
        having = len(self._scored(self._listing.samples))
        one, several = _SCORED[self.val_by]
        share = f"about {self.val_percent} % of the {several} are val, chosen by a hash of their id"
        if not val:
            few = f"the only {one}, which is never held out" if having == 1 else "no image"
            return f"{share}; of {having} that is {few}, so that there is no val"
        return f"{share}, of a clip all or none, at least one and never all: {val} of {having}"

    def _list(self) -> Listing:
        if not self.root.exists():
            raise FathomError(f"There is no folder {self.root}; expected one with images/, clips/<name>/ or videos/.")
        if not (samples := self.samples()):
            raise FathomError(f"{self.root} holds no images: expected them in images/, clips/<name>/ or videos/.")
        return with_splits(self.root, samples, self.val_percent, self._description, self, self._scored(samples))

    def _scored(self, samples: Mapping[str, Files]) -> list[str]:
        """The samples of which the default `val` is."""
        if self.val_by == "depth":
            return [id for id in samples if self._depth_file(id) is not None]
        return [id for id, files in samples.items() if files.label is not None]

    def samples(self) -> dict[str, Files]:
        """Every image and frame there is, by id; dataset.yaml is not asked and need not be there."""
        labels = files_below(self.root / "labels")
        images = {f"images/{stem}": Files(p, labels.get(stem)) for stem, p in files_below(self.root / "images").items()}
        clips = {id: replace(files, label=labels.get(id)) for id, files in (*self._frames(), *self._video_frames())}
        return images | clips

    def _frames(self) -> Iterator[tuple[str, Files]]:
        """The frames stored as images in clips/<name>/."""
        for stem, path in files_below(self.root / "clips").items():
            if "/" in stem:
                yield f"clips/{stem}", Files(path)

    def _video_frames(self) -> Iterator[tuple[str, Files]]:
        """The frames of videos/*. A video that cannot be opened counts as one frame, to be met with its reason."""
        folder = self.root / "videos"
        if not folder.is_dir():
            return
        for stem, path in files_below(folder, VIDEOS).items():
            if (self.root / "clips" / stem).exists():
                raise DataError([Problem(str(path), f"has the name of {self.root / 'clips' / stem}; rename one")])
            for frame in range(_frame_count(path)):
                yield f"clips/{stem}/{frame:06d}", Files(path, frame=frame)

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each frame stands in its clip."""
        clips: dict[str, list[str]] = defaultdict(list)
        for id in self._listing.samples:
            if clip := clip_of(id):
                clips[clip].append(id)
        return {id: place for ids in clips.values() for id, place in order_in_time(ids).items()}

    @cached_property
    def _at_place(self) -> dict[tuple[str | None, int], str]:
        return {(clip_of(id), place): id for id, place in self._places.items()}

    @cached_property
    def _before_gap(self) -> dict[str, str]:
        """Frames after which some are missing, with the next one there is."""
        frames = sorted(self._at_place.items(), key=lambda item: (str(item[0][0]), item[0][1]))
        steps = pairwise(frames)
        return {before: after for ((clip, i), before), ((other, j), after) in steps if clip == other and j - i > 1}

    @cached_property
    def _camera_files(self) -> dict[str, Path]:
        """By clip its camera file (clips/<name>/camera.yaml), or that of its video (videos/<name>.yaml)."""
        files = {f"clips/{stem.removesuffix('/camera')}": path for stem, path in _yaml(self.root / "clips").items()}
        return files | {f"clips/{stem}": path for stem, path in _yaml(self.root / "videos").items()}

    @cached_property
    def _cameras(self) -> dict[str, CameraEntry]:
        """What these files hold."""
        cameras, problems = {}, []
        for clip, path in self._camera_files.items():
            try:
                cameras[clip] = config.load(CameraEntry, path)
            except ConfigError as error:
                problems.append(Problem(str(path), str(error)))
        if problems:
            raise DataError(problems)
        return cameras


def _yaml(folder: Path) -> dict[str, Path]:
    return files_below(folder, {".yaml"})


def _frame_count(path: Path) -> int:
    from fathomseg.io.video import video_index

    try:
        return video_index(path).frames
    except DataError:
        return 1
