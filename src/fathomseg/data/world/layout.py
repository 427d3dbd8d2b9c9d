"""What stands still along the street, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from fathomseg.data.world.junction import junction
from fathomseg.data.world.mesh import Quads, join
from fathomseg.data.world.plot import Plot
from fathomseg.data.world.roadside import roadside
from fathomseg.data.world.route import Clip


@dataclass(frozen=True)
class Chunk:
    """The still things of one piece of street, in the chunk's own frame."""

    quads: Quads
    shadows: Float64[np.ndarray, "k 10 2"]
    """Convex outlines (x, z) of the shade on the ground."""


@lru_cache(maxsize=1536)
def chunk(clip: Clip, index: int) -> Chunk:
    """Everything that stands still in a chunk (about 30 kB); a pure function of the clip and the index."""
    plot = Plot(clip, index)
    road = plot.street
    if road.is_junction(index):
        junction(plot)
    else:
        plot.carriageway(f"road_{'parking' if road.parking else 'plain'}_{road.kinds[0]}")
        roadside(plot, -1)
        roadside(plot, 1)
    quads = join([plot.sketch.build(), *plot.models])
    return Chunk(quads, np.array(plot.shadows, np.float64).reshape(-1, 10, 2))
