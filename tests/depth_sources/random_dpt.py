"""A DPT of random weights, as Hugging Face stores it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fathomseg.models.compat import ensure_timm_imports


def say_something(network: torch.nn.Module, last: torch.nn.Parameter) -> None:
    """Weights large enough for depth that varies over an image, and an offset away from the zero of the last ReLU."""
    for weights in network.parameters():
        if weights.ndim > 1:
            torch.nn.init.xavier_normal_(weights)
    torch.nn.init.constant_(last, 5.0)


def save_dpt(folder: Path) -> None:
    """One that works at 32 x 32."""
    ensure_timm_imports()
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    torch.manual_seed(0)
    settings = transformers.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    network = transformers.DPTForDepthEstimation(settings)
    say_something(network, network.head.head[-2].bias)
    network.save_pretrained(folder)
    transformers.DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
