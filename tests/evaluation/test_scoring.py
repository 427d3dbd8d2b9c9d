"""All tasks scored in one loop: by hand on toys, against numpy on the generated city, one pass an image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import DataError, Problem
from fathomseg.evaluation.scoring import FromNetwork, Scored, score, with_truth
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predictor import Predictor
from fathomseg.inference.settings import Inference
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.tasks import Depth, Segmentation
from fathomseg.tasks.network import NetworkConfig
from tests.stages.saved_joint_run import BOTH, card_of, network_of
from tests.toy_drive import SIZE, ToyDepth, ToyDrive

STREETS = Streets(size=(40, 72), frames=2, val_clips=2)


def scored_by(network: nn.Module, card: ModelCard, dataset: Any, ids: Any = None, **options: Any) -> dict[str, Scored]:
    predictor = Predictor(network, card)
    return score(FromNetwork(predictor, dataset), dataset, ids or dataset.ids("val"), predictor.tasks, **options)


def depth_card(nearest: float, farthest: float) -> ModelCard:
    return ModelCard(network=NetworkConfig(tasks={"depth": Depth(min_depth=nearest, max_depth=farthest)}), size=SIZE)


def joint(seed: int = 3) -> tuple[nn.Module, ModelCard]:
    return network_of(BOTH, len(STREETS.classes), seed), card_of(BOTH, STREETS, (32, 64), pose=False)


# --- by hand --------------------------------------------------------------------------------------------------------


def test_depth_by_hand() -> None:
    """Of the range 1 to infinity nearly, disparity 0.5 and 0.25 are 2 m and 4 m; the truth is 2 m and 8 m."""
    network, dataset = ToyDepth().train(), ToyDrive(lengths=(3,), depth_from=1)
    scored = scored_by(network, depth_card(1.0, 1e9), dataset)["depth"]
    result = scored.result
    assert network.training
    assert result["none"]["abs_rel"] == pytest.approx((0 + 0.5) / 2, rel=1e-6)
    assert result["none"]["rmse"] == pytest.approx(np.sqrt(16 / 2), rel=1e-6)
    assert result["none"]["delta1"] == 0.5
    assert result["scale_median"] == pytest.approx(5 / 3, rel=1e-6)  # the medians are means of the two depths
    assert result["median"]["abs_rel"] == pytest.approx((2 / 3 + 1 / 6) / 2, rel=1e-6)
    assert (result["images"], result["pixels"]) == (2, 2 * 5 * 8)  # the first frame has no depth, the first row none
    assert Depth().headline(result) == {key: result["median"][key] for key in ("abs_rel", "delta1")}
    assert list(scored.rows) == ["c0/01", "c0/02"]
    row = scored.rows["c0/01"]
    assert Depth().badness(row, result) == row["median"]["abs_rel"]
    assert Depth(output="metric").badness(row, result) == row["none"]["abs_rel"] != row["median"]["abs_rel"]


def test_depth_is_aligned_as_the_card_says_unless_the_protocol_does() -> None:
    """So training, `evaluate` and the measurement of an export look at the same scores first."""
    card = depth_card(1.0, 1e9).model_copy(update={"depth_alignment": "scale_shift"})
    dataset = ToyDrive(lengths=(3,), depth_from=1)
    result = scored_by(ToyDepth(), card, dataset)["depth"].result
    assert result["settings"]["alignment"] == "scale_shift"
    assert Depth().headline(result)["abs_rel"] == result["scale_shift"]["abs_rel"] != result["median"]["abs_rel"]
    stated = scored_by(ToyDepth(), card, dataset, protocol=DepthProtocol(alignment="none"))["depth"].result
    assert Depth().headline(stated)["abs_rel"] == result["none"]["abs_rel"]


class Pointwise(nn.Module):
    """Every pixel is the class of its brightest channel."""

    def forward(self, image: Tensor, tasks: Collection[str]) -> dict[str, Tensor]:
        return {"segmentation": 20 * image}


class Three(CamVid):
    """A dataset of one 3x3 image and label, worked by hand in tests/metrics."""

    def ids(self, split: str) -> tuple[str, ...]:
        return ("one",)

    def image(self, id: str) -> np.ndarray:
        guess = np.array([[0, 1, 1], [0, 1, 1], [2, 0, 0]])
        return (np.eye(3)[guess] * 255).astype(np.uint8)

    def label(self, id: str) -> np.ndarray:
        return np.array([[0, 0, 1], [0, 1, 1], [2, 2, 255]], np.uint8)


def test_segmentation_by_hand_leaves_the_network_in_training(tmp_path: Path) -> None:
    network, dataset = Pointwise().train(), Three(root=tmp_path)
    classes = dataset.classes
    card = ModelCard(
        network=NetworkConfig(),
        classes=classes.names,
        colours=classes.colours,
        shared_classes=classes.names[:1],
        size=(3, 3),
    )
    scored = scored_by(network, card, dataset)["segmentation"]
    miou = (2 / 4 + 3 / 4 + 1 / 2) / 3
    assert scored.result["miou"] == pytest.approx(miou)
    assert scored.result["miou_shared"] == pytest.approx(2 / 4)
    assert (scored.result["pixel_accuracy"], scored.result["classes_present"]) == (6 / 8, 3)
    assert scored.result["ece"] == pytest.approx(abs(6 / 8 - 1), abs=1e-6)
    assert Segmentation().headline(scored.result) == pytest.approx(
        {"miou": miou, "miou_shared": 1 / 2, "pixel_accuracy": 6 / 8}
    )
    assert Segmentation().badness(scored.rows["one"], scored.result) == pytest.approx(1 - miou)
    assert network.training
    assert not any(tmp_path.iterdir())


def test_a_task_without_truth_is_left_out() -> None:
    dataset = ToyDrive(depth_from=99)
    assert scored_by(ToyDepth(), depth_card(1.0, 80.0), dataset) == {}


class Dark(ToyDrive):
    """Depth of which no pixel counts, and labels of which none does."""

    def depth(self, id: str) -> np.ndarray:
        return np.zeros(SIZE, np.float32)

    def label(self, id: str) -> np.ndarray:
        return np.full(SIZE, 255, np.uint8)


class Both(ToyDepth):
    """Two classes as well."""

    def forward(self, image: Tensor, tasks: Collection[str] = ()) -> dict[str, Any]:
        return {**super().forward(image, tasks), "segmentation": image[:, :2]}


def test_truth_of_which_nothing_counts_has_no_headline() -> None:
    dataset, tasks = Dark(), {"segmentation": Segmentation(), "depth": Depth()}
    names = dataset.classes
    card = ModelCard(network=NetworkConfig(tasks=tasks), classes=names.names, colours=names.colours, size=SIZE)
    scored = scored_by(Both(), card, dataset)
    assert (scored["segmentation"].result["miou"], scored["depth"].result["images"]) == (None, 0)
    assert [tasks[name].headline(one.result) for name, one in scored.items()] == [{}, {}]
    assert Segmentation().badness(scored["segmentation"].rows["c0/00"], {}) is None


# --- against numpy and one task at a time ---------------------------------------------------------------------------


def test_depth_equals_an_oracle_over_the_predictor() -> None:
    network, card = joint()
    predictor, protocol = Predictor(network, card), DepthProtocol(max_depth=30.0, crop="garg")
    ticks: list[int] = []
    ids = STREETS.ids("val")
    scored = scored_by(network, card, STREETS, ids, protocol=protocol, tick=lambda: ticks.append(1))["depth"]
    assert list(scored.rows) == ids
    assert len(ticks) == len(ids)
    found = []
    for id in ids:
        truth = STREETS.depth(id).astype(np.float64)[16:39, 2:69]
        guess = predictor.predict(STREETS.image(id)).depth.astype(np.float64)[16:39, 2:69]
        valid = (truth > 1e-3) & (truth < 30)
        scaled = np.clip(guess[valid] * np.median(truth[valid]) / np.median(guess[valid]), 1e-3, 30)
        found.append(np.mean(np.abs(scaled - truth[valid]) / truth[valid]))
        assert scored.rows[id]["median"]["abs_rel"] == pytest.approx(found[-1], rel=1e-9)
    assert scored.result["median"]["abs_rel"] == pytest.approx(np.mean(found), rel=1e-9)
    assert len(set(found)) == len(ids)


@pytest.mark.parametrize(("inference", "passes"), [(Inference(), 1), (Inference(flip=True), 2)])
def test_all_tasks_come_from_one_pass_and_are_what_each_is_alone(inference: Inference, passes: int) -> None:
    network, card = joint()
    calls: list[Collection[str]] = []
    network.register_forward_pre_hook(lambda module, given: calls.append(given[1]))
    ids = STREETS.ids("val")

    def scores(tasks: Collection[str] | None) -> dict[str, Scored]:
        predictor = Predictor(network, card, inference=inference, tasks=tasks)
        return score(FromNetwork(predictor, STREETS), STREETS, ids, predictor.tasks)

    together = scores(None)
    assert [list(tasks) for tasks in calls] == [list(BOTH)] * passes * len(ids)
    assert together == {**scores(["segmentation"]), **scores(["depth"])}
    assert list(together) == list(BOTH)


class Sparse(Streets):
    """Labels of all frames but the first, at twice the size of the image; depth of the first frame alone."""

    def has_label(self, id: str) -> bool:
        return not id.endswith("0")

    def label(self, id: str) -> np.ndarray | None:
        label = super().label(id)
        return label.repeat(2, 0).repeat(2, 1) if label is not None and self.has_label(id) else None

    def depth(self, id: str) -> np.ndarray | None:
        return super().depth(id) if self.has_depth(id) else None

    def has_depth(self, id: str) -> bool:
        return id.endswith("0")


def test_each_task_is_scored_where_it_has_a_truth_at_the_size_of_that() -> None:
    network, card = joint()
    dataset = Sparse(size=(40, 72), frames=2, val_clips=2)
    scored = scored_by(network, card, dataset)
    assert list(scored["segmentation"].rows) == ["val/0000/000001", "val/0001/000001"]
    assert list(scored["depth"].rows) == ["val/0000/000000", "val/0001/000000"]
    assert scored["segmentation"].result["pixels"] == 2 * 80 * 144


def test_ids_and_tasks_with_a_truth() -> None:
    dataset = Sparse(size=(40, 72), frames=3, val_clips=1)
    tasks: Mapping[str, Any] = {"segmentation": Segmentation(), "depth": Depth()}
    ids = dataset.ids("val")
    assert with_truth(dataset, tasks, ids) == (ids, tasks)
    assert with_truth(dataset, tasks, ids, 1) == (ids[:1], {"depth": tasks["depth"]})
    only = {"segmentation": tasks["segmentation"]}
    assert with_truth(dataset, only, ids, 1) == (ids[1:2], only)
    assert with_truth(ToyDrive(depth_from=99), tasks, ["c0/00"]) == (["c0/00"], {})


# --- files that cannot be read --------------------------------------------------------------------------------------


class Broken(ToyDrive):
    """Two frames cannot be read: the image of one, the depth and the label of the other."""

    def image(self, id: str) -> np.ndarray:
        if id == "c0/01":
            raise DataError([Problem(id, "bad image")])
        return super().image(id)

    def depth(self, id: str) -> np.ndarray | None:
        if id == "c0/03":
            raise DataError([Problem(id, "bad depth")])
        return super().depth(id)

    def label(self, id: str) -> np.ndarray | None:
        if id == "c0/03":
            raise DataError([Problem(id, "bad label")])
        return None


def test_every_bad_file_is_named_after_all_were_tried() -> None:
    dataset, tasks = Broken(), {"segmentation": Segmentation(), "depth": Depth()}
    card = ModelCard(network=NetworkConfig(tasks=tasks), classes=("a", "b"), colours=((0, 0, 0), (1, 1, 1)), size=SIZE)
    with pytest.raises(DataError) as caught:
        scored_by(Both(), card, dataset)
    assert [problem.reason for problem in caught.value.problems] == ["bad image", "bad label", "bad depth"]
    assert Depth().has_truth(dataset, "c0/03")  # so that scoring names it


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_scores_are_close_to_those_of_the_cpu() -> None:
    network, card = joint()
    found = []
    for device in ("cpu", "cuda"):
        predictor = Predictor(network.to(device), card, device)
        found.append(score(FromNetwork(predictor, STREETS), STREETS, STREETS.ids("val"), predictor.tasks, device))
    mious, errors = zip(
        *((one["segmentation"].result["miou"], one["depth"].result["median"]) for one in found), strict=True
    )
    assert mious[0] == pytest.approx(mious[1], abs=0.02)
    assert errors[0]["abs_rel"] == pytest.approx(errors[1]["abs_rel"], rel=0.05)
