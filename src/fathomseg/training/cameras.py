"""Cameras whose focal length is learned: where a run takes them up, and the files it leaves them in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from fathomseg import config as config_file
from fathomseg.data.datasets.description import CameraEntry
from fathomseg.data.intrinsics import Intrinsics, field_of_view
from fathomseg.io.files import write_text
from fathomseg.io.progress import say
from fathomseg.training.init_from import InitFrom
from fathomseg.types import Camera

FILE = "camera-{}.yaml"
"""A learned camera in a run folder, by its name; a camera.yaml for the folder of its clips."""


def learned(intrinsics: Mapping[str, Intrinsics]) -> list[tuple[str, Camera]]:
    """The learned cameras of all streams by their names, as they are given, in the order of their numbers."""
    found = []
    for one in intrinsics.values():
        if one.learned:
            first = {number: one.cameras[id] for id, number in reversed(list(one.assumed.items()))}
            found += [(name, first[number]) for number, name in enumerate(one.names)]
    return found


def known_factors(config: InitFrom | None, cameras: Sequence[tuple[str, Camera]]) -> list[float]:
    """By what each learned focal length had grown at the end of the run whose `pose` this one starts from; 1 = new."""
    factors = [1.0] * len(cameras)
    if config is None or config.run is None or "pose" not in config.parts:
        return factors
    for number, (name, camera) in enumerate(cameras):
        path = config.run / FILE.format(name)
        if path.is_file():
            factors[number] = config_file.load(CameraEntry, path).fx / camera.fx
            say(f"The focal length of {name} goes on from {path}")
    return factors


def trained_camera(
    intrinsics: Intrinsics, numbers: Mapping[str, int], factors: Sequence[float]
) -> Callable[[str], Camera | None]:
    """The camera of each image of a stream, with the focal length that was learned; `numbers` by image that of its
    learned camera over all streams (`Streams.learned_focal_ids`)."""

    def camera(id: str) -> Camera | None:
        one = intrinsics.cameras.get(id)
        if one is None or id not in numbers:
            return one
        factor = factors[numbers[id]]
        return replace(one, fx=one.fx * factor, fy=one.fy * factor)

    return camera


def tell_cameras(cameras: Sequence[tuple[str, Camera]], intrinsics: Mapping[str, Intrinsics]) -> None:
    """Say which frames are taken to come from which camera, before their focal lengths are learned."""
    counts = Counter(one.names[number] for one in intrinsics.values() for number in one.learned_focal_ids.values())
    for name, camera in cameras:
        say(
            f"Camera {name}: {counts[name]} frames share one focal length, which is learned; it begins at "
            f"{camera.fx:.1f} px."
        )
    if cameras:
        say("Clips of one folder and one size share a camera; put those of another into a folder of their own.")


def learned_cameras(cameras: Sequence[tuple[str, Camera]], factors: Sequence[float]) -> dict[str, CameraEntry]:
    """Each learned camera by its name, with the focal length that was found."""
    return {
        name: CameraEntry(
            width=guess.width,
            height=guess.height,
            fx=guess.fx * factor,
            fy=guess.fy * factor,
            cx=guess.cx,
            cy=guess.cy,
        )
        for (name, guess), factor in zip(cameras, factors, strict=True)
    }


def save_cameras(folder: Path, cameras: Sequence[tuple[str, Camera]], factors: Sequence[float]) -> None:
    """Write each learned camera, and say what it is."""
    found = learned_cameras(cameras, factors)
    for name, guess in cameras:
        entry, path = found[name], folder / FILE.format(name)
        write_text(path, yaml.safe_dump(entry.model_dump(exclude_none=True), sort_keys=False))
        say(
            f"Learned camera of {name}: focal length {entry.fx:.1f} px at {guess.height} x {guess.width}, "
            f"{field_of_view(entry.camera()):.0f} degrees (began at {guess.fx:.1f} px, {field_of_view(guess):.0f} "
            f"degrees); written to {path}"
        )
