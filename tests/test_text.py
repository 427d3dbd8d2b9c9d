from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg.data.datasets.folder import Folder
from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.geometry.trajectory import read_poses
from fathomseg.io.files import read_ids, read_json
from fathomseg.text import read_text
from tests.fakes import make_folder

WORDS = "Straße\r\nGebäude\rΩ\n"
UPRIGHT = "Straße\nGebäude\nΩ\n"


def file(folder: Path, content: bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_mark_says_how_a_text_is_read(tmp_path: Path, encoding: str) -> None:
    assert read_text(file(tmp_path, WORDS.encode(encoding))) == UPRIGHT


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_both_byte_orders_of_utf_16(tmp_path: Path, mark: bytes) -> None:
    order = "utf-16-le" if mark[0] == 0xFF else "utf-16-be"
    assert read_text(file(tmp_path, mark + WORDS.encode(order))) == UPRIGHT


def test_another_encoding_names_the_file_the_byte_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.txt: is not text in UTF-8 \(byte 0xdf in line 2\); save it as UTF-8"):
        read_text(file(tmp_path, "a\r\nStraße".encode("cp1252")))
    with pytest.raises(DataError, match=r"zero bytes.*save it as UTF-8"):
        read_text(file(tmp_path, "a\n".encode("utf-16-le")))
    with pytest.raises(DataError, match=r"is not text in UTF-16"):
        read_text(file(tmp_path, "a\n".encode("utf-16")[:-1]))


@pytest.mark.parametrize("read", [read_ids, read_poses, lambda path: read_json(path, "a list", "")])
def test_every_reader_says_so(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(FathomError, match="save it as UTF-8"):
        read(file(tmp_path, b"\xdf"))


def test_ids_of_notepad_and_powershell(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_ids(file(tmp_path, "images/0\r\nimages/1\r\n".encode(encoding))) == ["images/0", "images/1"]


def test_a_dataset_described_in_another_encoding(tmp_path: Path) -> None:
    data = make_folder(tmp_path, images=4)
    text = (data / "dataset.yaml").read_text()
    names = Folder(root=data).classes.names
    for encoding in ("utf-16", "utf-8-sig"):
        (data / "dataset.yaml").write_bytes(text.encode(encoding))
        assert Folder(root=data).classes.names == names
    (data / "dataset.yaml").write_bytes(b"# \xfc\n" + text.encode())
    with pytest.raises(ConfigError, match=r"dataset\.yaml: is not text in UTF-8 .*save it as UTF-8"):
        _ = Folder(root=data).classes


def test_lists_in_another_encoding_and_names_like_comments(tmp_path: Path) -> None:
    data = make_folder(tmp_path, images=4)
    for kind in ("images", "labels"):
        (data / kind / "000.png").rename(data / kind / "#0.png")
    (data / "splits").mkdir()
    lists = data / "splits" / "val.txt"
    lists.write_bytes("# a comment\r\n#0.png\r\n001.png\r\n".encode("utf-16"))
    assert Folder(root=data).ids("val") == ("images/#0", "images/001")
    lists.write_bytes(b"# f\xfcr mich\n001\n")
    with pytest.raises(DataError, match=r"val\.txt: is not text in UTF-8 \(byte 0xfc in line 1\)"):
        Folder(root=data).ids("val")
