"""Everything that is made once per look and process: the atlas, and models that are put down many times."""

from __future__ import annotations

from functools import cache

from fathomseg.data.world import facades, figures, furniture, ground, nature, vehicles, weather
from fathomseg.data.world.atlas import Atlas, pack
from fathomseg.data.world.domains import DOMAINS, RGB, DomainName
from fathomseg.data.world.mesh import Quads, Sketch


@cache
def atlas(name: DomainName) -> Atlas:
    """The textures of a look, on which its street is sketched; painted in about a second, once in a process."""
    domain = DOMAINS[name]
    painted = {
        **ground.textures(domain),
        **facades.textures(domain),
        **nature.textures(domain),
        **vehicles.textures(),
        **figures.textures(),
        **furniture.textures(),
        **weather.textures(domain),
    }
    return pack(painted)


@cache
def vehicle(name: DomainName, kind: str) -> Quads:
    """An unpainted vehicle at the origin: one of `vehicles.BODIES`, or "lorry"."""
    sketch = Sketch(atlas(name))
    if kind == "lorry":
        vehicles.lorry(sketch)
    else:
        vehicles.car(sketch, kind)
    return sketch.build()


@cache
def walker(name: DomainName, outfit: int, phase: int, side_on: bool) -> Quads:
    """A person in undyed clothes at the origin."""
    sketch = Sketch(atlas(name))
    figures.person(sketch, outfit, phase, side_on)
    return sketch.build()


@cache
def cyclist(name: DomainName, phase: int, cloth: RGB, frame: RGB) -> Quads:
    """A rider on a bicycle at the origin, heading forward."""
    sketch = Sketch(atlas(name))
    figures.cyclist(sketch, phase, cloth, frame)
    return sketch.build()
