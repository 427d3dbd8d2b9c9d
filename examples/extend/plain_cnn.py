# src/fathomseg/models/plain_cnn.py
"""A plain convolutional encoder: five strided 3x3 convolutions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fathomseg.models.compat import ensure_timm_imports

ensure_timm_imports()  # timm imports torchvision, which may be built for another torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402

default_cfgs = generate_default_cfgs(
    {"plain_cnn.untrained": {"mean": (0.5,) * 3, "std": (0.25,) * 3, "first_conv": "stages.0.0", "classifier": "head"}}
)


class PlainCnn(nn.Module):
    """Five stages; the map of stage i has `width` * i channels and one cell for 2^i x 2^i pixels."""

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, width: int = 16, **options: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_info: list[dict[str, Any]] = []  # timm reads it to cut the model into a pyramid
        self.stages = nn.Sequential()
        for i in range(1, 6):
            stage = nn.Sequential(
                nn.Conv2d(in_chans, width * i, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width * i),
                nn.ReLU(inplace=True),
            )
            self.stages.append(stage)
            self.feature_info.append({"num_chs": width * i, "reduction": 2**i, "module": f"stages.{i - 1}"})
            in_chans = width * i
        self.head = nn.Linear(in_chans, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits; the pyramid leaves out the classifier."""
        return self.head(self.stages(image).mean(dim=(2, 3)))


@register_model
def plain_cnn(pretrained: bool = False, **options: Any) -> PlainCnn:
    """The model by its name."""
    return build_model_with_cfg(PlainCnn, "plain_cnn", pretrained, feature_cfg={"flatten_sequential": True}, **options)
