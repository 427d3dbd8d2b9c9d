"""Devices by the names people give them."""

from __future__ import annotations

import torch

from fathomseg.errors import FathomError


def pick_device(wanted: torch.device | str | None) -> torch.device:
    """The device of this name; None = a GPU if there is one. Raises `FathomError` if it cannot be had."""
    device = known_device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        found = f"{count}, numbered from 0" if count else "no CUDA device. Give cpu"
        raise FathomError(f"Device {wanted} was asked for, but torch finds {found}.")
    return device


def known_device(wanted: torch.device | str) -> torch.device:
    """The device of this name, whether or not there is one. Raises `FathomError`."""
    try:
        return torch.device(wanted)
    except RuntimeError:
        raise FathomError(f"There is no kind of device {str(wanted)!r}. Give cpu, cuda, cuda:1 ...") from None
