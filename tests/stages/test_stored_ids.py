"""One meaning of ids on disk: what is predicted can be a label, and a label can be scored as a prediction."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fathomseg.data.datasets import AnyDataset
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.kitti_semantics import KittiSemantics
from fathomseg.data.datasets.several import Several
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import DataError, FathomError
from fathomseg.inference.card import ModelCard, load_card, load_model
from fathomseg.inference.predictor import load
from fathomseg.stages.evaluate import Scoring, evaluate_run
from fathomseg.stages.predict import predicted
from tests.fakes import save, scene, write_yaml
from tests.saved_model import save_model
from tests.stages.saved_run import save_run

IDS: dict[str, Any] = {
    "shifted": {"classes": [{"name": "a", "id": 1}, {"name": "b", "id": 2}, {"name": "c", "id": 3}], "ignore": [0]},
    "wide": {"classes": [{"name": "a", "id": 700}, {"name": "b", "id": 7}, {"name": "c", "id": 0}]},
    "plain": {"classes": ["a", "b", "c"]},
    "colours": {
        "labels": "colours",
        "classes": [{"name": n, "colour": [9 * i, 200 - i, 3]} for i, n in enumerate("abc")],
        "ignore": ["#ffffff"],
    },
}


@pytest.fixture(params=IDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """Six images with labels of three classes."""
    root = tmp_path / "data"
    write_yaml(root / "dataset.yaml", IDS[request.param])
    data = Folder(root=root)
    for i in range(6):
        image, label = scene(i, (24, 32), 3)
        save(root / "images" / f"{i}.png", image)
        save(root / "labels" / f"{i}.png", data._labels.stored(label))
    return Folder(root=root)


def run_of(data: AnyDataset, folder: Path) -> Path:
    """A random network of the classes of a dataset."""
    save_run(folder, data.classes, data.model_dump(mode="json"))
    labels, card = data.label_map(), load_card(folder)
    assert labels is not None
    card = ModelCard.model_validate({**card.model_dump(), "ids": labels.ids, "labels": labels.kind})
    save_model(folder, card, load_model(folder)[1].state_dict())
    return folder


def miou(result: dict[str, Any]) -> float:
    return float(next(iter(result["scores"].values()))["segmentation"]["miou"])


def test_labels_scored_as_predictions_are_perfect(folder: Folder, tmp_path: Path) -> None:
    made = run_of(folder, tmp_path / "run")
    scored = evaluate_run(made, Scoring(split="train", against=folder.root / "labels", dataset=folder), report=False)
    assert miou(scored) == 1


def test_predictions_are_labels_of_the_same_dataset(folder: Folder, tmp_path: Path) -> None:
    made = run_of(folder, tmp_path / "run")
    out = tmp_path / "out"
    predicted(str(made), str(folder.root / "images"), str(out), device="cpu", overlay=False)
    shutil.copytree(folder.root / "images", tmp_path / "pseudo" / "images")
    shutil.copytree(out / "ids", tmp_path / "pseudo" / "labels")
    shutil.copy(folder.root / "dataset.yaml", tmp_path / "pseudo")
    pseudo, predictor, seen = Folder(root=tmp_path / "pseudo"), load(made, device="cpu"), set()
    for id in pseudo.ids("all"):
        expected = predictor.predict(pseudo.image(id)).label
        np.testing.assert_array_equal(pseudo.label(id), expected)
        seen |= set(np.unique(expected).tolist())
    assert len(seen) > 1
    ours, theirs = (
        evaluate_run(made, Scoring(split="train", weights="ema", dataset=folder, against=against), report=False)
        for against in (None, out / "ids")
    )
    assert miou(ours) == miou(theirs) < 1
    rows = json.loads((out / "classes.json").read_text())["classes"]
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    found = {int(v) for path in (out / "ids").iterdir() for v in np.unique(np.asarray(Image.open(path)))}
    assert found <= {row["id"] for row in rows}


def test_predictions_of_other_classes_are_not_scored(folder: Folder, tmp_path: Path) -> None:
    made = run_of(folder, tmp_path / "run")
    predicted(str(made), str(folder.root / "images"), str(tmp_path / "out"), device="cpu", overlay=False)
    listed = (tmp_path / "out" / "classes.json").read_text()
    (tmp_path / "out" / "classes.json").write_text(listed.replace('"a"', '"z"'))
    with pytest.raises(FathomError, match="made by a network of other classes"):
        evaluate_run(made, Scoring(split="train", dataset=folder, against=tmp_path / "out" / "ids"), report=False)


def test_predictions_of_an_image_that_was_replaced_are_not_scored(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_yaml(root / "dataset.yaml", IDS["plain"])
    for i in range(3):
        image, label = scene(i, (24, 32), 3)
        save(root / "images" / f"{i}.png", image)
        save(root / "labels" / f"{i}.png", label)
    data = Folder(root=root)
    made = run_of(data, tmp_path / "run")
    predicted(str(made), str(root / "images"), str(tmp_path / "out"), device="cpu", overlay=False)
    scored = evaluate_run(made, Scoring(split="train", dataset=data, against=tmp_path / "out" / "ids"), report=False)
    assert str(made) in scored["made_by"]["predictions"]
    id = data.ids("train")[0]
    save(root / f"{id}.png", scene(9, (24, 32), 3)[0])
    with pytest.raises(DataError, match=r"was predicted before .* changed; predict it again"):
        evaluate_run(made, Scoring(split="train", dataset=data, against=tmp_path / "out" / "ids"), report=False)


def test_scores_on_other_data_do_not_replace_those_of_its_own(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("own", "other")]
    for k, root in enumerate(roots):
        write_yaml(root / "dataset.yaml", IDS["plain"])
        for i in range(3):
            image, label = scene(10 * k + i, (24, 32), 3)
            save(root / "images" / f"{i}.png", image)
            save(root / "labels" / f"{i}.png", label)
    made = run_of(Folder(root=roots[0]), tmp_path / "run")
    for root in (*roots, roots[0]):
        scored = evaluate_run(made, Scoring(split="train", weights="ema", dataset=Folder(root=root)), report=False)
        assert set(scored["made_by"]) == {"ema"}
    names = sorted(path.name for path in (made / "evaluation").iterdir())
    assert names[0] == "train"
    assert [name[: len("train-on-other-")] for name in names[1:]] == ["train-on-other-"]
    assert scored.pop("folder") == str(made / "evaluation" / "train")
    assert json.loads((made / "evaluation" / "train" / "scores.json").read_text()) == scored


def test_indices_are_not_taken_for_the_ids_of_a_dataset(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_yaml(root / "dataset.yaml", IDS["shifted"])
    image, label = scene(0, (24, 32), 3)
    for stem in ("0", "1"):
        save(root / "images" / f"{stem}.png", image)
        save(root / "labels" / f"{stem}.png", label + 1)
        save(tmp_path / "indices" / f"{stem}.png", label)
    data = Folder(root=root)
    with pytest.raises(DataError, match="holds 0 where the label has a class; expected the ids of folder: 1, 2, 3"):
        evaluate_run(run_of(data, tmp_path / "run"), Scoring(split="train", against=tmp_path / "indices"), report=False)


def test_what_label_files_of_other_datasets_store(tmp_path: Path) -> None:
    six = KittiSemantics(root=tmp_path, class_count=6).label_map("")
    assert six.ids == (7, 11, 17, 21, 23, 24)  # road, building, pole, vegetation, sky, person
    assert Streets().label_map() is None
    assert Several(datasets={"a": Streets(), "b": Streets(seed=1)}).label_map() is None
