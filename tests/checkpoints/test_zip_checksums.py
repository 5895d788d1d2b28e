"""Checksums in skeletons of torch files that get other values."""

from __future__ import annotations

import copy
import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from git_theta.checkpoints import Values
from git_theta.checkpoints.torch_zip import TorchZip
from git_theta.errors import NotThisFormatError
from tests.checkpoints.test_torch_zip import (
    filled,
    groups_of,
    load,
    make_zip,
    parts_of,
    rezip,
    save,
    scan,
    skeleton_of,
    values_of,
)

if TYPE_CHECKING:
    from pathlib import Path

torch: Any = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")


def small() -> dict[str, Any]:
    return {"w": torch.arange(4.0), "b": torch.ones(2), "none": torch.empty(0), "epoch": 3}


def refitted(data: bytes, changed: dict[str, Values]) -> bytes:
    """The file with other values, checked for what holds for all of them."""
    layout = scan(data)
    sums = {name: zlib.crc32(values.data) for name, values in changed.items()}
    skeleton = TorchZip().with_checksums(layout, skeleton_of(data), sums)
    patched = bytearray(data)
    for span in layout.spans:
        if span.name in changed:
            patched[span.start : span.stop] = changed[span.name].data
    new = filled(layout, skeleton, bytes(patched))
    assert scan(new) == layout
    with zipfile.ZipFile(io.BytesIO(new)) as archive:
        assert archive.testzip() is None
    return new


def kinds() -> dict[str, bytes]:
    """Files of the same content with their checksums in all the places where they may be."""
    data = save(small())
    plain = parts_of(data)
    later, bare = copy.deepcopy(plain), copy.deepcopy(plain)
    for part in later:
        part.flags |= 8
        part.local = {"crc": 0, "packed": 0, "size": 0}
        part.after = struct.pack("<4s3I", b"PK\7\x08", zlib.crc32(part.data), len(part.data), len(part.data))
    for part in bare:
        part.flags |= 8
        part.after = struct.pack("<3I", zlib.crc32(part.data), len(part.data), len(part.data))
    return {
        "torch": data,
        "plain": make_zip(plain),
        "wide": make_zip(plain, wide=True),
        "later": make_zip(later),
        "bare": make_zip(bare),
        "ours": b"".join(TorchZip().write(groups_of(data), skeleton_of(data))),
    }


@pytest.mark.parametrize("kind", ["torch", "plain", "wide", "later", "bare", "ours"])
def test_the_checksums_fit_the_other_values(kind: str) -> None:
    data = kinds()[kind]
    new = refitted(data, {"w": values_of(torch.full((4,), 7.0)), "none": values_of(torch.empty(0))})
    again = load(new)
    assert (again["w"].tolist(), again["b"].tolist(), again["epoch"]) == ([7, 7, 7, 7], [1, 1], 3)
    assert refitted(data, {}) == data
    assert refitted(data, {"w": groups_of(data)["w"]}) == data
    # And zipfile would notice.
    (span,) = (span for span in scan(data).spans if span.name == "w")
    wrong = data[: span.start] + bytes(16) + data[span.stop :]
    with zipfile.ZipFile(io.BytesIO(wrong)) as archive:
        assert archive.testzip() is not None


def test_code_and_foreign_orders_of_bytes_stay(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2)).save(str(tmp_path / "x.pt"))
    data = (tmp_path / "x.pt").read_bytes()
    new = refitted(data, {"weight": values_of(torch.full((3, 2), 7.0)), "bias": values_of(torch.zeros(3))})
    assert torch.jit.load(io.BytesIO(new))(torch.ones(1, 2)).tolist() == [[14, 14, 14]]
    big = rezip(save(small()), {"byteorder": lambda _: b"big"})
    new = refitted(big, {"b": Values("uint8", (8,), struct.pack(">2f", 5, 6))})
    assert load(new)["b"].tolist() == [5, 6]


def test_what_does_not_fit_is_refused() -> None:
    data = save(small())
    layout, skeleton = scan(data), skeleton_of(data)
    with pytest.raises(NotThisFormatError, match="another file"):
        TorchZip().with_checksums(layout, skeleton[1:], {"w": 0})
    at = skeleton.index(b"PK\7\x08", skeleton.index(b"data/0"))
    moved = skeleton[: at + 4] + b"????" + skeleton[at + 8 :]
    with pytest.raises(NotThisFormatError, match="checksum"):
        TorchZip().with_checksums(layout, moved, {"w": 0})


def moved_in_the_directory(skeleton: bytes, name: bytes, offset: int) -> bytes:
    """A skeleton whose directory says that a member is elsewhere."""
    entry = skeleton.rindex(b"PK\1\2", 0, skeleton.rindex(name))
    return skeleton[: entry + 42] + struct.pack("<I", offset) + skeleton[entry + 46 :]


def test_skeleton_whose_storages_overlap_is_refused() -> None:
    """A metadata file of a stranger may have one, with a layout to match: no file was ever scanned for it."""
    data = save({"w": torch.arange(4096.0), "b": torch.ones(2)})
    skeleton = skeleton_of(data)
    # Behind a storage of 16 KiB the skeleton goes on, so this is a header: the pickle's, which is at 0.
    inside = moved_in_the_directory(skeleton, b"data/1", 4 * 4096)
    with pytest.raises(NotThisFormatError, match="not where they can be"):
        list(TorchZip().write(groups_of(data), inside))


def test_skeleton_whose_storage_would_begin_behind_its_end_is_refused() -> None:
    data = save(small())
    skeleton = bytearray(skeleton_of(data))
    header = skeleton.rindex(b"PK\3\4", 0, skeleton.index(b"data/1"))
    skeleton[header + 28 : header + 30] = b"\xff\xff"
    with pytest.raises(NotThisFormatError, match="not where they can be"):
        list(TorchZip().write(groups_of(data), bytes(skeleton)))
