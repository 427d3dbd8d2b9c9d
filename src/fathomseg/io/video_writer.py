"""Writing a video picture by picture."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av
import numpy as np
from jaxtyping import UInt8

from fathomseg.io.files import writing

_CODECS: Final = (
    {"name": "libx264", "options": {"crf": "20", "preset": "veryfast"}},  # half the time of the default
    {"name": "mpeg4", "options": {"qscale": "3"}},
)
"""The best first; which of them there is depends on how ffmpeg was built."""


class VideoWriter:
    """An MP4 file written picture by picture: `with VideoWriter(path, fps) as video: video.add(picture)`.

    Pictures are RGB, uint8, all of one size; an odd height or width is filled up by a copied row or column, since the
    codecs need even ones. The file appears under its name only when complete, and not at all if there is no picture.
    """

    def __init__(self, path: Path, fps: Fraction = Fraction(25)) -> None:
        self.path = path
        self.fps = fps
        self._open = ExitStack()
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append a picture."""
        height, width = picture.shape[:2]
        even = np.ascontiguousarray(picture)
        if height % 2 or width % 2:
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._container = av.open(str(self._open.enter_context(writing(self.path))), "w", format="mp4")
            self._open.callback(self._container.close)
            self._stream = self._new_stream(even.shape[0], even.shape[1])
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))

    def _new_stream(self, height: int, width: int) -> Any:
        codec = next(codec for codec in _CODECS if codec["name"] in av.codecs_available)
        stream: Any = self._container.add_stream(codec["name"], rate=self.fps, options=codec["options"])
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        return stream
