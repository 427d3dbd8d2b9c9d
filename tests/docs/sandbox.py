"""A folder in which the commands of a page run in their order: fake data, small recipes, and what a page takes for
granted. Verbs, options, recipes and settings stay as they are printed; only sizes and steps are cut."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import yaml

from fathomseg.data.datasets.nyuv2 import NyuV2
from fathomseg.data.datasets.streets import Streets
from fathomseg.named_recipes import find
from fathomseg.selection.annotation import load_task
from fathomseg.stages.api import evaluate, select
from tests import fakes
from tests.distillation.teachers import make_run, save_segformer
from tests.parallel import fake_slurm
from tests.selection.annotation.tasks import from_cvat
from tests.small_recipes import SMALL, STREETS, TRANSFORMER, is_transformer, pose, views
from tests.stages.saved_run import save_depth_run, save_run

LABELS: Final = 2
WORLD: Final = [*STREETS, f"streams.labelled.labels.count={LABELS}"]
TEACHER: Final = "segformer"
"""The folder of a tiny model, for hf:OWNER/NAME."""


def smaller(command: str) -> list[str]:
    """The words of a command as a shell gives them, with settings that make it run in seconds."""
    words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in shlex.split(command)[1:]]
    words = [
        re.sub(r"(\.labels\.count)=\d\d+$", rf"\1={LABELS}", word).replace("OWNER/NAME", TEACHER) for word in words
    ]
    for option, share in (("--budget", 12), ("--workers", 4)):
        if option in words:
            number = words.index(option) + 1
            words[number] = str(int(words[number]) // share)
    if "--resume" in words or words[0] not in SMALLER:
        return words
    return words + SMALLER[words[0]](words)


def _training(words: list[str]) -> list[str]:
    tree = yaml.safe_load(find(words[1]).read_text(encoding="utf-8"))
    settings = [*SMALL, "train.steps=2", *pose(tree), *views(tree)]
    if is_transformer(tree):
        settings += TRANSFORMER
    if tree["data"]["name"] == "streets":
        settings += STREETS
    if "endless" in tree["streams"].get("source", {}).get("data", {}):
        settings.append("streams.source.data.size=[48,64]")
    counted = any(".labels.count=" in word for word in words)
    if not counted and tree["streams"].get("labelled", {}).get("labels", {}).get("count"):
        settings.append(f"streams.labelled.labels.count={LABELS}")
    return settings


def _study(words: list[str]) -> list[str]:
    tree = yaml.safe_load(find(words[1]).read_text(encoding="utf-8"))
    settings = [f"settings.{text}" for text in (*SMALL, *STREETS, "train.steps=2")]
    budgeted = ["budgets"] if "budgets" in tree else []
    budgeted += [f"arms.{name}.budgets" for name, arm in tree["arms"].items() if "budgets" in arm]
    return [*settings, "seeds=[0]", *(f"{place}=[{LABELS}]" for place in budgeted)]


def _distilling(words: list[str]) -> list[str]:
    """A recipe's data, as the training after it has them."""
    return WORLD if words[2].endswith(".yaml") else []


def _choosing(words: list[str]) -> list[str]:
    """Students, where there are some, are trained for two steps."""
    tree = yaml.safe_load(find(words[1]).read_text(encoding="utf-8"))
    students = ["criterion.first_stage=3", 'criterion.student={"steps":2}'] if "teacher" in tree["criterion"] else []
    return ["size=[24,32]", "device=cpu", "threads=1", *students]


SMALLER: Final[dict[str, Callable[[list[str]], list[str]]]] = {
    "train": _training,
    "pretrain": _training,
    "study": _study,
    "distill": _distilling,
    "select": _choosing,
}
"""What makes a command small, by verb."""


def own_data() -> None:
    """A folder of the user's own, partly labelled, with a clip and a video."""
    fakes.make_folder(Path("mydata"), images=16, labelled=10, videos=1)


def unlabelled_data() -> None:
    """The same before anybody has labelled an image."""
    fakes.make_folder(Path("mydata"), labels=None)


def videos() -> None:
    """Videos and no image, as they come from a camera."""
    fakes.make_folder(Path("mydata"), images=0, labels=None, clips=0, videos=3)


def camvid() -> None:
    fakes.make_camvid(Path("data", "camvid"), train=30, size=(48, 64))


