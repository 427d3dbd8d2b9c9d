"""Video files: their endings, their frame rate, and writing one picture by picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av
import numpy as np
from jaxtyping import UInt8

VIDEOS: Final = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
"""File name endings, in lower case, that count as videos."""

_CODECS: Final = ({"name": "libx264", "options": {"crf": "20"}}, {"name": "mpeg4", "options": {"qscale": "3"}})
"""The best first; which of them there is depends on how ffmpeg was built."""


class Film:
    """An MP4 file written picture by picture: `with Film(path, fps) as film: film.add(picture)`.

    Pictures are RGB, uint8, all of one size; an odd height or width is filled up by a copied row or column, since the
    codecs need even ones. The file appears under its name only when complete, and not at all if there is no picture.
    """

    def __init__(self, path: Path, fps: Fraction = Fraction(25)) -> None:
        self.path = path
        self.fps = fps
        self._temporary = path.with_name(f".{path.stem}.tmp.mp4")
        self._stream: Any = None

    def __enter__(self) -> Film:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._temporary), "w")
        return self

    def add(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append a picture."""
        height, width = picture.shape[:2]
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._open(even.shape[0], even.shape[1])
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            whole = kind is None and self._stream is not None
            if whole:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if whole:
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> Any:
        codec = next(codec for codec in _CODECS if codec["name"] in av.codecs_available)
        stream: Any = self._container.add_stream(codec["name"], rate=self.fps, options=codec["options"])
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        return stream


def frame_rate(path: Path) -> Fraction:
    """Frames per second of a video, on average; 25 if its file does not tell."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    return Fraction(25) if not rate else Fraction(rate).limit_denominator(1001)
