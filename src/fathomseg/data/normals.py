"""True surface normals of an image: computed from its depth and camera."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32

from fathomseg.geometry.camera import intrinsics
from fathomseg.geometry.normals import normals
from fathomseg.types import Camera


def true_normals(depth: Float32[np.ndarray, "h w"], camera: Camera) -> Float32[np.ndarray, "h w 3"]:
    """Unit vectors (x right, y down, z forward) towards the camera, 0 0 0 = unknown; see `geometry.normals`.

    `camera` may be that of another size of the same image.
    """
    K = intrinsics([camera.resized((depth.shape[0], depth.shape[1]))])
    found = normals(torch.tensor(depth)[None, None], K)[0]
    return np.ascontiguousarray(found.permute(1, 2, 0).numpy())
