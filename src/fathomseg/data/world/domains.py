"""The looks a town can have: light, palette, building style and camera. A look changes no geometry rule, only these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

RGB = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Facade:
    """How one family of house fronts is painted. Colours are RGB 0..255; sizes are fractions of one window bay."""

    wall: RGB
    surface: Literal["plaster", "brick", "boards", "concrete"]
    window: tuple[float, float]
    """Width and height of the window opening."""
    frame: RGB
    shutters: RGB | None = None
    arched: bool = False


@dataclass(frozen=True)
class Domain:
    """One look. Light colours are gains on texture colours; sky colours are RGB 0..255; ranges are drawn per clip."""

    camera_height_m: float
    camera_tilt_deg: float
    """How far the camera looks down."""
    hfov_deg: float
    sun_elevation_deg: Range
    sun: RGB
    ambient: RGB
    zenith: RGB
    horizon: RGB
    cloud: RGB
    cloud_cover: Range
    """0 = clear sky, 1 = closed cloud."""
    shadow: Range
    """How much darker the ground is in the shade of the sun, 0..1."""
    fog_per_m: Range
    exposure: Range
    noise: float
    """Standard deviation of the sensor noise, in levels of 0..255."""
    facades: tuple[Facade, ...]
    wall_tints: tuple[RGB, ...]
    """Gains on the wall colour, one drawn for each house."""
    roof: Literal["gable", "flat"]
    roof_colours: tuple[RGB, ...]
    floors: tuple[int, int]
    lit_windows: float
    """Fraction of windows with the light on."""
    leaves: tuple[RGB, ...]
    tree: Literal["round", "palm"]
    grass: RGB
    asphalt: RGB
    pavement: RGB


PAINTS: Final[tuple[RGB, ...]] = (
    (225, 226, 228), (205, 208, 212), (150, 154, 160), (92, 96, 102), (40, 42, 46), (30, 52, 98),
    (60, 88, 130), (150, 28, 30), (110, 20, 24), (38, 76, 60), (196, 178, 140), (214, 160, 40),
)  # fmt: skip
"""Colours of vehicles, of every look."""

DAY: Final = Domain(
    camera_height_m=1.5,
    camera_tilt_deg=0.3,
    hfov_deg=74.0,
    sun_elevation_deg=(28.0, 50.0),
    sun=(0.60, 0.56, 0.48),
    ambient=(0.58, 0.61, 0.66),
    zenith=(92, 142, 208),
    horizon=(196, 214, 230),
    cloud=(246, 247, 250),
    cloud_cover=(0.25, 0.6),
    shadow=(0.38, 0.5),
    fog_per_m=(0.0012, 0.004),
    exposure=(1.02, 1.2),
    noise=1.3,
    facades=(
        Facade((226, 214, 190), "plaster", (0.46, 0.56), (240, 238, 232)),
        Facade((214, 196, 168), "plaster", (0.42, 0.58), (236, 232, 224), shutters=(88, 112, 98)),
        Facade((164, 98, 78), "brick", (0.48, 0.56), (236, 234, 228)),
        Facade((196, 190, 180), "concrete", (0.62, 0.5), (84, 88, 94)),
        Facade((222, 206, 196), "plaster", (0.44, 0.62), (122, 92, 70), arched=True),
    ),
    wall_tints=(
        (1.0, 1.0, 1.0), (1.0, 0.95, 0.84), (0.93, 0.97, 1.0), (1.02, 0.88, 0.78), (0.9, 0.96, 0.88), (1.04, 0.94, 0.7),
        (0.84, 0.84, 0.86), (0.98, 0.82, 0.8),
    ),
    roof="gable",
    roof_colours=((160, 84, 62), (140, 72, 56), (96, 92, 94), (122, 82, 66)),
    floors=(2, 5),
    lit_windows=0.02,
    leaves=((84, 118, 52), (70, 106, 50), (104, 130, 58), (62, 96, 56)),
    tree="round",
    grass=(104, 128, 62),
    asphalt=(112, 112, 114),
    pavement=(168, 162, 154),
)  # fmt: skip

DUSK: Final = Domain(
    camera_height_m=2.1,
    camera_tilt_deg=2.3,
    hfov_deg=70.0,
    sun_elevation_deg=(9.0, 17.0),
    sun=(0.74, 0.46, 0.24),
    ambient=(0.46, 0.42, 0.48),
    zenith=(82, 92, 150),
    horizon=(246, 178, 116),
    cloud=(236, 148, 118),
    cloud_cover=(0.2, 0.55),
    shadow=(0.3, 0.42),
    fog_per_m=(0.003, 0.007),
    exposure=(1.05, 1.25),
    noise=1.7,
    facades=(
        Facade((216, 196, 164), "plaster", (0.40, 0.46), (104, 76, 56)),
        Facade((232, 222, 206), "plaster", (0.36, 0.62), (70, 96, 120), shutters=(64, 104, 128)),
        Facade((176, 168, 158), "concrete", (0.80, 0.46), (60, 62, 66)),
        Facade((200, 160, 126), "plaster", (0.44, 0.6), (236, 226, 206), arched=True),
        Facade((150, 156, 164), "concrete", (0.9, 0.74), (50, 56, 64)),
    ),
    wall_tints=((1.0, 1.0, 1.0), (1.05, 0.94, 0.8), (0.96, 0.84, 0.74), (1.06, 1.02, 0.96), (0.84, 0.82, 0.84)),
    roof="flat",
    roof_colours=((150, 138, 124), (128, 118, 110)),
    floors=(2, 5),
    lit_windows=0.35,
    leaves=((98, 104, 52), (116, 112, 62), (82, 92, 48)),
    tree="palm",
    grass=(176, 150, 104),
    asphalt=(128, 122, 118),
    pavement=(190, 174, 152),
)

OVERCAST: Final = Domain(
    camera_height_m=1.3,
    camera_tilt_deg=0.0,
    hfov_deg=80.0,
    sun_elevation_deg=(30.0, 45.0),
    sun=(0.16, 0.16, 0.17),
    ambient=(0.80, 0.83, 0.87),
    zenith=(150, 158, 168),
    horizon=(202, 207, 212),
    cloud=(216, 220, 224),
    cloud_cover=(0.75, 0.95),
    shadow=(0.14, 0.2),
    fog_per_m=(0.006, 0.013),
    exposure=(0.98, 1.14),
    noise=1.6,
    facades=(
        Facade((134, 66, 54), "brick", (0.5, 0.52), (238, 240, 240)),
        Facade((178, 148, 88), "boards", (0.4, 0.5), (242, 242, 238)),
        Facade((146, 58, 46), "boards", (0.42, 0.5), (242, 242, 238)),
        Facade((150, 152, 154), "concrete", (0.66, 0.5), (220, 222, 222)),
        Facade((184, 190, 188), "plaster", (0.44, 0.6), (96, 106, 112)),
    ),
    wall_tints=((1.0, 1.0, 1.0), (0.9, 0.95, 1.0), (1.06, 1.0, 0.9), (0.8, 0.84, 0.86), (0.8, 0.9, 1.02)),
    roof="gable",
    roof_colours=((66, 68, 74), (82, 70, 66), (56, 62, 66)),
    floors=(2, 4),
    lit_windows=0.14,
    leaves=((176, 122, 46), (150, 88, 40), (112, 104, 54), (60, 78, 56)),
    tree="round",
    grass=(94, 104, 66),
    asphalt=(84, 87, 92),
    pavement=(136, 138, 142),
)

DomainName = Literal["day", "dusk", "overcast"]
DOMAINS: Final[dict[DomainName, Domain]] = {"day": DAY, "dusk": DUSK, "overcast": OVERCAST}
