"""Classes and depth of a camera or a video, by ONNX Runtime and OpenCV alone: no PyTorch, no fathomseg.

    python examples/onnx_video.py model.onnx 0                           # camera 0, in a window; q ends it
    python examples/onnx_video.py model.onnx drive.mp4 --out seen.mp4    # a video, into a video

pip install onnxruntime opencv-python numpy; model.onnx comes from `fathom export RUN model.onnx`.
"""

import argparse
import json
import time

import cv2
import numpy as np
import onnxruntime

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("source", help="the number of a camera, or a video file")
parser.add_argument("--out", help="an .mp4 to write; without it a window is shown")
arguments = parser.parse_args()

session = onnxruntime.InferenceSession(arguments.model, providers=onnxruntime.get_available_providers())
known = session.get_modelmeta().custom_metadata_map  # every value is JSON
height, width = json.loads(known["inference"])["size"] or json.loads(known["size"])
colours = np.array(json.loads(known["colours"]), np.uint8).reshape(-1, 3)[:, ::-1]  # OpenCV is BGR
names = [output.name for output in session.get_outputs()]
video = cv2.VideoCapture(int(arguments.source) if arguments.source.isdigit() else arguments.source)
writer, frames, began = None, 0, time.perf_counter()

while True:
    there, frame = video.read()
    if not there:
        break
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    found = dict(zip(names, session.run(None, {"image": cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None]}), strict=True))
    shown = []
    if "segmentation" in found:  # logits, 1 x classes x h x w, smaller than the image
        logits = cv2.resize(np.ascontiguousarray(found["segmentation"][0].transpose(1, 2, 0)), (width, height))
        shown.append(cv2.addWeighted(small, 0.5, colours[logits.argmax(2)], 0.5, 0))
    if "depth" in found:  # 1 x 1 x h x w: disparity 0..1, or a depth, as known["depth"] says
        depth = cv2.resize(found["depth"][0, 0], (width, height))
        meaning = json.loads(known["depth"])
        near = depth if "disparity" in meaning else 1 / np.maximum(depth, meaning["nearest"])
        level = np.clip(near / max(float(np.percentile(near, 98)), 1e-6), 0, 1)
        shown.append(cv2.applyColorMap(np.uint8(255 * level), cv2.COLORMAP_TURBO))
    if "normals" in found:  # unit vectors, 1 x 3 x h x w
        rgb = np.uint8(127.5 * (found["normals"][0].transpose(1, 2, 0) + 1))
        shown.append(cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (width, height)))
    picture, frames = np.hstack(shown), frames + 1
    if arguments.out:
        rate = video.get(cv2.CAP_PROP_FPS) or 25
        size = picture.shape[1::-1]
        writer = writer or cv2.VideoWriter(arguments.out, cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
        writer.write(picture)
    else:
        cv2.imshow("fathomseg", picture)
        if cv2.waitKey(1) == ord("q"):
            break
if writer:
    writer.release()
if not frames:
    raise SystemExit(f"no frame could be read from {arguments.source}")
print(f"{frames} frames, {frames / (time.perf_counter() - began):.1f} per second")
