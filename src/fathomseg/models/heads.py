"""What heads of several tasks are made of."""

from __future__ import annotations

from torch import nn

from fathomseg.models.blocks import ChannelWeights


def separable(channels: int) -> nn.Sequential:
    """What comes before the 3x3 convolution of a `head: separable`: a weight for each channel, and ReLU6.

    Nekrasov et al. 2019: a task costs channels + 9 channels outputs + outputs parameters, since all share a decoder.
    """
    return nn.Sequential(ChannelWeights(channels, std=0.01), nn.ReLU6())