def camvid_at_home() -> None:
    """One frame in each of a minute's seconds, so that blocks holds some of them."""
    fakes.make_camvid(Path("~/data/CamVid").expanduser(), train=40, size=(48, 64))


def cityscapes() -> None:
    fakes.make_cityscapes(Path("data", "cityscapes"), clips=4)


def kitti() -> None:
    fakes.make_kitti(Path("data", "kitti"))


def kitti_with_depth() -> None:
    fakes.make_kitti(Path("data", "kitti"), layout="raw")


def own_recipe() -> None:
    tree = yaml.safe_load(find("own-data").read_text(encoding="utf-8"))
    fakes.write_yaml(Path("recipes", "mine.yaml"), tree)


def drawn() -> None:
    """What annotators draw in CVAT on images that `fathom select` has exported."""
    select("select-own-images", size=[24, 32], device="cpu", budget=3, out="selected", **{"data.root": "mydata"})
    draw(Path("selected"), Path("job.zip"))


def draw(selected: Path, job: Path) -> None:
    """What annotators draw in CVAT on all images of a selection, and export."""
    stems = [image.stem for image in load_task(selected / "annotation").images]
    lines = [(name, (9 * i, 0, 0)) for i, name in enumerate(("background", "road", "car", "sky"))]
    from_cvat(job, {stem: fakes.scene(i, (24, 32), 3)[1] for i, stem in enumerate(stems)}, lines)


DATA: Final[dict[str, Any]] = {"name": "streets", "size": [64, 96], "train_clips": 1, "val_clips": 1, "frames": 4}
"""The data of runs that a page takes for granted."""


def save(run: str, *tasks: str) -> Path:
    """A run of random networks in runs/, for generated streets."""
    folder = Path("runs", run)
    folder.mkdir(parents=True)
    if tasks == ("depth",):
        return save_depth_run(folder, DATA, size=(64, 96))
    return save_run(folder, Streets(**DATA).classes, DATA, size=(64, 96), tasks=tasks)


def run_of_classes() -> None:
    save("mine", "segmentation")


def joint_run() -> None:
    save("joint", "segmentation", "depth")


def depth_run() -> None:
    save("depth", "depth")


def scored_baselines() -> None:
    """Runs of one task each, scored."""
    for run in (save("labels", "segmentation"), save("depths", "depth")):
        evaluate(run, report=False)


def film() -> None:
    fakes.make_video(Path("drive.mp4"), [fakes.scene(0, (64, 96), 4, shift=i)[0] for i in range(4)])


def photos() -> None:
    """Some, their camera, and depth of the images that `val` has from somewhere else."""
    for seed in range(2):
        fakes.save(Path("photos", f"{seed}.jpg"), fakes.scene(seed, (64, 96), 4)[0])
    camera = {"width": 96, "height": 64, "fx": 80.0, "fy": 80.0, "cx": 47.5, "cy": 31.5}
    fakes.write_yaml(Path("camera.yaml"), camera)
    data = Streets(**DATA)
    for id in data.ids("val"):
        path = Path("maps", f"{id}.npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.asarray(data.depth(id)) + 1)


def cluster() -> None:
    """What the placeholders of the page stand for."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    pytest.importorskip("submitit", reason="needs the extra cluster")
    fakes.write_yaml(Path("STUDY.yaml"), {"arms": {"plain": {"recipe": "streets"}}, "budgets": [LABELS]})
    save("joint", "segmentation", "depth").rename("RUN")


def half_nyuv2() -> None:
    """Rooms of which half have labels and the others depth."""
    fakes.make_nyuv2(Path("mydata"))
    for number, id in enumerate(NyuV2(root=Path("mydata"), blocks=True).ids("train")):
        lacking = ("seg40", "depth")[number % 2]
        (Path("mydata", lacking) / f"{id.rsplit('/', 1)[-1]}.png").unlink()


def teachers() -> None:
    """A run, and a model as Hugging Face stores it, which calls its classes otherwise than NYU Depth v2."""
    make_run(Path("runs", "large"), Streets().classes.names)
    save_segformer(Path(TEACHER), ("Wall", "ceiling", "spaceship"))
    fakes.write_yaml(Path("mapping.yaml"), {"Wall": "wall", "spaceship": None})


def at_home(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Work in an empty folder, which is the user's home too, on a machine that has Slurm."""
    folder.mkdir()
    fake_slurm.install(folder.parent, patch)
    patch.chdir(folder)
    patch.setenv("HOME", str(folder))
