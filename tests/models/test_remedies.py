"""What an error about an encoder, a decoder or a link offers is a setting that loads, and the network then builds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fathomseg.config import load
from fathomseg.errors import FathomError
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import PADNET, TINY

VIT = {"model": "test_vit", "pretrained": "none"}
SETTING = re.compile(r"network\.([\w.]+=(?:\[[^]]*\]|\{[^}]*\}|\w+))")


def both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"segmentation": {"decoder": first}, "depth": {"decoder": second}}


CASES: dict[str, dict[str, Any]] = {
    "fpn on a transformer": {"encoder": VIT, "tasks": {"segmentation": {}}},
    "the default of depth on a transformer": {"encoder": VIT, "tasks": {"depth": {}}},
    "a U-Net on a transformer": {"encoder": VIT, "tasks": {"normals": {"decoder": {"name": "unet"}}}},
    "ddpm_unet on a transformer": {"encoder": VIT, "tasks": {"depth": {"decoder": {"name": "ddpm_unet"}}}},
    "both tasks on a transformer": {"encoder": VIT, "tasks": both({}, {"stride": 4, "norms": True})},
    "dpt on a pyramid": {"encoder": TINY, "tasks": {"depth": {"decoder": {"name": "dpt"}}}},
    "too few widths": {"encoder": TINY, "tasks": {"depth": {"decoder": {"name": "unet", "channels": [4, 6]}}}},
    "dpt and padnet": {"encoder": VIT, "tasks": both({"name": "dpt"}, {"name": "dpt"}), "links": PADNET},
    "dpt and padnet too deep": {
        "encoder": VIT, "tasks": both({"name": "dpt"}, {"name": "dpt"}), "links": {**PADNET, "level": 3}
    },
    "unet and padnet": {"encoder": TINY, "tasks": both({"name": "fpn"}, {"name": "unet"}), "links": PADNET},
    "padnet at half the size": {
        "encoder": TINY, "tasks": both({"name": "fpn"}, {"stride": 4}), "links": {**PADNET, "level": 1}
    },
    "scales": {"encoder": TINY, "tasks": {"depth": {"scales": 2, "decoder": {"name": "fpn"}}}},
}  # fmt: skip


def mistake(settings: dict[str, Any], given: list[str]) -> str | None:
    """What building the network says; None if it is built."""
    try:
        load(NetworkConfig, settings, given).build(classes=2)
    except FathomError as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", CASES)
def test_the_settings_an_error_offers_work(case: str) -> None:
    given: list[str] = []
    for _ in range(3):  # each task may have an error of its own
        if (said := mistake(CASES[case], given)) is None:
            break
        offered = SETTING.findall(said)
        assert offered, said
        given += offered
    assert given, "there was no mistake"
    assert mistake(CASES[case], given) is None
    tasks = CASES[case]["tasks"]
    assert all(one.split(".")[0] == "links" or one.split(".")[1] in tasks for one in given)
