"""What is exported equals PyTorch at sizes it was not exported at, says what it is, and nothing of this machine."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from fathomseg.config import validate
from fathomseg.errors import FathomError
from fathomseg.inference import export as exporting
from fathomseg.inference.card import ModelCard
from fathomseg.inference.export import check, narrowed, to_half, to_int8, to_onnx
from fathomseg.inference.onnx import OnnxNetwork
from fathomseg.models.links import NoLinks, PadNet
from fathomseg.models.network import Network
from fathomseg.tasks.network import NetworkConfig
from tests.stages.saved_run import TASKS, build, network_of
from tests.typecheck import unchecked

BOTH = ("segmentation", "depth")
CONFIG = network_of(BOTH, PadNet())
CARD = ModelCard(network=CONFIG, classes=("a", "b", "c"), colours=((1, 2, 3), (4, 5, 6), (7, 8, 9)), size=(64, 96))


@pytest.fixture(scope="module")
def network() -> Network:
    return build(CONFIG, 3, 0)


@pytest.fixture(scope="module")
def model(network: Network) -> Any:
    """Both tasks, with links between them."""
    with unchecked():  # symbolic sizes are no ints
        return to_onnx(network, TASKS, (64, 96))


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, size, generator=torch.Generator().manual_seed(seed)).float() / 255


def outputs(network: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        found = network(image, BOTH)
    return {name: task.map(found[name]) for name, task in TASKS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 3, 64, 96), (2, 3, 97, 65), (3, 3, 128, 64), (1, 3, 39, 51)])
def test_equals_pytorch_at_any_batch_and_size(model: Any, network: Network, size: tuple[int, ...]) -> None:
    exported = OnnxNetwork(model.SerializeToString(), TASKS, "cpu")
    image = noise(*size)
    mine, theirs = outputs(exported, image), outputs(network, image)
    for name, expected in theirs.items():
        torch.testing.assert_close(mine[name], expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 1e-3, "a constant would pass"
    assert (theirs["depth"] - outputs(network, noise(*size, seed=1))["depth"]).abs().max() > 1e-3


@pytest.mark.slow
def test_says_nothing_of_this_machine_and_names_free_sizes(model: Any) -> None:
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [
        *("batch", "height", "width"),
        3,
    ]
    assert [output.name for output in model.graph.output] == list(BOTH)
    text = model.SerializeToString()
    assert str(Path.cwd()).encode() not in text
    assert b"stack_trace" not in text
    assert b".py" not in text


@pytest.mark.slow
def test_another_network_is_noticed(model: Any) -> None:
    """Not written is what differs, were it in one head alone."""
    other = build(CONFIG, 3, 0)
    with torch.no_grad():
        other.heads["depth"].get_parameter("scales.2.conv.bias").add_(0.01)
    with unchecked(), pytest.raises(FathomError, match=r"depth differs by .* at 64 x 96"):
        check(model, other, TASKS, [(64, 96)])
    with unchecked():
        assert check(model, build(CONFIG, 3, 0), TASKS, [(64, 96), (67, 73)]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_smaller_numbers_predict_nearly_the_same(model: Any, network: Network, kind: str) -> None:
    images = [(255 * noise(64, 96, 3, seed=i)).byte().numpy() for i in range(4)]
    given = copy.deepcopy(model)
    told: list[tuple[int, int]] = []
    small = to_half(given) if kind == "fp16" else to_int8(given, images, lambda *how: told.append(how))
    assert told == ([] if kind == "fp16" else [(0, 4), *((done, 4) for done in range(5)), (0, 1), (1, 1)])
    assert small.ByteSize() < (0.6 if kind == "fp16" else 0.45) * model.ByteSize()
    exported = OnnxNetwork(small.SerializeToString(), TASKS, "cpu")
    image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    mine, theirs = outputs(exported, image), outputs(network, image)
    for name, expected in theirs.items():
        assert mine[name].dtype == torch.float32
        wrong = (mine[name] - expected).abs().mean() / (expected - expected.mean()).abs().mean()
        assert 0 < wrong < (0.02 if kind == "fp16" else 0.35), name


@pytest.mark.long
def test_eight_bits_from_the_first_convolution_to_the_heads(tmp_path: Path) -> None:
    """ONNX Runtime pools 8-bit maps of its convolutions' layout; in any other it takes ten times as long."""
    encoder = {"model": "mobilenetv2_035", "pretrained": "none", "taps": "stages"}
    depth = {"decoder": "shared", "head": "separable", "output": "metric"}
    tasks = {"segmentation": {"decoder": {"name": "lw_refinenet", "channels": 16}, "head": "separable"}, "depth": depth}
    config = validate(NetworkConfig, {"encoder": encoder, "tasks": tasks})
    with unchecked():
        model = to_onnx(build(config, 3, 0), config.ordered, (64, 96))
    images = [(255 * noise(64, 96, 3, seed=i)).byte().numpy() for i in range(2)]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as-it-runs.onnx")
    small = to_int8(model, images).SerializeToString()
    onnxruntime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    count = Counter(node.op_type for node in onnx.load(tmp_path / "as-it-runs.onnx").graph.node)
    assert count["NhwcMaxPool"] == 32
    assert count["MaxPool"] == 0
    assert count["Conv"] == 1, "the head for depth"


