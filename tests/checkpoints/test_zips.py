"""Zip files beyond the sizes of old, held against zipfile of the standard library and against torch."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from git_theta.checkpoints import Values
from git_theta.checkpoints.torch_zip import TorchZip
from git_theta.checkpoints.zips import read_directory, write_stored
from git_theta.errors import NotThisFormatError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, FileSource
from tests.checkpoints.test_torch_zip import load, parts_of, save, written

if TYPE_CHECKING:
    from pathlib import Path

torch: Any = pytest.importorskip("torch")

LARGE = (1 << 32) + 4000
FULL = 0xFFFFFFFF
pytestmark = pytest.mark.filterwarnings("ignore")


def wide(*numbers: int) -> bytes:
    """The zip64 field of the numbers that need it."""
    large = [number for number in numbers if number >= FULL]
    return struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""


def write_sparse(file: Path, members: list[tuple[str, bytes | int]], *, lie: int = 0) -> None:
    """A zip file whose members are bytes, or so many zeros that are not written to the disk.

    The checksums of the zeros are wrong; `lie` is added to the wide numbers of the directory.
    """
    directory = b""
    with file.open("wb") as stream:
        for name, content in members:
            place, text = stream.tell(), name.encode()
            size = content if isinstance(content, int) else len(content)
            crc = 0 if isinstance(content, int) else zlib.crc32(content)
            short, extra = min(size, FULL), wide(size, size)
            lengths = (len(text), len(extra))
            stream.write(
                struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0, crc, short, short, *lengths) + text + extra
            )
            if isinstance(content, int):
                stream.seek(content, os.SEEK_CUR)
            else:
                stream.write(content)
            extra = wide(*(number + lie * (number >= FULL) for number in (size, size, place)))
            numbers = (crc, short, short, len(text), len(extra), 0, 0, 0, 0, min(place, FULL))
            directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 0, *numbers) + text + extra
        place, count = stream.tell(), len(members)
        stream.write(directory)
        stream.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), place))
        stream.write(struct.pack("<4sIQI", b"PK\6\7", 0, place + len(directory), 1))
        stream.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), min(place, FULL), 0))


def members_of(value: object, large: str) -> list[tuple[str, bytes | int]]:
    """The members of a torch file in which one storage is made large."""
    data = save(value)
    return [(part.name, LARGE if part.name.endswith(large) else part.data) for part in parts_of(data)]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A torch file of more than 4 GB, which takes a few kilobytes of the disk."""
    # Torch would not write a pickle that says less of a storage than there is.
    value = {"big": torch.zeros(1, dtype=torch.int8), "small": torch.arange(5.0), "epoch": 3}
    members = members_of(value, "/data/0")
    one = b"X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x01"
    many = one[:-2] + b"\x8a\x08" + struct.pack("<q", LARGE)
    name, pickle = next((name, data) for name, data in members if name.endswith("data.pkl"))
    assert isinstance(pickle, bytes)
    assert one in pickle
    found = [(n, pickle.replace(one, many) if n == name else data) for n, data in members]
    write_sparse(tmp_path / "large.pt", found)
    return tmp_path / "large.pt"


def scan(file: Path) -> tuple[Layout, bytes]:
    with file.open("rb") as stream:
        source = FileSource(stream.fileno(), file.stat().st_size)
        layout = TorchZip().scan(source)
        return layout, layout.read_skeleton(source)


def test_a_file_of_more_than_4_gb_is_scanned(large: Path) -> None:
    layout, skeleton = scan(large)
    assert layout.size > LARGE
    assert [(span.name, span.dtype, span.shape) for span in layout.spans] == [
        ("big", "int8", (LARGE,)),
        ("small", "float32", (5,)),
    ]
    small = layout.spans[1]
    assert small.start > LARGE
    with large.open("rb") as stream:
        source = FileSource(stream.fileno(), layout.size)
        assert source.read(small.start, small.stop) == struct.pack("<5f", *range(5))
        assert TorchZip().values(source) == {"epoch": "3"}
    # Python's reader finds the same.
    with zipfile.ZipFile(large) as archive:
        assert archive.getinfo("archive/data/0").file_size == LARGE
        assert archive.read("archive/data/1") == struct.pack("<5f", *range(5))
    assert len(skeleton) < 5000


def test_torch_maps_the_same_file(large: Path) -> None:
    again = torch.load(large, mmap=True, weights_only=True)
    assert again["small"].tolist() == [0, 1, 2, 3, 4]


def test_a_new_file_is_written_from_the_skeleton_of_a_large_one(large: Path) -> None:
    _, skeleton = scan(large)
    groups = {"big": Values("int8", (2,), b"\1\2"), "small": Values("float32", (1,), bytes(4))}
    again = load(written(groups, skeleton))
    assert (again["big"].tolist(), again["small"].tolist(), again["epoch"]) == ([1, 2], [0], 3)


def test_the_members_of_a_torch_file_take_from_what_its_pickle_may() -> None:
    # Together they must stay below 200 MB.
    members = [("a/data.pkl", b"\x80\x02" + b"]" * 500_000 + b"0" * 499_999 + b"."), ("a/version", b"3")]
    TorchZip().scan(BytesSource(b"".join(write_stored(members, 1))))
    members += [(f"a/data/{number}", b"") for number in range(50_000)]
    with pytest.raises(NotThisFormatError, match="too large to walk"):
        TorchZip().scan(BytesSource(b"".join(write_stored(members, 1))))


def test_a_large_member_that_is_no_storage_is_refused(tmp_path: Path) -> None:
    # It would be skeleton, which is held in memory.
    file = tmp_path / "x.pt"
    write_sparse(file, [*members_of({"w": torch.ones(1)}, "none"), ("archive/notes.txt", 100_000_000)])
    with pytest.raises(NotThisFormatError, match="beside its tensors"):
        scan(file)


@pytest.mark.parametrize("lie", [-4, 4, 2**40, 2**63 - 2**33])
def test_wide_numbers_that_disagree_are_refused(lie: int, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    write_sparse(file, [("archive/data/0", LARGE), ("archive/data/1", b"abcd")], lie=lie)
    with file.open("rb") as stream, pytest.raises(NotThisFormatError, match="zip"):
        read_directory(FileSource(stream.fileno(), file.stat().st_size))


def test_more_members_than_16_bits_count() -> None:
    data = b"".join(write_stored(((str(number), b"") for number in range(66_000)), 1))
    assert data.count(b"PK\6\6") == 1
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == 66_000
    assert len(read_directory(BytesSource(data))) == 66_000


def test_spans_do_not_reach_over_members(large: Path) -> None:
    layout, _ = scan(large)
    assert layout.spans[0] == Span("big", "int8", (LARGE,), layout.spans[0].start)
    assert layout.spans[0].stop < layout.spans[1].start
