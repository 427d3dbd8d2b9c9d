"""Everything that is made once per look and process: the atlas, and models that are put down many times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from fathomseg.data.world import facades, figures, furniture, ground, nature, sky, vehicles
from fathomseg.data.world.atlas import Atlas, pack
from fathomseg.data.world.domains import DOMAINS, RGB, Domain, DomainName
from fathomseg.data.world.mesh import WHITE, Quads, Sketch


@dataclass(frozen=True)
class Town:
    """One look with its textures; parts of the street are sketched on its atlas."""

    domain: Domain
    atlas: Atlas


@cache
def town(name: DomainName) -> Town:
    """The town of a look. The first call in a process paints its textures, in about a second."""
    domain = DOMAINS[name]
    painted = {
        **ground.textures(domain),
        **facades.textures(domain),
        **nature.textures(domain),
        **vehicles.textures(),
        **figures.textures(),
        **furniture.textures(),
        **sky.textures(domain),
    }
    return Town(domain, pack(painted))


@cache
def vehicle(name: DomainName, kind: str) -> Quads:
    """An unpainted vehicle at the origin: one of `vehicles.BODIES`, or "lorry"."""
    sketch = Sketch(town(name).atlas)
    if kind == "lorry":
        vehicles.lorry(sketch, WHITE)
    else:
        vehicles.car(sketch, kind, WHITE)
    return sketch.build()


@cache
def walker(name: DomainName, outfit: int, phase: int, side_on: bool) -> Quads:
    """A person in undyed clothes at the origin."""
    sketch = Sketch(town(name).atlas)
    figures.person(sketch, outfit, phase, WHITE, side_on)
    return sketch.build()


@cache
def cyclist(name: DomainName, phase: int, cloth: RGB, frame: RGB) -> Quads:
    """A rider on a bicycle at the origin, heading forward."""
    sketch = Sketch(town(name).atlas)
    figures.cyclist(sketch, phase, cloth, frame)
    return sketch.build()
