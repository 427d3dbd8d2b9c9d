"""Reading videos: frames by their index, exact whatever the frame rate does, decoded only when requested."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from fathomseg.errors import DataError, Problem
from fathomseg.io.listing import stamp
from fathomseg.types import Size

_NEAR = 48
"""Frames ahead that are quicker to decode through than to jump to."""
_OPEN = 4
"""Videos a thread keeps open."""


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """What is known of a video from its packets and its first frame."""

    frames: int
    size: Size
    """(height, width) of an upright frame."""
    times: tuple[int, ...] | None
    """Presentation time of every frame, sorted; None if the container does not tell, and then there is no jumping."""


def video_index(path: Path) -> VideoIndex:
    """Count a video's frames by reading its packets. Raises `DataError` if it cannot be opened or holds no frame."""
    return _index(path, stamp(path))


def read_frame(path: Path, frame: int) -> UInt8[np.ndarray, "h w 3"]:
    """Frame `frame` (from 0) as RGB, uint8, upright. Fast when frames are read in order. Raises `DataError`."""
    video_index(path)
    try:
        picture = _readers.get(path).read(frame)
    except av.FFmpegError:
        picture = None
    if picture is None:
        _readers.drop(path)
        raise DataError([Problem(f"{path} frame {frame}", "cannot be decoded; cut the video there or remove it")])
    return _upright(picture)


def frame_rate(path: Path) -> Fraction:
    """Frames per second of a video, on average; 25 if its file does not tell."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    return Fraction(25) if not rate else Fraction(rate).limit_denominator(1001)


class _Reader:
    """An open video and the place up to which it has been decoded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times = video_index(path).times
        self.container = av.open(str(path))
        self.next = 0
        self._start()

    def read(self, frame: int) -> Any:
        """The decoded frame; None if it is damaged or the video ends before it."""
        picture = None
        if self.next <= frame < self.next + _NEAR:
            picture = self._walk(frame)
        elif self.times is not None and frame < len(self.times):
            self.container.seek(self.times[frame], stream=self.stream)
            self.decoded = self.container.decode(self.stream)
            picture = self._walk(frame)
        if picture is None:  # a jump may land behind the frame, or where its references are missing
            self.container.close()
            self.container = av.open(str(self.path))
            self._start()
            picture = self._walk(frame)
        return picture

    def _start(self) -> None:
        self.stream = self.container.streams.video[0]
        self.stream.codec_context.thread_count = 1  # the callers are threads and workers already
        self.decoded = self.container.decode(self.stream)
        self.next = 0

    def _walk(self, frame: int) -> Any:
        for picture in self.decoded:
            if self.times is not None and picture.pts < self.times[0]:
                continue  # from before the first key frame
            place = self.next if self.times is None else bisect_left(self.times, picture.pts)
            self.next = place + 1
            if place >= frame:
                return picture if place == frame and not picture.is_corrupt else None
        return None


class _Readers(threading.local):
    """The videos this thread has open, the latest used last."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.open: OrderedDict[Path, _Reader] = OrderedDict()
        self.inherited: list[OrderedDict[Path, _Reader]] = []

    def get(self, path: Path) -> _Reader:
        """The open video, opened if need be."""
        if self.process != os.getpid():  # a fork shares the file positions with its parent, and closing could hang
            self.inherited.append(self.open)
            self.process, self.open = os.getpid(), OrderedDict()
        if path not in self.open:
            self.open[path] = _Reader(path)
        self.open.move_to_end(path)
        if len(self.open) > _OPEN:
            self.drop(next(iter(self.open)))
        return self.open[path]

    def drop(self, path: Path) -> None:
        """Close a video, if it is open."""
        if (reader := self.open.pop(path, None)) is not None:
            reader.container.close()


_readers = _Readers()


@cache  # reading frames of many videos in turn must not read the packets of each again
def _index(path: Path, _stamp: str) -> VideoIndex:
    try:
        with av.open(str(path)) as container:
            size = _upright(next(container.decode(video=0))).shape[:2]
            # AVI stores no times. Of MPEG-4 ffmpeg works them out; of H.264 it gives those of decoding.
            no_times = container.format.name == "avi" and bool(container.streams.video[0].codec_context.has_b_frames)
        with av.open(str(path)) as container:  # once more: not every container can go back to its start
            times, first = _times(container.demux(video=0))
    except Exception as error:  # of ffmpeg, and of Python over what a damaged header says
        reason = str(error) or "it holds no picture"
        raise DataError([Problem(str(path), f"cannot be read as a video ({reason}); replace or remove it")]) from None
    known = tuple(sorted({time for time in times if time is not None}))
    if len(known) < len(times) or (no_times and list(known) == times):
        return VideoIndex(len(times), size, None)
    # What a recorder cut off from its key frame cannot be decoded; the video begins with the first one.
    shown = known if first is None else known[bisect_left(known, first) :]
    return VideoIndex(len(shown), size, shown)


def _times(packets: Iterable[Any]) -> tuple[list[int | None], int | None]:
    """The presentation times of what is shown, and that of the first key frame. No packet is kept: together they are
    the file."""
    times: list[int | None] = []
    keys: list[int | None] = []
    for packet in packets:
        if packet.size and not packet.is_discard:
            times.append(packet.pts)
        if packet.size and packet.is_keyframe and not keys:
            keys.append(packet.pts)  # which may be among what an edit list hides
    return times, keys[0] if keys else None


def _upright(picture: Any) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as RGB, turned as a phone's recording asks for."""
    turns = round(getattr(picture, "rotation", 0) / 90)  # counter-clockwise, like rot90
    return np.ascontiguousarray(np.rot90(picture.to_ndarray(format="rgb24"), turns))
