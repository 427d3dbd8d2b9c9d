"""The cross-section and the character of a clip's street."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fathomseg.data.world.ground import LANE_SHARE
from fathomseg.data.world.route import Clip


@dataclass(frozen=True)
class Street:
    """The same from end to end. Lengths are metres; shares and likelihoods are 0..1."""

    half: float
    """From the middle line to the kerb."""
    parking: bool
    verge: float
    """Width of the grass strip between kerb and pavement; 0 = none."""
    pavement: float
    kinds: tuple[int, int]
    """Which pictures of road and pavement."""
    styles: tuple[int, ...]
    """Facade families of the quarter."""
    parked: float
    """Share of the parking lane that is taken."""
    trees: float
    """Share of the places for street trees that are planted."""
    green: float
    """Share of parks along the street."""
    villas: float
    """Share of detached houses along the street."""
    shops: float
    """Share of houses with a shop on the ground floor."""
    crowd: float
    traffic: float
    cycling: float
    """How likely a place in the streams of walkers, oncoming cars and cyclists is filled."""
    junction: tuple[int, int]
    """Every how many chunks, and at which remainder."""
    dark_posts: bool

    @property
    def lane(self) -> float:
        """Distance of the middle of a lane from the middle line."""
        return self.half * (LANE_SHARE / 2 if self.parking else 0.47)

    @property
    def edge(self) -> float:
        """From the middle line to the far side of the pavement."""
        return self.half + self.verge + self.pavement

    def is_junction(self, index: int) -> bool:
        """Whether a side street crosses in this chunk."""
        return index % self.junction[0] == self.junction[1]


@lru_cache(maxsize=1024)
def street(clip: Clip) -> Street:
    """Draw the street of a clip."""
    dice = clip.dice(1)
    parking = dice.chance(0.65)
    every = 3 + dice.below(3)
    families = len(clip.look.facades)
    return Street(
        half=(5.6 if parking else 3.9) * dice.uniform(0.95, 1.1),
        parking=parking,
        verge=1.6 if dice.chance(0.3) else 0.0,
        pavement=dice.uniform(2.2, 3.8),
        kinds=(dice.below(2), dice.below(2)),
        styles=tuple(dice.below(families) for _ in range(4)),
        parked=dice.uniform(0.25, 0.8),
        trees=dice.uniform(0.2, 0.95),
        green=dice.uniform(0.12, 0.4),
        villas=dice.uniform(0.1, 0.4),
        shops=dice.uniform(0.15, 0.7),
        crowd=dice.uniform(0.2, 0.7),
        traffic=dice.uniform(0.25, 0.65),
        cycling=dice.uniform(0.15, 0.5),
        junction=(every, dice.below(every)),
        dark_posts=dice.chance(0.5),
    )
