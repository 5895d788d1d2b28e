"""The arrays in objects: small ones are read once, large ones block by block, and wrong ones not at all."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pytest

from git_theta.errors import CorruptObjectError, MissingObjectError
from git_theta.metadata import ObjectRef
from git_theta.store import decode
from git_theta.store.arrays import AHEAD, SHARED_BYTES, Arrays
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.encode import encode
from git_theta.store.objects import ObjectStore
from git_theta.store.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Counting(ObjectStore):
    """A store that counts how often objects are opened, and how many are open."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []
        self.now = 0

    @contextmanager
    def open(self, ref: ObjectRef) -> Iterator[BinaryIO]:
        with super().open(ref) as file:
            self.opened.append(ref.oid)
            self.now += 1
            try:
                yield file
            finally:
                self.now -= 1


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "theta")


def rows(count: int, itemsize: int, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).integers(0, 256, (count, itemsize), np.uint8)


def put(store: ObjectStore, array: Rows) -> ObjectRef:
    blocks = (array[start : start + BLOCK_ROWS] for start in range(0, len(array), BLOCK_ROWS))
    with store.writing() as writer:
        for piece in encode(blocks, len(array), array.shape[1]):
            writer.write(piece)
        return writer.publish()


def at(ref: ObjectRef, start: int) -> ObjectRef:
    return ObjectRef(ref.oid, ref.size, start)


def read(arrays: Arrays, ref: ObjectRef, nbytes: int) -> bytes:
    return b"".join(block.result().tobytes() for block in arrays.blocks(ref, nbytes, arrays.lease()))


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SMALL = rows(1000, 4)
LARGE = rows(SHARED_BYTES // 8 + BLOCK_ROWS + 5, 8)
EXACT = rows(SHARED_BYTES // 4, 4)


@pytest.mark.parametrize("array", [SMALL, EXACT, LARGE], ids=["small", "as large as may be shared", "large"])
def test_whole_array_is_read(store: Counting, array: Rows) -> None:
    assert read(Arrays(store), put(store, array), array.nbytes) == array.tobytes()


@pytest.mark.parametrize("array", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 10), (7, 100), (990, 10), (999, 1)])
def test_slice_of_an_array_is_read(store: Counting, array: Rows, start: int, count: int) -> None:
    ref = put(store, array)
    found = read(Arrays(store), at(ref, start), count * array.shape[1])
    assert found == array[start : start + count].tobytes()


def test_end_of_a_large_array_is_read(store: Counting) -> None:
    ref = put(store, LARGE)
    assert read(Arrays(store), at(ref, len(LARGE) - 9), 72) == LARGE[-9:].tobytes()


def test_no_bytes_are_read_without_an_error(store: Counting) -> None:
    for array in (SMALL, LARGE):
        assert read(Arrays(store), put(store, array), 0) == b""


def test_object_that_groups_share_is_opened_once(store: Counting) -> None:
    arrays = Arrays(store)
    ref = put(store, SMALL)
    for start in range(0, 1000, 100):
        assert read(arrays, at(ref, start), 400) == SMALL[start : start + 100].tobytes()
    assert store.opened == [ref.oid]


def test_groups_of_a_shared_object_may_come_in_any_order(store: Counting) -> None:
    arrays = Arrays(store)
    ref = put(store, SMALL)
    for start in (900, 0, 500, 0):
        assert read(arrays, at(ref, start), 400) == SMALL[start : start + 100].tobytes()


def test_few_shared_objects_at_a_time_are_opened_once_each(store: Counting) -> None:
    """As many as small groups with the longest chains have for each itemsize: their groups come in turns."""
    arrays = Arrays(store)
    refs = [(itemsize, seed, put(store, rows(100, itemsize, seed))) for itemsize in (2, 4) for seed in range(9)]
    for start in range(10):
        for itemsize, seed, ref in refs:
            assert read(arrays, at(ref, start), itemsize) == rows(100, itemsize, seed)[start].tobytes()
    assert len(store.opened) == len(refs)


