"""The classes of the town, named and coloured as in Cityscapes (Cordts et al., 2016)."""

from __future__ import annotations

from typing import Final

ROAD, SIDEWALK, BUILDING, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BICYCLE = (
    range(15)
)

NAMES: Final = (
    "road", "sidewalk", "building", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bicycle",
)  # fmt: skip

COLOURS: Final = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (190, 153, 153), (153, 153, 153), (250, 170, 30), (220, 220, 0),
    (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (119, 11, 32),
)  # fmt: skip
