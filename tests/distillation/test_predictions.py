"""What becomes of a teacher's logits: known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fathomseg.data.class_match import match_classes
from fathomseg.data.datasets.kitti_semantics import KittiSemantics
from fathomseg.distillation.files import path_of, read_part, write_predictions
from fathomseg.distillation.predictions import agreement, labels
from fathomseg.distillation.provenance import StoredClasses
from fathomseg.errors import DataError
from tests.distillation.teachers import own_data

OURS = ("road", "traffic light", "car")


class TestLabels:
    def test_probabilities_of_merged_classes_are_added_and_of_lost_ones_left_out(self) -> None:
        """One row of three pixels; the teacher's truck and car are both our car, its sky is nobody."""
        p = torch.tensor([[0.4, 0.1, 0.1], [0.3, 0.1, 0.2], [0.2, 0.7, 0.1], [0.1, 0.1, 0.6]])
        match = match_classes(("road", "car", "truck", "sky"), ("road", "car"), {"truck": "car"})
        found = labels(p.log()[:, None], (1, 3), match, soft=True)
        np.testing.assert_array_equal(found["label"], [[0, 1, 255]])
        np.testing.assert_allclose(found["label_confidence"], [[0.4, 0.8, 0.0]], atol=1e-6)
        np.testing.assert_array_equal(found["label_classes"], [[[1, 0], [1, 0], [1, 0]]])
        wanted = [[[5 / 9, 4 / 9], [8 / 9, 1 / 9], [0.75, 0.25]]]
        np.testing.assert_allclose(found["label_probabilities"], wanted, atol=1e-6)

    def test_logits_are_resampled_before_they_are_compared(self) -> None:
        logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
        found = labels(logits, (9, 11), match_classes(OURS, OURS), soft=False)
        wide = torch.nn.functional.interpolate(logits[None], (9, 11), mode="bilinear", align_corners=False)[0]
        np.testing.assert_array_equal(found["label"], wide.argmax(0).numpy())
        np.testing.assert_allclose(found["label_confidence"], wide.softmax(0).amax(0).numpy(), rtol=1e-5)

    def test_agreement_of_two_depths(self) -> None:
        a, b = torch.tensor([[2.0, 4.0, 0.0]]), torch.tensor([[2.0, 1.0, 3.0]])
        assert agreement(a, b).tolist() == [[1.0, 0.25, 0.0]]


class TestFiles:
    @pytest.mark.parametrize("kind", ["ids", "colours"])
    def test_labels_are_written_as_the_dataset_writes_its_own(self, tmp_path: Path, kind: str) -> None:
        data = own_data(tmp_path / "data", kind=kind, labelled=3)
        ids = data.ids("train")
        stored = StoredClasses.of(data, ids)
        for id in (one for one in ids if data.has_label(one)):
            label = data.label(id)
            write_predictions(tmp_path / "out", id, {"label": label}, stored)
            np.testing.assert_array_equal(read_part(tmp_path / "out", id, "label", stored), label)
            written = path_of(tmp_path / "out", id, "label")
            np.testing.assert_array_equal(data.label_map(id).read(written), label)  # by the dataset itself

    def test_of_several_ids_for_a_class_one_is_written(self) -> None:
        stored = StoredClasses.of(KittiSemantics.model_construct(class_count=6), ["a", "b"])
        assert len(stored.values) == 6
        assert stored.ignore not in stored.values

    def test_everything_comes_back_within_half_a_level(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        p = np.sort(rng.dirichlet(np.ones(4), (5, 6)).astype(np.float32), axis=2)[:, :, ::-1]
        n = rng.normal(size=(5, 6, 3)).astype(np.float32)
        answer = {
            "label_confidence": rng.random((5, 6), np.float32),
            "label_classes": rng.integers(0, 4, (5, 6, 4)).astype(np.uint8),
            "label_probabilities": p,
            "depth": rng.random((5, 6), np.float32) * 80,
            "normals": n / np.linalg.norm(n, axis=2, keepdims=True),
        }
        write_predictions(tmp_path, "a/b", answer, None)
        within = {"label_confidence": 1 / 510, "label_probabilities": 1 / 131070, "normals": 2e-5}
        for part, values in answer.items():
            found = read_part(tmp_path, "a/b", part, None)
            assert found.dtype == values.dtype
            np.testing.assert_allclose(found, values, rtol=0, atol=within.get(part, 0) + 1e-7 * (part in within))

    def test_a_damaged_file_is_named(self, tmp_path: Path) -> None:
        write_predictions(tmp_path, "a", {"depth": np.ones((2, 3), np.float32)}, None)
        path_of(tmp_path, "a", "depth").write_bytes(b"PK no zip")
        with pytest.raises(DataError, match=r"depth/a\.npz: cannot be read as a file of NumPy"):
            read_part(tmp_path, "a", "depth", None)
