"""What heads of several tasks are made of."""

from __future__ import annotations

from torch import nn


def separable(channels: int) -> nn.Sequential:
    """What comes before the 3x3 convolution of a `head: separable`: a weight for each channel, and ReLU6.

    Nekrasov et al. 2019: a task costs channels + 9 channels outputs + outputs parameters, since all share a decoder.
    """
    weights = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
    nn.init.normal_(weights.weight, std=0.01)
    return nn.Sequential(weights, nn.ReLU6())
