"""The array in an object: rows come back, whoever wrote them, and damage is told."""

from __future__ import annotations

import io
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgpack
import numpy as np
import pytest
import tensorstore

from git_theta import loops
from git_theta.errors import CorruptObjectError
from git_theta.store import decode
from git_theta.store.decode import Buffers, Lazy, Reader
from git_theta.store.description import BLOCK_ROWS, CHUNK_ROWS
from tests.store.scene import encoded, equal, read, rows

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = [1, 2, 1000, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, BLOCK_ROWS + 5]
ITEMSIZES = [1, 2, 4, 8, 16]


# --- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("itemsize", ITEMSIZES)
@pytest.mark.parametrize("count", SIZES)
def test_rows_come_back(count: int, itemsize: int) -> None:
    array = rows(count, itemsize)
    data = encoded(array)
    reader = Reader(io.BytesIO(data))
    assert (reader.rows, reader.itemsize) == (count, itemsize)
    assert equal(read(data), array)


@pytest.mark.parametrize("itemsize", [3, 5, 7, 15])
def test_itemsizes_that_no_dtype_has_come_back(itemsize: int) -> None:
    assert equal(read(encoded(rows(100, itemsize))), rows(100, itemsize))


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("itemsize", range(1, 17))
@pytest.mark.parametrize("count", [0, 1, 1001])
def test_planes_give_their_rows_again(
    count: int, itemsize: int, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_compiled:
        monkeypatch.setattr(loops, "native", None)
    array = rows(count, itemsize)
    out = memoryview(bytearray(array.nbytes))
    decode._put_together([memoryview(plane.tobytes()) for plane in array.T], out)
    assert out == array.tobytes()


LONG = rows(2 * CHUNK_ROWS + 100, 2)
LONG_DATA = encoded(LONG)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, len(LONG)),
        (0, 1),
        (1, 2),
        (5, 5),
        (0, 0),
        (len(LONG), len(LONG)),
        (len(LONG) - 1, len(LONG)),
        (CHUNK_ROWS - 1, CHUNK_ROWS + 1),
        (CHUNK_ROWS, 2 * CHUNK_ROWS),
        (CHUNK_ROWS + 7, 2 * CHUNK_ROWS + 3),
        (7, 2 * CHUNK_ROWS + 99),
    ],
)
def test_any_slice_is_read(start: int, stop: int) -> None:
    assert equal(read(LONG_DATA, start, stop), LONG[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (1, 0), (0, len(LONG) + 1), (len(LONG) + 1, len(LONG) + 1)])
def test_rows_that_are_not_there_are_an_error(start: int, stop: int) -> None:
    with pytest.raises(CorruptObjectError, match="rows"):
        read(LONG_DATA, start, stop)