def test_memory_for_shared_objects_is_bounded(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_theta.store.arrays._KEPT_BYTES", 1000)
    arrays = Arrays(store)
    refs = [put(store, rows(100, 4, seed)) for seed in range(50)]
    for _ in range(2):
        for seed, ref in enumerate(refs):
            assert read(arrays, ref, 400) == rows(100, 4, seed).tobytes()
    assert len(store.opened) > 50


def test_rows_of_a_shared_object_stay_as_they_are(store: Counting) -> None:
    arrays = Arrays(store)
    first = put(store, SMALL)
    (kept,) = [block.result() for block in arrays.blocks(first, SMALL.nbytes, arrays.lease())]
    for seed in range(1, 20):
        read(arrays, put(store, rows(1000, 4, seed)), 4000)
    assert kept.tobytes() == SMALL.tobytes()


def test_large_array_comes_in_blocks_and_its_object_is_closed(store: Counting) -> None:
    ref = put(store, LARGE)
    arrays = Arrays(store)
    blocks = arrays.blocks(ref, LARGE.nbytes, arrays.lease())
    assert next(blocks).result().nbytes == BLOCK_ROWS * 8
    assert store.now == 1
    assert [block.result().nbytes for block in blocks] == [BLOCK_ROWS * 8, 5 * 8]
    assert store.now == 0


def test_small_object_of_one_group_alone_is_decoded_by_whoever_asks_for_its_rows(
    store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a checkout would decode it in the thread that has to send what is ready."""
    decoded: list[int] = []
    put_together = decode._put_together
    monkeypatch.setattr(decode, "_put_together", lambda *given: (decoded.append(len(given[1])), put_together(*given)))
    ref, arrays = put(store, SMALL), Arrays(store)
    (block,) = arrays.blocks(ref, SMALL.nbytes, arrays.lease())
    assert decoded == []
    assert block.result() == SMALL.tobytes()
    assert decoded == [SMALL.nbytes]


def test_blocks_asked_for_ahead_are_still_right(store: Counting) -> None:
    """Across objects as well: the last blocks of one group are used while the first of the next are decoded."""
    arrays = Arrays(store)
    others = [rows(SHARED_BYTES + 3 + seed, 1, seed) for seed in range(3)]
    refs = [put(store, other) for other in others]
    waiting = []
    found = b""
    lease = arrays.lease()
    parts = (arrays.blocks(ref, other.nbytes, lease) for ref, other in zip(refs, others, strict=True))
    for block in itertools.chain.from_iterable(parts):
        waiting.append(block)
        if len(waiting) > AHEAD:
            found += waiting.pop(0).result().tobytes()
    found += b"".join(block.result().tobytes() for block in waiting)
    assert found == b"".join(other.tobytes() for other in others)


def test_blocks_stay_as_they_are_until_their_lease_ends(store: Counting) -> None:
    """A sequence is over when its last block has been asked for, though none has been used yet."""
    arrays = Arrays(store)
    ours, others = rows(AHEAD * BLOCK_ROWS, 2, 1), rows(AHEAD * BLOCK_ROWS, 2, 2)
    one, two = put(store, ours), put(store, others)
    lease = arrays.lease()
    waiting = list(arrays.blocks(one, ours.nbytes, lease))
    assert read(arrays, two, others.nbytes) == others.tobytes()
    assert b"".join(block.result().tobytes() for block in waiting) == ours.tobytes()


def test_buffers_are_used_again_when_their_lease_has_ended(store: Counting) -> None:
    arrays = Arrays(store)
    lease = arrays.lease()
    first = lease.buffers(8, 8)
    assert arrays.lease().buffers(8, 8) is not first
    lease.end()
    assert arrays.lease().buffers(8, 8) is first


def test_missing_object_is_said_to_be_missing(store: Counting) -> None:
    with pytest.raises(MissingObjectError):
        read(Arrays(store), ObjectRef("0" * 64, 10), 4)


@pytest.mark.parametrize(
    ("array", "start", "nbytes"),
    [
        (SMALL, 0, SMALL.nbytes + 4),
        (SMALL, 1, SMALL.nbytes),
        (SMALL, 1000, 4),
        (SMALL, 2**62, 4),
        (SMALL, 0, 3),
        (LARGE, 0, LARGE.nbytes + 8),
        (LARGE, len(LARGE), 8),
        (LARGE, 2**62, 8),
        (LARGE, 0, 7),
        (LARGE, 0, 2**62),
    ],
)
def test_bytes_that_an_array_does_not_have_are_an_error(store: Counting, array: Rows, start: int, nbytes: int) -> None:
    ref = put(store, array)
    arrays = Arrays(store)
    for _ in range(2):
        with pytest.raises(CorruptObjectError):
            read(arrays, at(ref, start), nbytes)


@pytest.mark.parametrize("array", [SMALL, LARGE], ids=["small", "large"])
def test_damaged_object_is_an_error_each_time(store: Counting, array: Rows) -> None:
    ref = put(store, array)
    path = store.path(ref.oid)
    data = bytearray(path.read_bytes())
    data[data.rindex(ZSTD_MAGIC)] ^= 1
    path.unlink()
    path.write_bytes(data)
    arrays = Arrays(store)
    for _ in range(2):
        with pytest.raises(CorruptObjectError):
            read(arrays, ref, array.nbytes)


def test_object_that_is_no_array_is_an_error(store: Counting) -> None:
    with store.writing() as writer:
        writer.write(b"something else")
        ref = writer.publish()
    with pytest.raises(CorruptObjectError):
        read(Arrays(store), ref, 4)