@pytest.mark.long
def test_a_transformer_at_a_fixed_size() -> None:
    settings = {"encoder": {"model": "test_vit", "pretrained": "none"}}
    tasks = {"segmentation": {"decoder": {"name": "dpt", "channels": 32}}}
    config = type(CONFIG).model_validate({**settings, "tasks": tasks})
    network = build(config, 3, 0)
    with unchecked():
        fixed = to_onnx(network, config.ordered, (64, 64), fixed=True)
        assert check(fixed, network, config.ordered, [(64, 64), (64, 64)]) < 1e-4
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [0, 64, 64, 3]


@pytest.mark.long
@pytest.mark.parametrize("name", ["segformer", "upernet", "manet"])
def test_decoders_of_the_library_at_any_size(name: str) -> None:
    narrow = {"channels": (8, 8, 8, 8, 8)} if name == "manet" else {"channels": 16}
    encoder = {"model": "test_efficientnet", "pretrained": "none"}
    tasks = {"segmentation": {"decoder": {"name": name, **narrow}}}
    config = validate(NetworkConfig, {"encoder": encoder, "tasks": tasks})
    network = build(config, 3, 0)
    with unchecked():
        model = to_onnx(network, config.ordered, (64, 96))
        assert check(model, network, config.ordered, [(64, 96), (70, 131)]) < 1e-4


def test_calibration_tells_how_many_images_are_done() -> None:
    told: list[tuple[str, int, int]] = []
    images = [np.full((2, 3, 3), i, np.uint8) for i in range(2)]
    reader = exporting._reader(object, images, *(lambda *how, of=of: told.append((of, *how)) for of in ("c", "q")))
    given = [reader.get_next() for _ in range(3)]
    assert [one if one is None else int(one["image"].max()) for one in given] == [0, 1, None]
    assert told == [("c", 0, 2), ("c", 1, 2), ("c", 2, 2), ("q", 0, 1)]


@pytest.mark.parametrize(("fixed", "remedy"), [(False, "Try --fixed-size"), (True, "Choose another encoder")])
def test_what_cannot_be_exported_is_said(
    network: Network, monkeypatch: pytest.MonkeyPatch, fixed: bool, remedy: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("a branch on data\nand forty lines more")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(FathomError, match=rf"PyTorch cannot export this network: a branch on data\. {remedy}"):
        to_onnx(network, TASKS, (64, 96), fixed)


def test_the_card_of_some_tasks() -> None:
    assert narrowed(CARD, TASKS) == CARD
    depth = narrowed(CARD, {"depth": TASKS["depth"]})
    assert (list(depth.tasks), depth.classes, depth.network.links) == (["depth"], (), NoLinks())
    assert ModelCard.model_validate(depth.model_dump()) == depth
    segmentation = narrowed(CARD, {"segmentation": TASKS["segmentation"]})
    assert (list(segmentation.tasks), segmentation.classes) == (["segmentation"], CARD.classes)


def test_a_task_without_the_one_whose_decoder_it_reads_says_which_decoder_that_is() -> None:
    tasks = {"segmentation": {"decoder": {"name": "fpn", "channels": 8}}, "depth": {"decoder": "shared"}}
    network = validate(NetworkConfig, {"encoder": {"model": "test_resnet", "pretrained": "none"}, "tasks": tasks})
    card = CARD.model_copy(update={"network": network, "depth_unit": "metres"})
    alone = narrowed(card, {"depth": network.tasks["depth"]})
    assert alone.network.tasks["depth"].decoder == network.tasks["segmentation"].decoder
    assert ModelCard.model_validate(alone.model_dump()) == alone
    assert narrowed(card, {"segmentation": network.tasks["segmentation"]}).depth_unit is None
