"""What moves along the street: cars, cyclists and walkers, each a formula of the frame, so any frame stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fathomseg.data.world.domains import PAINTS
from fathomseg.data.world.figures import CLOTHES, PEOPLE, PHASES
from fathomseg.data.world.ground import CHUNK_M
from fathomseg.data.world.mesh import Quads, paint
from fathomseg.data.world.plot import KERB_M, Drift, Shadow, box_shadow
from fathomseg.data.world.route import Clip, progress
from fathomseg.data.world.street import Street, street
from fathomseg.data.world.town import cyclist, vehicle, walker

_CARS = ("hatch", "sedan", "suv", "wagon", "van", "hatch", "sedan", "lorry")
BEHIND_M, AHEAD_M = 8.0, 110.0
"""Movers are drawn this far behind and ahead of the camera."""


@dataclass(frozen=True)
class Mover:
    """A thing on its way: its surfaces around the origin, where it is, and the box its shade falls from."""

    quads: Quads
    along: float
    across: float
    heading: float
    up: float
    moving: bool
    size: tuple[float, float, float]
    """Half width, half length and height in metres."""

    def shadow(self, drift: Drift) -> Shadow:
        """The outline (x, z) of its shade in the frame of its chunk; `drift` = metres of shade per metre of height."""
        (wide, long, tall), ahead = self.size, self.along - self.chunk * CHUNK_M
        return box_shadow((self.across - wide, self.across + wide), (ahead - long, ahead + long), tall, drift)

    @property
    def chunk(self) -> int:
        """The chunk it is in."""
        return int(self.along // CHUNK_M)


def movers(clip: Clip, frame: int) -> list[Mover]:
    """Everything on its way near the camera at a frame."""
    road, here = street(clip), progress(clip, frame)
    found = [*_oncoming(clip, road, frame, here), *_ahead(clip, road, frame, here)]
    found += [*_cyclists(clip, road, frame, here), *_walkers(clip, road, frame, here)]
    return found


def _slots(clip: Clip, stream: int, spacing: float, shift: float, here: float) -> Iterator[tuple[int, float]]:
    """Numbered places of a stream that has moved by `shift` metres: (number, along) of those near the camera."""
    first = int(np.ceil((here - BEHIND_M - shift) / spacing))
    last = int(np.floor((here + AHEAD_M - shift) / spacing))
    for number in range(first, last + 1):
        jitter = clip.dice(20, stream, number, 1).uniform(-0.3, 0.3)
        yield number, (number + jitter) * spacing + shift


def _car(clip: Clip, along: float, across: float, heading: float, moving: bool, *key: int) -> Mover:
    dice = clip.dice(21, *key)
    kind = dice.pick(_CARS)
    model = vehicle(clip.domain, kind).tinted(paint(dice.pick(PAINTS)))
    size = (1.2, 3.7, 3.3) if kind == "lorry" else (0.9, 2.2, 1.4)
    return Mover(model, along, across, heading, 0.0, moving, size)


def _oncoming(clip: Clip, road: Street, frame: int, here: float) -> Iterator[Mover]:
    speed = clip.metres_per_frame * clip.dice(22).uniform(0.6, 1.2)
    for number, along in _slots(clip, 0, 24.0, -speed * frame, here):
        if clip.dice(23, number).chance(road.traffic):
            yield _car(clip, along, -road.lane, np.pi, True, 0, number)


def _ahead(clip: Clip, road: Street, frame: int, here: float) -> Iterator[Mover]:
    """The car in front keeps its distance, and stands when the camera's car stands."""
    dice = clip.dice(24)
    if dice.chance(0.5):
        gap, wave = dice.uniform(11.0, 24.0), dice.uniform(0.0, 6.0)
        along = here + gap + 3.0 * float(np.sin(here / 25.0 + wave))
        moving = progress(clip, frame + 1) - here > 1e-6
        yield _car(clip, along, road.lane, 0.0, moving, 1, 0)


def _cyclists(clip: Clip, road: Street, frame: int, here: float) -> Iterator[Mover]:
    pace = 0.5 * clip.metres_per_frame
    for stream, direction in ((1, 1), (2, -1)):
        across = direction * (2 * road.lane - 0.45 if road.parking else road.half - 0.45)
        for number, along in _slots(clip, stream, 26.0, direction * pace * frame, here):
            dice = clip.dice(25, stream, number)
            if dice.chance(road.cycling):
                phase = int((frame + dice.below(9)) // 2) % PHASES
                model = cyclist(clip.domain, phase, dice.pick(CLOTHES), dice.pick(CLOTHES))
                heading = 0.0 if direction > 0 else np.pi
                yield Mover(model, along, across, heading, 0.0, True, (0.2, 0.8, 1.7))


def _walkers(clip: Clip, road: Street, frame: int, here: float) -> Iterator[Mover]:
    """Two streams on each pavement, one each way."""
    pace = 0.17 * clip.metres_per_frame
    for side in (-1, 1):
        for direction in (-1, 1):
            stream = 3 + (side > 0) * 2 + (direction > 0)
            for number, along in _slots(clip, stream, 9.0, direction * pace * frame, here):
                dice = clip.dice(26, stream, number)
                if not dice.chance(road.crowd):
                    continue
                across = side * (road.half + road.verge + dice.uniform(0.8, road.pavement - 0.4))
                phase, outfit = int((frame + dice.below(8)) // 2) % PHASES, dice.below(PEOPLE)
                model = walker(clip.domain, outfit, phase, False).tinted(dice.pick(CLOTHES))
                up = 0.0 if road.is_junction(int(along // CHUNK_M)) and 4.0 < along % CHUNK_M < 16.0 else KERB_M
                yield Mover(model, along, across, 0.0, up, True, (0.25, 0.12, 1.7))
