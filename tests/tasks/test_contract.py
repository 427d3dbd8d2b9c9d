"""The contract of every task: its branch, what predictions are made from, decoding, and its supervised loss."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from fathomseg.config import Part, validate
from fathomseg.models.decoders import DepthUNet, Fpn
from fathomseg.models.encoders import Pyramid
from fathomseg.models.network import early
from fathomseg.objectives.supervised import Supervised
from fathomseg.report.page import SECTIONS
from fathomseg.tasks import AnyTask, AnyTaskLoss
from fathomseg.tasks.base import Task, TaskLoss
from fathomseg.tasks.network import NetworkConfig, task_names
from fathomseg.types import Prediction
from tests.models.networks import PADNET, TINY, flat, images
from tests.objectives.steps import CLASSES, SIZE, make_batch

TASKS: list[Task] = [kind() for kind in get_args(get_args(AnyTask)[0])]
LOSSES: dict[str, TaskLoss] = {loss.name: loss for loss in (kind() for kind in get_args(get_args(AnyTaskLoss)[0]))}
PYRAMID = Pyramid("invented", (3, 4, 5, 6, 7, 8), (1, 2, 4, 8, 16, 32))
PIXELS = torch.tensor([100] * CLASSES)

EVERY = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def branch(task: Task, decoder: Part | None = None) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    module = (decoder or task.decoder).build(PYRAMID, "batch").eval()  # type: ignore[attr-defined]
    return module, task.build_head(module, CLASSES).eval()


def output(task: Task, height: int = 33, width: int = 47) -> Any:
    """Of a fresh branch on random maps."""
    decoder, head = branch(task)
    g = torch.Generator().manual_seed(1)
    sizes = [(c, -(-height // s), -(-width // s)) for c, s in zip(PYRAMID.channels, PYRAMID.strides, strict=True)]
    with torch.no_grad():
        return head(decoder.levels([torch.randn(2, *size, generator=g) for size in sizes]))


def tensors(output: Any) -> list[Tensor]:
    return list(output) if isinstance(output, list | tuple) else [output]


def test_every_task_has_a_loss_of_its_name_and_losses_have_no_others() -> None:
    assert set(LOSSES) == set(task_names()) == {task.name for task in TASKS}


@EVERY
def test_its_scores_have_a_section_of_the_report(task: Task) -> None:
    assert task.section in SECTIONS


@EVERY
class TestBranch:
    def test_settings_travel(self, task: Task) -> None:
        assert validate(type(task), task.model_dump()) == task
        settings = {"encoder": TINY, "tasks": {task.name: task.model_dump()}}
        assert validate(NetworkConfig, settings).tasks[task.name] == task

    @pytest.mark.parametrize("decoder", [Fpn(channels=8), DepthUNet(channels=(4, 4, 4, 4, 4), stride=2)])
    def test_its_head_takes_any_decoder(self, task: Task, decoder: Part) -> None:
        module, head = branch(task, decoder)
        maps = module.levels(
            [torch.randn(1, c, 64 // s, 96 // s) for c, s in zip(PYRAMID.channels, PYRAMID.strides, strict=True)]
        )
        stride = module.stride
        assert task.map(head(maps)).shape[2:] == (64 // stride, 96 // stride)

    def test_its_early_head_gives_the_same_kind_of_output(self, task: Task) -> None:
        whole, first = output(task), task.build_early_head(6, CLASSES)(torch.randn(2, 6, 5, 7))
        assert isinstance(first, list) == isinstance(whole, list)
        assert task.map(first).shape == (2, task.map(whole).shape[1], 5, 7)

    def test_it_learns_in_a_network_of_all_tasks(self, task: Task) -> None:
        everything = {other.name: {"decoder": {"name": "depth_unet", "channels": (4, 4, 4, 4, 4)}} for other in TASKS}
        links = {**PADNET, "early": [task.name]}
        network = validate(NetworkConfig, {"encoder": TINY, "tasks": everything, "links": links}).build(CLASSES)
        found = network.eval()(images(1, 48, 64), [task.name, early(task.name)])
        assert set(found) == {task.name, early(task.name)}
        assert all(x.isfinite().all() for x in flat(found).values())


@EVERY
class TestPredictions:
    def test_maps_are_in_full_precision(self, task: Task) -> None:
        given = output(task)
        halves = [x.bfloat16() for x in tensors(given)]
        found = task.map(halves if isinstance(given, list) else halves[0])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, task.map(given), rtol=1e-2, atol=1e-2)

    def test_a_mirrored_map_is_mirrored_back(self, task: Task) -> None:
        maps = task.map(output(task))
        assert torch.equal(task.mirrored(task.mirrored(maps)), maps)
        assert torch.equal(task.mirrored(maps)[..., 0].abs(), maps[..., -1].abs()), "vectors change a sign as well"

    def test_one_view_alone_is_its_own_average(self, task: Task) -> None:
        maps = task.map(output(task))
        size = (maps.shape[2], maps.shape[3])
        mean = task.averaged(task.averaging(maps, size))
        for found, expected in zip(*(task.decode(m[0], (33, 47)).items() for m in (mean, maps)), strict=True):
            assert found[0] == expected[0]
            torch.testing.assert_close(found[1].float(), expected[1].float(), rtol=1e-4, atol=1e-4)

    def test_an_average_of_views_is_finite_whatever_they_say(self, task: Task) -> None:
        maps = task.map(output(task))
        size = (maps.shape[2], maps.shape[3])
        for views in ([1e4 * maps, maps], [-1e4 * maps, 1e4 * maps]):
            mean = task.averaged(torch.stack([task.averaging(view, size) for view in views]).mean(0))
            assert mean.isfinite().all()
            assert mean.shape == maps.shape

    @pytest.mark.parametrize("size", [(33, 47), (60, 41), (5, 200)])
    def test_decoding_gives_fields_of_a_prediction_at_any_size(self, task: Task, size: tuple[int, int]) -> None:
        maps = task.map(output(task))
        known = {field.name for field in fields(Prediction)}
        first, second = (task.decode(one, size) for one in maps)
        assert set(first) <= known
        assert first
        for name, tensor in first.items():
            assert tensor.shape[:2] == size
            assert tensor.dtype == (torch.uint8 if name == "label" else torch.float32)
            assert not tensor.requires_grad
            assert tensor.isfinite().all()
        assert any(not torch.equal(first[name], second[name]) for name in first), "other images, other predictions"
        Prediction(**{name: tensor.numpy() for name, tensor in first.items()})


@EVERY
class TestLoss:
    def given(self, task: Task, target: str, count: int = 4, having: list[int] | None = None) -> tuple[Any, Any]:
        """An output that takes a gradient, and a batch in which these samples have the target."""
        rows = {} if having is None else {target: having}
        batch = make_batch(1, target, count=count, rows=rows)
        maps = [torch.cat([x] * 2)[:count] for x in tensors(output(task, *SIZE))]
        moved = [(x + 0.01 * torch.arange(count).view(-1, 1, 1, 1)).requires_grad_() for x in maps]
        return moved if isinstance(output(task), list) else moved[0], batch

    def losses(self, task: Task) -> list[TaskLoss]:
        loss = LOSSES[task.name]
        extra = [{"target": "disparity"}, {"error": "l1"}, {"error": "berhu"}] if task.name == "depth" else []
        return [loss, *(validate(type(loss), one) for one in extra)]

    def test_samples_without_the_target_count_nowhere(self, task: Task) -> None:
        for loss in self.losses(task):
            criterion = loss.build(task, PIXELS)
            output, batch = self.given(task, loss.target, having=[0, 3])
            total, count = criterion(output, batch, 0.5)
            part = [x[[0, 3]] for x in tensors(output)]
            few, fewer = criterion(part if isinstance(output, list) else part[0], batch.take([0, 3]), 0.5)
            torch.testing.assert_close((total, count), (few, fewer), rtol=1e-5, atol=1e-6)
            assert count > 0
            total.backward()
            gradient = tensors(output)[0].grad
            assert (gradient[[1, 2]] == 0).all()
            assert (gradient[[0, 3]] != 0).any()

    def test_without_any_there_is_no_loss_and_a_gradient_of_zero(self, task: Task) -> None:
        for loss in self.losses(task):
            output, batch = self.given(task, loss.target, having=[])
            total, count = loss.build(task, PIXELS)(output, batch, 0.5)
            assert (total.item(), count.item()) == (0, 0)
            total.backward()
            assert all((x.grad == 0).all() for x in tensors(output)), "every part of the output has one"

    def test_what_it_counts_ahead_is_what_it_counts(self, task: Task) -> None:
        for loss in self.losses(task):
            criterion = loss.build(task, PIXELS)
            for having in (None, [1, 2], []):
                output, batch = self.given(task, loss.target, having=having)
                assert criterion.count(batch) == criterion(output, batch, 0.0)[1]
            assert criterion.count(make_batch(1)) == 0

    def test_its_target_is_one_of_a_batch_and_its_settings_travel(self, task: Task) -> None:
        for loss in self.losses(task):
            assert loss.target in make_batch(1, loss.target).targets
            assert validate(type(loss), loss.model_dump()) == loss
            assert validate(Supervised, {"losses": {task.name: loss.model_dump()}}).losses[task.name] == loss