def test_blocks_end_where_those_of_the_whole_array_end() -> None:
    reader = Reader(io.BytesIO(LONG_DATA))
    lengths = [block.nbytes // 2 for block in reader.blocks(10, len(LONG), Buffers(1))]
    assert lengths == [BLOCK_ROWS - 10, BLOCK_ROWS, 100]


def test_one_reader_reads_several_slices_one_after_the_other() -> None:
    reader = Reader(io.BytesIO(LONG_DATA))
    for start, stop in ((3, 10), (CHUNK_ROWS, CHUNK_ROWS + 5), (2 * CHUNK_ROWS + 1, len(LONG))):
        found = [bytes(block.result()) for block in reader.blocks(start, stop, Buffers(1))]
        assert b"".join(found) == LONG[start:stop].tobytes()


def test_chunks_are_held_in_memory_only_while_they_are_needed() -> None:
    reader = Reader(io.BytesIO(LONG_DATA))
    blocks = reader.blocks(CHUNK_ROWS + 3, len(LONG), Buffers(2))
    first = next(blocks)
    assert first._make is not None
    first.result()
    assert first._make is None
    assert not any(isinstance(value, bytes | list) for value in vars(reader).values())


def test_rows_are_made_once_though_several_threads_ask() -> None:
    made: list[int] = []

    def make(out: memoryview) -> None:
        time.sleep(0.05)
        made.append(len(out))
        out[:] = b"7" * 6

    block = Lazy(make, memoryview(bytearray(6)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: bytes(block.result()), range(4)))
    assert made == [6]
    assert found == [b"7" * 6] * 4


def test_rows_that_could_not_be_made_are_never_given_out() -> None:
    def fail(_: memoryview) -> None:
        raise CorruptObjectError("told to fail")

    block = Lazy(fail, memoryview(bytearray(6)))
    for _ in range(2):
        with pytest.raises(CorruptObjectError, match="told to fail"):
            block.result()


def test_going_back_gives_no_wrong_rows() -> None:
    """A reader never goes back: it may refuse to, but it must not hand out zeros for chunks that it has let go."""
    reader = Reader(io.BytesIO(LONG_DATA))
    first = [bytes(block.result()) for block in reader.blocks(0, 10, Buffers(1))]
    try:
        again = [bytes(block.result()) for block in reader.blocks(0, 10, Buffers(1))]
    except (ValueError, CorruptObjectError):
        return
    assert again == first


def test_pending_blocks_are_independent_as_long_as_there_are_buffers() -> None:
    pending = list(Reader(io.BytesIO(LONG_DATA)).blocks(0, len(LONG), Buffers(3)))
    assert b"".join([block.result() for block in reversed(pending)][::-1]) == LONG.tobytes()


def test_buffers_take_turns_and_are_used_again() -> None:
    buffers = Buffers(2)
    first, second = buffers.next(40), buffers.next(40)
    first[:], second[:] = b"1" * 40, b"2" * 40
    assert bytes(first) == b"1" * 40
    third = buffers.next(20)
    assert len(third) == 20
    assert third.obj is first.obj
    assert third.obj is not second.obj
    larger = buffers.next(400)
    assert len(larger) == 400
    assert larger.obj not in (first.obj, second.obj)


# --- the format, read by others -------------------------------------------------------------------------------------


def test_what_another_writer_makes_of_the_same_description_is_read() -> None:
    """The compressed bytes may be others, as another version of zstd would make them."""
    array = rows(3000, 2)
    store = msgpack.unpackb(encoded(array))
    context = tensorstore.Context()
    kvstore = tensorstore.KvStore.open("memory://", context=context).result()
    described = json.loads(store[".zarray"])
    described["compressor"]["level"] = 19
    spec = {"driver": "zarr", "kvstore": "memory://", "metadata": described, "create": True}
    tensorstore.open(spec, context=context).result().write(array).result()
    other = {key: store[key] if key == ".zarray" else kvstore[key] for key in store}
    assert other != store
    assert equal(read(msgpack.packb(other)), array)


# --- damage ---------------------------------------------------------------------------------------------------------

ARRAY = rows(300, 4)
DATA = encoded(ARRAY)
STORE = msgpack.unpackb(DATA)


def corrupt(data: bytes) -> None:
    """The object is refused, in one line."""
    with pytest.raises(CorruptObjectError) as caught:
        read(data)
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def rows_or_corrupt(data: bytes) -> bool:
    """Whether the object gives rows; whatever else it may raise fails the test."""
    try:
        found = read(data)
    except CorruptObjectError:
        return False
    return found.dtype == np.uint8 and found.ndim == 2


@pytest.mark.parametrize("data", [DATA, LONG_DATA], ids=["one chunk", "many chunks"])
def test_truncated_object_is_corrupt(data: bytes) -> None:
    generator = random.Random(0)
    for length in [*range(30), len(data) - 1, *(generator.randrange(len(data)) for _ in range(100))]:
        corrupt(data[:length])


def test_changing_any_byte_gives_rows_or_is_told() -> None:
    """Values that are merely wrong are found by their digest, which this module does not know."""
    generator = random.Random(0)
    taken = 0
    for number in range(1000):
        data = bytearray(DATA)
        for _ in range(1 + number % 3):
            data[generator.randrange(250 if number % 2 else len(DATA))] = generator.randrange(256)
        taken += rows_or_corrupt(bytes(data))
    assert 0 < taken < 900


def test_any_bytes_are_corrupt() -> None:
    generator = random.Random(0)
    for number in range(300):
        noise = generator.randbytes(generator.randrange(100))
        corrupt(noise)
        corrupt(b"\x85\xa7.zarray" + noise)
        corrupt(bytes([0x80 + number % 16]) + noise)


def test_other_files_are_corrupt() -> None:
    corrupt(b"")
    corrupt(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    corrupt(b"\x28\xb5\x2f\xfd" + bytes(100))
    corrupt(msgpack.packb([1, 2, 3]))
    corrupt(msgpack.packb({}))
    corrupt(msgpack.packb({".zarray": None}))
    corrupt(msgpack.packb({".zarray": b""}))
    corrupt(msgpack.packb({"other": STORE[".zarray"]}))
    corrupt(msgpack.packb({1: STORE[".zarray"]}))


def described(**changes: object) -> bytes:
    """The object with another description of its array; None takes a key away."""
    zarray = {**json.loads(STORE[".zarray"]), **changes}
    return with_description(json.dumps({key: value for key, value in zarray.items() if value != "absent"}).encode())


def with_description(text: object) -> bytes:
    return msgpack.packb({**STORE, ".zarray": text})


DESCRIPTIONS = {
    "chunks that are shorter": {"chunks": [100, 1]},
    "chunks that are longer": {"chunks": [301, 1]},
    "chunks of all planes": {"chunks": [300, 4]},
    "chunks of no rows": {"chunks": [0, 1]},
    "chunks of one extent": {"chunks": [300]},
    "chunks that are floats": {"chunks": [300.0, 1]},
    "chunks that are text": {"chunks": "300"},
    "no chunks": {"chunks": None},
    "dtype of two bytes": {"dtype": "<u2"},
    "dtype signed": {"dtype": "|i1"},
    "dtype of objects": {"dtype": "|O"},
    "a filter": {"filters": [{"id": "delta", "dtype": "|u1"}]},
    "empty filters": {"filters": []},
    "no compressor": {"compressor": None},
    "another compressor": {"compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}},
    "another level": {"compressor": {"id": "zstd", "level": 2}},
    "order F": {"order": "F"},
    "a fill value": {"fill_value": 0},
    "another separator": {"dimension_separator": "/"},
    "zarr version 3": {"zarr_format": 3},
    "no version": {"zarr_format": "absent"},
    "another key": {"path": "/etc/passwd"},
    "a key missing": {"order": "absent"},
    "shape of no rows": {"shape": [0, 4]},
    "shape and chunks of no rows": {"shape": [0, 4], "chunks": [0, 1]},
    "shape and chunks that are negative": {"shape": [-300, 4], "chunks": [-300, 1]},
    "shape and chunks that are floats": {"shape": [300.0, 4], "chunks": [300.0, 1]},
    "shape of no planes": {"shape": [300, 0]},
    "shape of other rows": {"shape": [301, 4]},
    "shape of more planes": {"shape": [300, 5]},
    "shape of fewer planes": {"shape": [300, 3]},
    "shape of too many planes": {"shape": [300, 17]},
    "shape that is negative": {"shape": [-300, 4]},
    "shape that is absurd": {"shape": [2**62, 4]},
    "shape beyond 64 bits": {"shape": [2**70, 4]},
    "shape that is true": {"shape": [True, 4]},
    "shape that is a float": {"shape": [300.0, 4]},
    "shape that is text": {"shape": "ab"},
    "shape of one extent": {"shape": [300]},
    "shape of three extents": {"shape": [300, 4, 1]},
    "shape missing": {"shape": "absent"},
}


@pytest.mark.parametrize("changes", DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_array_described_in_another_way_is_refused(changes: dict[str, object]) -> None:
    corrupt(described(**changes))


def test_array_of_no_or_too_many_planes_is_refused_though_its_chunks_are_all_there() -> None:
    corrupt(encoded(rows(10, 17)))
    zarray = {**json.loads(STORE[".zarray"]), "shape": [300, 0]}
    corrupt(msgpack.packb({".zarray": json.dumps(zarray).encode()}))


def test_the_same_description_written_in_another_way_is_read() -> None:
    assert equal(read(described()), ARRAY)
    assert described() != DATA


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"1", b"{", b"\xff\xfe", b"[" * 900, STORE[".zarray"] + b"x", b"NaN", 1, None, [1], {"a": 1}],
)
def test_description_that_is_none_is_refused(text: object) -> None:
    corrupt(with_description(text))


def test_absurd_shape_takes_no_memory() -> None:
    """All the chunks that such an array would have are promised, but not there."""
    huge = 2**32 - 2
    zarray = {**json.loads(STORE[".zarray"]), "shape": [huge * CHUNK_ROWS, 1], "chunks": [CHUNK_ROWS, 1]}
    packer = msgpack.Packer()
    head = packer.pack_map_header(huge + 1) + packer.pack(".zarray") + packer.pack(json.dumps(zarray).encode())
    reader = Reader(io.BytesIO(head))
    with pytest.raises(CorruptObjectError):
        next(reader.blocks(0, reader.rows, Buffers(1)))
    with pytest.raises(CorruptObjectError):
        next(reader.blocks(reader.rows - 1, reader.rows, Buffers(1)))


def item(key: str, change: Callable[[bytes], object]) -> bytes:
    return msgpack.packb({**STORE, key: change(STORE[key])})


CHUNKS = {
    "empty": item("0.1", lambda _: b""),
    "text": item("0.1", lambda _: "text"),
    "number": item("0.1", lambda _: 1),
    "null": item("0.1", lambda _: None),
    "not compressed": item("0.1", lambda _: bytes(300)),
    "cut short": item("0.1", lambda value: value[:-1]),
    "of another length": item("0.1", lambda _: msgpack.unpackb(encoded(rows(299, 1)))["0.0"]),
    "of a greater length": item("0.1", lambda _: msgpack.unpackb(encoded(rows(301, 1)))["0.0"]),
    "with bytes behind": item("0.1", lambda value: value + b"x"),
    "larger than any": item("0.1", lambda _: bytes(CHUNK_ROWS + 5000)),
    "missing": msgpack.packb({key: value for key, value in STORE.items() if key != "0.3"}),
    "one too many": msgpack.packb({**STORE, "0.4": b""}),
    "in another order": msgpack.packb({key: STORE[key] for key in (".zarray", "0.1", "0.0", "0.2", "0.3")}),
    "before the description": msgpack.packb({key: STORE[key] for key in ("0.0", ".zarray", "0.1", "0.2", "0.3")}),
    "behind a description of another name": DATA.replace(b"\xa7.zarray", b"\xa7.ZARRAY"),
    "of another name": msgpack.packb({key.replace("0.3", "0.9"): value for key, value in STORE.items()}),
    "named as bytes": msgpack.packb({key.encode() if key == "0.3" else key: value for key, value in STORE.items()}),
}


@pytest.mark.parametrize("data", CHUNKS.values(), ids=CHUNKS.keys())
def test_chunk_that_is_not_as_promised_is_told(data: bytes) -> None:
    corrupt(data)


def test_chunk_that_swells_is_refused() -> None:
    """32 KiB of zstd that say they are a gigabyte of zeros: blocks of 128 KiB that repeat one byte."""
    count = (1 << 30) // (1 << 17)
    frames = [
        ((1 << 17) << 3 | 1 << 1 | (number == count - 1)).to_bytes(3, "little") + b"\0" for number in range(count)
    ]
    bomb = b"\x28\xb5\x2f\xfd\x00" + bytes([(20 - 10) << 3]) + b"".join(frames)
    corrupt(item("0.1", lambda _: bomb))
