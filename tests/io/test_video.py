from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from fathomseg.errors import DataError
from fathomseg.io.video import _Reader, _times, read_frame, video_index
from fathomseg.io.video_writer import VideoWriter
from tests.fakes import make_video

FRAMES = 60


def picture(index: int) -> np.ndarray:
    """A picture that says its number twice: as brightness and as the length of a bar."""
    image = np.full((32, 64, 3), 20 + 3 * index, np.uint8)
    image[8:24, : index + 2] = 250
    return image


def number(image: np.ndarray) -> int:
    """The number a decoded picture shows."""
    return round((float(image[:6].mean()) - 20) / 3)


@pytest.fixture(
    scope="module", params=[("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx-vp9")]
)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of FRAMES frames in several containers; H.264 has B-frames, so packets are not in order of time."""
    suffix, codec = request.param
    path = tmp_path_factory.mktemp("video") / f"a.{suffix}"
    return make_video(path, [picture(i) for i in range(FRAMES)], codec)


def test_frames_are_counted_and_measured(video: Path) -> None:
    index = video_index(video)
    assert index.frames == FRAMES
    assert index.size == (32, 64)


def test_frames_in_any_order_are_the_ones_asked_for(video: Path) -> None:
    order = [0, 1, 2, 59, 58, 7, 30, 29, 31, 3, 59, 0, *np.random.default_rng(0).permutation(FRAMES)[:20].tolist()]
    assert [number(read_frame(video, i)) for i in order] == order


def test_every_frame_is_found_from_the_start(video: Path) -> None:
    assert [number(read_frame(video, i)) for i in range(FRAMES)] == list(range(FRAMES))


def test_threads_do_not_disturb_each_other(video: Path) -> None:
    order = np.random.default_rng(1).integers(FRAMES, size=40).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert [number(image) for image in pool.map(lambda i: read_frame(video, i), order)] == order


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_opens_its_own(video: Path) -> None:
    read_frame(video, 10)
    child = os.fork()
    if child == 0:
        os._exit(0 if [number(read_frame(video, i)) for i in (11, 40, 12)] == [11, 40, 12] else 1)
    assert [number(read_frame(video, i)) for i in range(11, 50)] == list(range(11, 50))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.h264", "libx264"), ("b.avi", "libx264")])
def test_containers_that_store_no_presentation_times(tmp_path: Path, name: str, codec: str) -> None:
    path = make_video(tmp_path / name, [picture(i) for i in range(FRAMES)], codec, b_frames=2)
    assert (video_index(path).times is None) == (codec == "libx264")  # of MPEG-4 in AVI, ffmpeg works them out
    assert video_index(path).frames == FRAMES
    order = [0, 1, 2, 3, 4, 30, 10, 11, 12, 59]
    assert [number(read_frame(path, i)) for i in order] == order


def test_uneven_frame_times_are_counted_as_frames(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(2).integers(10, 200, FRAMES)).tolist()
    path = make_video(tmp_path / "a.mkv", [picture(i) for i in range(FRAMES)], times=times)
    assert [number(read_frame(path, i)) for i in (50, 3, 20, 21, 59)] == [50, 3, 20, 21, 59]


def test_a_recording_held_upright_is_turned(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", [picture(i) for i in range(3)])
    turn_clockwise(path)
    assert video_index(path).size == (64, 32)
    expected = np.rot90(picture(2), -1)
    assert np.abs(read_frame(path, 2).astype(int) - expected).mean() < 4


def turn_clockwise(path: Path) -> None:
    """Write a turn by 90 degrees into the track header of an MP4 (ISO 14496-12, 8.3.2: the matrix, as 16.16)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = (1 << 16).to_bytes(4, "big")
    minus = (2**32 - (1 << 16)).to_bytes(4, "big")
    zero = bytes(4)
    data[matrix : matrix + 20] = zero + one + zero + minus + zero
    path.write_bytes(bytes(data))


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "zeros.mp4").write_bytes(bytes(5000))
    whole = make_video(tmp_path / "whole.mp4", [picture(i) for i in range(4)])
    cases = {
        tmp_path / "none.mp4": "there is no such file",
        tmp_path / "zeros.mp4": "cannot be read as a video",
    }
    for path, expected in cases.items():
        with pytest.raises(DataError, match=expected) as caught:
            read_frame(path, 0)
        assert caught.value.problems[0].where == str(path)
    with pytest.raises(DataError, match=r"whole.mp4 frame 4: cannot be decoded"):
        read_frame(whole, 4)
    assert number(read_frame(whole, 3)) == 3


@pytest.mark.parametrize("size", [(32, 64), (31, 63)])
def test_a_written_video_holds_its_pictures_and_is_encoded_fast(tmp_path: Path, size: tuple[int, int]) -> None:
    path, pictures = tmp_path / "a.mp4", [picture(i).transpose(1, 0, 2)[: size[1], : size[0]] for i in range(6)]
    with VideoWriter(path) as video:
        for one in pictures:
            video.add(one)
    for i, one in enumerate(pictures):
        assert np.abs(read_frame(path, i)[: size[1], : size[0]].astype(int) - one).mean() < 6
    assert video_index(path).size == (64, 32)
    assert b" subme=2 " in path.read_bytes()  # x264 writes its settings down; this is preset veryfast


def test_packets_are_let_go_of_as_they_are_counted() -> None:
    """Together they are as large as the file."""

    class Packet:
        def __init__(self, pts: int) -> None:
            self.pts, self.size, self.is_discard, self.is_keyframe = pts, pts % 7, pts < 3, pts > 1

    alive: list[weakref.ref[Packet]] = []

    def demux() -> Iterator[Packet]:
        for pts in range(20):
            packet = Packet(pts)
            alive.append(weakref.ref(packet))
            yield packet
            del packet
            assert sum(one() is not None for one in alive) <= 1  # the one that a loop still names

    assert _times(demux()) == ([pts for pts in range(3, 20) if pts % 7], 2)


def test_a_video_cut_short_keeps_its_good_frames(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "a.mkv", [np.random.default_rng(i).integers(0, 255, (32, 64, 3), "u1") for i in range(40)]
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    index = video_index(path)
    assert 5 < index.frames < 40
    assert read_frame(path, 0).shape == (32, 64, 3)


def test_reading_forwards_neither_jumps_nor_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", [picture(i) for i in range(FRAMES)], gop=300)
    decoded: list[int] = []
    walk = _Reader._walk
    monkeypatch.setattr(_Reader, "_walk", lambda self, frame: (decoded.append(self.next), walk(self, frame))[1])
    for i in range(0, FRAMES, 2):
        read_frame(path, i)
    assert decoded == [0, *range(1, FRAMES - 1, 2)]  # every walk begins where the last one ended


def test_a_video_cut_off_from_its_key_frame_begins_with_the_next(tmp_path: Path) -> None:
    """As a recorder that writes in a loop leaves it."""
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    options = {"g": "8", "bf": "0", "x264-params": "scenecut=0:keyint=8:min-keyint=8"}
    with av.open(str(whole), "w") as out:
        stream = out.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for i in range(20):
            picture = np.full((32, 48, 3), 10 + 12 * i, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
        taken = source.streams.video[0]
        stream = out.add_stream_from_template(taken)
        for number, packet in enumerate(source.demux(taken)):
            if packet.size and number >= 3:
                packet.stream = stream
                out.mux(packet)
    assert video_index(cut).frames == 12
    for frame in (5, 0, 11):
        assert abs(float(read_frame(cut, frame).mean()) - (10 + 12 * (8 + frame))) < 6
