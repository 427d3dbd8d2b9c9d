"""Two views of one image that see different halves of the encoder's channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def complementary(maps: Sequence[Float[Tensor, "n _ _ _"]]) -> list[Float[Tensor, "n _ _ _"]]:
    """Feature maps of two views (first all of one, then all of the other) that see different halves of the channels.

    UniMatch V2 (Yang et al. 2025, section 3.3): a channel kept in one view is dropped in the other and what is kept
    counts double; a random half of the images is left whole. Maps of equally many channels, as a transformer's are all,
    lose the same ones. The first map, the image itself, is never touched.
    """
    image, *features = maps
    pairs = len(image) // 2
    whole = torch.rand(pairs, 1, 1, 1, device=image.device) < 0.5
    kept: dict[int, Tensor] = {}
    for channels in dict.fromkeys(feature.shape[1] for feature in features):
        drawn = 2.0 * (torch.rand(pairs, channels, 1, 1, device=image.device) < 0.5)
        first = torch.where(whole, 1.0, drawn)
        kept[channels] = torch.cat([first, 2 - first])
    return [image, *(feature * kept[feature.shape[1]].to(feature.dtype) for feature in features)]
