"""Seeded makers of small fake datasets, in the layouts of the real ones. Images show their labels, so nets can learn.

Every maker writes below `folder`, which it creates, and returns it. Sizes are (height, width).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import yaml
from PIL import Image

from fathomseg.data.datasets.cityscapes import _IDS as CITYSCAPES_IDS
from fathomseg.data.datasets.cityscapes import CLASSES as CITYSCAPES
from fathomseg.data.datasets.vkitti2 import CLASSES as VKITTI2
from fathomseg.io.coco import write_coco

Size = tuple[int, int]


def scene(seed: int, size: Size, classes: int, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An RGB image and the label it shows: rectangles of random classes, moved `shift` pixels to the left."""
    rng = np.random.default_rng(seed)
    height, width = size
    label = np.full(size, rng.integers(classes), np.uint8)
    for _ in range(12):
        top, left = rng.integers(height), rng.integers(width)
        label[top : top + 1 + rng.integers(height // 2), left : left + 1 + rng.integers(width // 2)] = rng.integers(
            classes
        )
    label = np.roll(label, -shift, axis=1)
    colours = np.random.default_rng(0).integers(0, 256, (classes, 3))
    noise = rng.integers(-8, 9, (*size, 3))
    return np.clip(colours[label] + noise, 0, 255).astype(np.uint8), label


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write an image file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_camvid(
    folder: Path,
    train: int = 6,
    val: int = 5,
    test: int = 0,
    size: Size = (24, 32),
    seed: int = 0,
    suffix: str = ".png",
) -> Path:
    """CamVid as in the SegNet tutorial: `train` images a second apart, `val` a clip that moves a pixel a frame."""
    for i in range(train):
        image, label = scene(seed + i, size, 12)
        _pair(folder, "train", f"0001TP_{6690 + 30 * i:06d}", suffix, image, label)
    for split, count, pattern in (("val", val, "0016E5_{:05d}"), ("test", test, "Seq05VD_f{:05d}")):
        for i in range(count):
            image, label = scene(seed + 1000 + len(split), size, 12, shift=i)
            _pair(folder, split, pattern.format(7959 + 2 * i), suffix, image, label)
    return folder


def _pair(folder: Path, split: str, stem: str, suffix: str, image: np.ndarray, label: np.ndarray) -> None:
    save(folder / split / f"{stem}{suffix}", image)
    save(folder / f"{split}annot" / f"{stem}.png", label.clip(max=11))


def make_idd_lite(
    folder: Path, sequences: int = 8, frames: int = 2, size: Size = (23, 32), seed: int = 0, with_val: bool = False
) -> Path:
    """IDD-Lite; class 7 of the scenes is stored as void (255)."""
    for split in ("train", "val")[: 1 + with_val]:
        for sequence in range(sequences):
            for frame in range(frames):
                image, label = scene(seed + 100 * sequence + frame, size, 8)
                name = Path(split, str(sequence), f"{frame:06d}")
                save(folder / "leftImg8bit" / f"{name}_image.jpg", image)
                save(folder / "gtFine" / f"{name}_label.png", np.where(label == 7, 255, label).astype(np.uint8))
    return folder


def make_cityscapes(
    folder: Path,
    clips: int = 2,
    frames: int = 5,
    size: Size = (32, 64),
    label_size: Size | None = None,
    seed: int = 0,
    suffix: str = ".png",
    sequence: bool = True,
    camera: bool = True,
) -> Path:
    """Cityscapes with one city a split; the labelled frame of a clip is number 19, in the middle of `frames`."""
    for place, (split, city) in enumerate((("train", "aachen"), ("val", "lindau"), ("test", "bonn"))):
        for clip in range(clips):
            for number in range(19 - frames // 2, 19 + (frames + 1) // 2):
                stem = f"{city}_{clip:06d}_{number:06d}"
                image, label = scene(seed + clip + 50 * place, size, 20, shift=number)
                if sequence:
                    save(folder / "leftImg8bit_sequence" / split / city / f"{stem}_leftImg8bit{suffix}", image)
                if number == 19:
                    ids = np.array([*CITYSCAPES_IDS, 3], np.uint8)[label]
                    stored = np.asarray(
                        Image.fromarray(ids).resize((label_size or size)[::-1], Image.Resampling.NEAREST)
                    )
                    save(folder / "leftImg8bit" / split / city / f"{stem}_leftImg8bit{suffix}", image)
                    save(folder / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", stored)
                    if camera:
                        _camera_json(folder / "camera" / split / city / f"{stem}_camera.json", fx=2262.52 + clip)
    return folder


def _camera_json(path: Path, fx: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"intrinsic": {"fx": fx, "fy": 2265.3, "u0": 1096.98, "v0": 513.137}}))


KITTI_SIZE = (375, 1242)
"""Of the images KITTI's calibration was measured on."""


def make_kitti(
    folder: Path,
    layout: str = "clips",
    drives: int = 3,
    frames: int = 4,
    size: Size = (24, 80),
    seed: int = 0,
    grey: bool = False,
    right: bool = False,
) -> Path:
    """KITTI as "raw" (depth for all but the first frame), "odometry" (with poses) or "clips" (camera.yaml, poses)."""
    for drive in range(drives):
        name = {"raw": f"2011_09_26_drive_{drive:04d}_sync", "odometry": f"{drive:02d}", "clips": f"drive{drive}"}[
            layout
        ]
        base = folder / {"raw": f"2011_09_26/{name}", "odometry": f"sequences/{name}", "clips": name}[layout]
        for number in (0, 1)[: 1 + right] if grey else (2, 3)[: 1 + right]:
            for i in range(frames):
                image = scene(seed + drive, size, 4, shift=i + 2 * (number % 2))[0]
                where = {"raw": f"image_{number:02d}/data/{i:010d}.png", "odometry": f"image_{number}/{i:06d}.png"}
                save(base / where.get(layout, f"{i:06d}.jpg"), image[..., 0] if grey else image)
                if layout == "raw" and i > 0:
                    depth = np.zeros(size, np.uint16)
                    depth[2::3, 1::4] = 256 * (5 + i) + 64 * drive
                    save(base / f"proj_depth/groundtruth/image_{number:02d}/{i:010d}.png", depth)
        _kitti_geometry(folder, base, layout, frames, turn=0.01 * (drive + 1))
    return folder


def _kitti_geometry(folder: Path, base: Path, layout: str, frames: int, turn: float) -> None:
    """Calibration for images of `KITTI_SIZE`, with a baseline of 0.06 m from camera 0 to 2, and poses on an arc."""
    projections = {
        n: f"721.5377 0 609.5593 {721.5377 * x} 0 721.5377 172.854 0 0 0 1 0"
        for n, x in {0: 0.0, 1: -0.54, 2: 0.06, 3: -0.48}.items()
    }
    angles = turn * np.arange(frames)
    c, s, o = np.cos(angles), np.sin(angles), np.zeros(frames)
    poses = "".join(
        " ".join(f"{x:.6e}" for x in row) + "\n"
        for row in np.stack([c, o, s, 10 * (1 - c), o, o + 1, o, o, -s, o, c, 10 * s], axis=1)
    )
    if layout == "raw":
        lines = ["calib_time: 09-Jan-2012 13:57:47", "corner_dist: 9.950000e-02"]
        lines += [line for n, p in projections.items() for line in (f"S_rect_0{n}: 1242 375", f"P_rect_0{n}: {p}")]
        (base.parent / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n")
    elif layout == "odometry":
        (base / "calib.txt").write_text("".join(f"P{n}: {p}\n" for n, p in projections.items()))
        (folder / "poses").mkdir(exist_ok=True)
        (folder / "poses" / f"{base.name}.txt").write_text(poses)
    else:
        camera = {"width": 1242, "height": 375, "fx": 721.5377, "fy": 721.5377, "cx": 609.5593, "cy": 172.854}
        write_yaml(base / "camera.yaml", camera)
        (base / "poses.txt").write_text(poses)


def make_kitti2015(
    folder: Path,
    scenes: int = 3,
    testing: int = 1,
    size: Size = (24, 80),
    map_size: Size | None = None,
    seed: int = 0,
    suffix: str = ".png",
    calibration: str | None = "training",
    labels: bool = True,
) -> Path:
    """KITTI 2015 with the frames _10 and _11 of each scene; disparity and labels are of `map_size`.

    `calibration` is the part that has it, "" for the folder above, None for none: focal length 700 + 10 x scene at
    1242 pixels of width, baseline 0.5 m. The noc map lacks the left half of the occ one.
    """
    for part, count in (("training", scenes), ("testing", testing)):
        for scene_number in range(count):
            stem = f"{scene_number:06d}"
            image, label = scene(seed + scene_number, size, 20)
            label = np.asarray(Image.fromarray(label).resize((map_size or size)[::-1], Image.Resampling.NEAREST))
            for time in (10, 11):
                save(folder / part / f"image_2/{stem}_{time}{suffix}", np.roll(image, 10 - time, axis=1))
            if part == "training":
                _kitti2015_maps(folder / part, f"{stem}_10.png", label, seed + scene_number, labels)
                if calibration is not None:
                    _kitti2015_calibration(
                        folder / calibration / f"calib_cam_to_cam/{stem}.txt", 700 + 10 * scene_number
                    )
    return folder


def _kitti2015_maps(part: Path, name: str, label: np.ndarray, seed: int, labels: bool) -> None:
    disparity = np.random.default_rng(seed).integers(256, 100 * 256, label.shape).astype(np.uint16)
    disparity[: len(label) // 3] = 0
    save(part / "disp_occ_0" / name, disparity)
    disparity[:, : label.shape[1] // 2] = 0
    save(part / "disp_noc_0" / name, disparity)
    if labels:
        save(part / "semantic" / name, np.array([*CITYSCAPES_IDS, 3], np.uint8)[label])


def _kitti2015_calibration(path: Path, focal_px: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        line
        for number, x in ((2, 0.06), (3, -0.44))
        for line in (
            f"S_rect_0{number}: 1.242000e+03 3.750000e+02",
            f"P_rect_0{number}: {focal_px} 0 609.5593 {focal_px * x:.6e} 0 {focal_px} 172.854 0 0 0 1 0",
        )
    ]
    path.write_text("\n".join(["calib_time: 09-Jan-2012 14:00:15", *lines]) + "\n")


def make_kitti_semantics(
    folder: Path,
    numbers: Sequence[int] = (0, 1, 12, 25, 26, 41),
    depth: str | None = "depth",
    size: Size = (24, 80),
    map_size: Size | None = None,
    seed: int = 0,
) -> Path:
    """The KITTI semantic benchmark with frames _10 and _11, and one scene for testing. The depth map of scene n is
    2 m + n cm above its lower half, in `depth` below training/; None for none."""
    for part, scenes in (("training", numbers), ("testing", (0,))):
        for number in scenes:
            stem = f"{number:06d}"
            image, label = scene(seed + number, size, 20)
            for time in (10, 11):
                save(folder / part / f"image_2/{stem}_{time}.png", np.roll(image, 10 - time, axis=1))
            if part == "testing":
                continue
            label = np.asarray(Image.fromarray(label).resize((map_size or size)[::-1], Image.Resampling.NEAREST))
            save(folder / part / f"semantic/{stem}_10.png", np.array([*CITYSCAPES_IDS, 3], np.uint8)[label])
            if depth is not None:
                metres = np.zeros(label.shape)
                metres[len(label) // 2 :] = 2 + number / 100
                save(folder / part / depth / f"{stem}_10.png", (256 * metres).round().astype(np.uint16))
    return folder


def make_nyuv2(
    folder: Path,
    layout: str = "lists",
    test: bool = True,
    numbers: Sequence[int] = (*range(3, 7), *range(10, 13), *range(19, 22), *range(30, 34), *range(50, 53)),
    steps: int = 1000,
    first_id: int = 1,
    size: Size = (24, 32),
    seed: int = 0,
) -> Path:
    """NYU Depth v2 as "lists" (image, seg40, depth, train.txt) or "folders" (train/rgb, train/label40, train/depth).

    Every third number is for testing if `test`. Depth falls from 3 m above to 1 m below, its first column is unknown.
    Class 40 of the scenes is stored as void.
    """
    names = {"lists": ("image", "seg40"), "folders": ("rgb", "label40")}[layout]
    sides: dict[str, list[str]] = {"train": [], "test": []}
    for number in numbers:
        side = "test" if test and number % 3 == 0 else "train"
        stem = f"{number:04d}"
        sides[side].append(stem)
        base = folder if layout == "lists" else folder / side
        image, label = scene(seed + number, size, 41)
        stored = np.where(label == 40, 255 if first_id == 0 else 0, label + first_id).astype(np.uint8)
        save(base / names[0] / f"{stem}.png", image)
        save(base / names[1] / f"{stem}.png", stored)
        metres = np.tile(np.linspace(3, 1, size[0])[:, None], (1, size[1]))
        metres[:, 0] = 0
        save(base / "depth" / f"{stem}.png", (steps * metres).round().astype(np.uint16))
    if layout == "lists":
        for side, stems in sides.items():
            if stems:
                (folder / f"{side}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return folder


class MatContents(NamedTuple):
    """What `make_nyuv2_mat` wrote, upright."""

    images: np.ndarray
    depths: np.ndarray
    labels: np.ndarray
    """Ids: 0 = no label, 1 = chair, 2 = wall, 3 = whatnot."""


def make_nyuv2_mat(folder: Path, size: Size = (24, 32), seed: int = 0) -> MatContents:
    """nyu_depth_v2_labeled.mat with six images, 1, 2, 4 and 5 for training in two scenes; splits and class mapping."""
    h5py, matlab = importlib.import_module("h5py"), importlib.import_module("scipy.io")
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [scene(seed + i, size, 4) for i in range(6)]
    images, labels = (np.stack(part) for part in zip(*scenes, strict=True))
    depths = np.random.default_rng(seed).uniform(1, 9, labels.shape).astype(np.float32)
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = images.transpose(0, 3, 2, 1), depths.transpose(0, 2, 1)
        file["labels"] = labels.transpose(0, 2, 1).astype(np.uint16)
        rooms = ["kitchen_0004"] * 3 + ["office_0002"] * 3
        for key, texts in (("names", ["chair", "wall", "whatnot"]), ("scenes", rooms)):
            cells = file.create_dataset(key, (1, len(texts)), h5py.ref_dtype)
            for place, text in enumerate(texts):
                file[f"#refs#/{key}{place}"] = np.array([[ord(letter)] for letter in text], np.uint16)
                cells[0, place] = file[f"#refs#/{key}{place}"].ref
    matlab.savemat(
        folder / "splits.mat", {"trainNdxs": np.array([[1], [2], [4], [5]]), "testNdxs": np.array([[3], [6]])}
    )
    names = np.array(["wall", "sofa", "chair", "whatnot"], object)  # in another order than in the file
    mapping = {"mapClass": np.array([[1, 6, 5, 40]]), "allClassName": names, "className": np.array(["wall"], object)}
    matlab.savemat(folder / "classMapping40.mat", mapping)
    return MatContents(images, depths, labels)


def make_vkitti2(
    folder: Path,
    scenes: Sequence[str] = ("Scene01", "Scene18"),
    variations: Sequence[str] = ("clone", "fog"),
    cameras: Sequence[int] = (0,),
    frames: int = 3,
    archives: bool = True,
    size: Size = (24, 80),
    map_size: Size | None = None,
    colours: dict[str, tuple[int, int, int]] | None = None,
    seed: int = 0,
) -> Path:
    """Virtual KITTI 2, in a folder for every archive or all in one. Depth is 5 m + frame, sky (the upper third) is far.

    The camera drives a metre a frame along z and looks a little to the right, more in every scene.
    """
    colours = colours or {}
    table = {**dict(zip(VKITTI2.names, VKITTI2.colours, strict=True)), "Undefined": (0, 0, 0), **colours}

    def base(kind: str) -> Path:
        return folder / f"vkitti_2.0.3_{kind}" if archives else folder

    for place, name in enumerate(scenes):
        for variation in variations:
            clip = Path(name, variation)
            intrinsic, extrinsic = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"], ["frame cameraID r1,1 r1,2 ..."]
            for camera in cameras:
                for i in range(frames):
                    image, label = scene(seed + place, size, 15, shift=i + 2 * camera)
                    label = np.asarray(
                        Image.fromarray(label).resize((map_size or size)[::-1], Image.Resampling.NEAREST)
                    )
                    centimetres = np.full(label.shape, 100 * (5 + i), np.uint16)
                    centimetres[: len(label) // 3] = 65535
                    inside = {"rgb": f"rgb_{i:05d}.jpg", "depth": f"depth_{i:05d}.png"}
                    inside["classSegmentation"] = f"classgt_{i:05d}.png"
                    pixels = {"rgb": image, "depth": centimetres}
                    pixels["classSegmentation"] = np.array(list(table.values()), np.uint8)[label]
                    for kind, file in inside.items():
                        save(base(kind) / clip / "frames" / kind / f"Camera_{camera}" / file, pixels[kind])
                    intrinsic.append(f"{i} {camera} 725.0087 725.0087 620.5 187")
                    c, s = np.cos(0.1 * place), np.sin(0.1 * place)
                    world_T_cam = np.array([[c, 0, s, 0.53 * camera], [0, 1, 0, 0], [-s, 0, c, i], [0, 0, 0, 1]])
                    row = " ".join(f"{x:.9f}" for x in np.linalg.inv(world_T_cam).ravel())
                    extrinsic.append(f"{i} {camera} {row}")
            text = base("textgt") / clip
            text.mkdir(parents=True, exist_ok=True)
            (text / "intrinsic.txt").write_text("\n".join(intrinsic) + "\n")
            (text / "extrinsic.txt").write_text("\n".join(extrinsic) + "\n")
            lines = ["Category r g b", *(f"{key} {r} {g} {b}" for key, (r, g, b) in table.items())]
            (text / "colors.txt").write_text("\n".join(lines) + "\n")
    return folder


def make_gta5(
    folder: Path,
    numbers: Sequence[int] = (1, 2, 150, 151, 320, 321),
    kind: str = "palette",
    size: Size = (24, 40),
    label_size: Size | None = None,
    seed: int = 0,
) -> Path:
    """GTA5 with labels as "palette" images of Cityscapes' ids, or as RGB "colours". Class 19 of the scenes is void."""
    for number in numbers:
        image, label = scene(seed + number, size, 20)
        label = np.asarray(Image.fromarray(label).resize((label_size or size)[::-1], Image.Resampling.NEAREST))
        save(folder / "images" / f"{number:05d}.png", image)
        path = folder / "labels" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "colours":
            save(path, np.array([*CITYSCAPES.colours, (0, 0, 0)], np.uint8)[label])
        else:
            indexed = Image.fromarray(np.array([*CITYSCAPES_IDS, 34], np.uint8)[label], mode="P")
            indexed.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
            indexed.save(path)
    return folder


SYNTHIA_IDS = (3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11)
"""The id of each of its 16 classes, in the order of Cityscapes."""


def make_synthia(
    folder: Path,
    numbers: Sequence[int] = (0, 1, 130, 131, 260, 261),
    depth: bool = True,
    size: Size = (24, 40),
    seed: int = 0,
) -> Path:
    """SYNTHIA-RAND-CITYSCAPES: ids in the first of three channels of 16 bits, instances in the second. Depth is 4 m + 1
    cm for each number, the upper third is sky. Class 16 of the scenes is void."""
    for number in numbers:
        image, label = scene(seed + number, size, 17)
        save(folder / "RGB" / f"{number:07d}.png", image)
        ids = np.array([*SYNTHIA_IDS, 22], np.uint16)[label]
        for place in ("GT/LABELS", "Depth/Depth"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        three = np.stack([np.zeros_like(ids), 1000 + ids, ids], axis=-1)  # OpenCV writes the last channel as red
        cv2.imwrite(str(folder / "GT/LABELS" / f"{number:07d}.png"), three)
        if depth:
            centimetres = np.full(size, 400 + number, np.uint16)
            centimetres[: size[0] // 3] = 65535
            save(folder / "Depth/Depth" / f"{number:07d}.png", centimetres)
    return folder


MAPILLARY = (
    ("animal--bird", "Bird", (165, 42, 42), True),
    ("construction--flat--road", "Road", (128, 64, 128), True),
    ("construction--flat--sidewalk", "Sidewalk", (244, 35, 232), True),
    ("object--vehicle--car", "Car", (0, 0, 142), True),
    ("void--unlabeled", "Unlabeled", (0, 0, 0), False),
    ("human--rider--bicyclist", "Bicyclist", (255, 0, 0), True),
    ("nature--sky", "Sky", (70, 130, 180), True),
)
"""Name, readable name, colour, and whether it is evaluated, by id."""


def make_mapillary(
    folder: Path,
    version: str = "1.2",
    images: int = 4,
    kind: str = "palette",
    size: Size = (24, 32),
    seed: int = 0,
    colours: Sequence[tuple[int, int, int]] | None = None,
) -> Path:
    """Mapillary Vistas with seven classes; version "" has its labels directly in the parts and a config.json."""
    shades = colours or [row[2] for row in MAPILLARY]
    rows = [
        {"name": name, "readable": readable, "color": list(shade), "evaluate": evaluate, "instances": False}
        for (name, readable, _, evaluate), shade in zip(MAPILLARY, shades, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    config = f"config_v{version}.json" if version else "config.json"
    (folder / config).write_text(json.dumps({"labels": rows, "folder_structure": {}, "version": version}))
    for place, part in enumerate(("training", "validation", "testing")):
        for number in range(images):
            image, label = scene(seed + 100 * place + number, size, len(MAPILLARY))
            save(folder / part / "images" / f"img{number}.jpg", image)
            if part == "testing":
                continue
            inside = folder / part / (f"v{version}/labels" if version else "labels") / f"img{number}.png"
            inside.parent.mkdir(parents=True, exist_ok=True)
            if kind == "colours":
                save(inside, np.array(shades, np.uint8)[label])
            else:
                indexed = Image.fromarray(label, mode="P")
                indexed.putpalette([value for shade in shades for value in shade])
                indexed.save(inside)
    return folder


FOLDER_CLASSES = (
    {"name": "road", "id": 7, "colour": [128, 64, 128]},
    {"name": "car", "id": 300, "colour": [0, 0, 142]},
    {"name": "sky", "id": 2, "colour": "#4682b4"},
)


def make_folder(
    folder: Path,
    images: int = 10,
    labels: str | None = "ids",
    labelled: int | None = None,
    clips: int = 1,
    videos: int = 0,
    frames: int = 5,
    size: Size = (24, 32),
    seed: int = 0,
) -> Path:
    """The user's own data: `labels` "ids" (16-bit PNG), "colours" or None; the first `labelled` images have one."""
    kind = labels or "ids"
    folder.mkdir(parents=True, exist_ok=True)
    ignore = [9] if kind == "ids" else [[0, 0, 0]]
    write_yaml(folder / "dataset.yaml", {"classes": list(FOLDER_CLASSES), "labels": kind, "ignore": ignore})
    for i in range(images):
        image, label = scene(seed + i, size, 4)
        save(folder / "images" / f"{i:03d}.png", image)
        if labels is not None and (labelled is None or i < labelled):
            save(folder / "labels" / f"{i:03d}.png", stored_label(label, kind))
    for clip in range(clips):
        for i in range(frames):
            save(folder / "clips" / f"drive{clip}" / f"{i:06d}.jpg", scene(seed + 500 + clip, size, 4, shift=i)[0])
        camera = {
            "width": 2 * size[1],
            "height": 2 * size[0],
            "fx": 60.0,
            "fy": 60.0,
            "cx": 31.5,
            "cy": 23.5,
            "fps": 10,
        }
        write_yaml(folder / "clips" / f"drive{clip}" / "camera.yaml", camera)
    for video in range(videos):
        pictures = [scene(seed + 900 + video, size, 4, shift=i)[0] for i in range(frames)]
        make_video(folder / "videos" / f"film{video}.mp4", pictures)
    return folder


def stored_label(label: np.ndarray, kind: str) -> np.ndarray:
    """Class indices 0..2 and 3 (= ignore) as `make_folder` stores them."""
    if kind == "ids":
        return np.array([7, 300, 2, 9], np.uint16)[label]
    return np.array([[128, 64, 128], [0, 0, 142], [70, 130, 180], [0, 0, 0]], np.uint8)[label]


def write_yaml(path: Path, tree: object) -> Path:
    """Write a YAML file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def make_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "libx264",
    gop: int = 12,
    times: Sequence[int] | None = None,
    b_frames: int | None = None,
) -> Path:
    """A video of RGB pictures with even sides; `times` are the presentation times in ms (default 100 ms a frame)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size, stream.bit_rate = gop, 4_000_000
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


REGION_CLASSES = ("road", "car", "sky")


def _regions(seed: int, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label, in which a border is not drawn (255)."""
    image, label = scene(seed, size, 3)
    label[:2] = 255
    return image, label


def make_coco(folder: Path, images: int = 8, size: Size = (24, 32), seed: int = 0, layout: str = "official") -> Path:
    """Data with COCO's annotations: "official" (train2017/ and val2017/), "roboflow" (a file in each split's folder) or
    "one" (one file for all, of which the last image is not annotated)."""
    for place, split in enumerate(("train", "val") if layout != "one" else ("all",)):
        drawn = []
        for number in range(images):
            image, label = _regions(seed + 100 * place + number, size)
            name = f"{number:04d}.png"
            save(folder / {"official": f"{split}2017", "roboflow": split, "one": "images"}[layout] / name, image)
            drawn.append((name, np.full_like(label, 255) if layout == "one" and number == images - 1 else label))
        where = {
            "official": f"annotations/instances_{split}2017.json",
            "roboflow": f"{split}/_annotations.coco.json",
            "one": "annotations.json",
        }[layout]
        write_coco(folder / where, REGION_CLASSES, drawn, "fake")
    return folder


def make_yolo(folder: Path, images: int = 8, size: Size = (24, 32), seed: int = 0, splits: bool = True) -> Path:
    """Data with YOLO's segmentation texts, one triangle for each image: with data.yaml and images/train, images/val, or
    with classes.txt and images/ alone."""
    names = list(REGION_CLASSES)
    folder.mkdir(parents=True, exist_ok=True)
    if splits:
        write_yaml(folder / "data.yaml", {"train": "images/train", "val": "images/val", "names": names})
    else:
        (folder / "classes.txt").write_text("\n".join(names))
    for place, split in enumerate(("train/", "val/") if splits else ("",)):
        for number in range(images):
            save(folder / f"images/{split}{number:04d}.png", scene(seed + 100 * place + number, size, 3)[0])
            text = folder / f"labels/{split}{number:04d}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(f"{number % 3} 0.1 0.1 0.9 0.1 0.{number + 1} 0.9\n")
    return folder
