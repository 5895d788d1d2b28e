"""An array as the bytes of an object: rows come back, another reader can read them, and damage is told."""

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
import zstandard

from git_theta.errors import CorruptObjectError
from git_theta.store.planes import Rows
from git_theta.store.serialize import BLOCK_ROWS, CHUNK_ROWS, Buffers, Lazy, Reader, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIZES = [1, 2, 1000, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, BLOCK_ROWS + 5]
ITEMSIZES = [1, 2, 4, 8, 16]


def rows(count: int, itemsize: int, seed: int = 0) -> Rows:
    """Rows like those of a weight matrix: some planes are noise, others are nearly constant."""
    generator = np.random.default_rng(seed)
    array = generator.integers(0, 256, (count, itemsize), np.uint8)
    array[:, itemsize // 2 :] %= 3
    return array


def encoded(array: Rows) -> bytes:
    blocks = (array[start : start + BLOCK_ROWS] for start in range(0, len(array), BLOCK_ROWS))
    return b"".join(encode(blocks, len(array), array.shape[1]))


def read(data: bytes, start: int = 0, stop: int | None = None) -> Rows:
    """Rows of an object, each block copied before the next is asked for."""
    reader = Reader(io.BytesIO(data))
    end = reader.rows if stop is None else stop
    found = [block.result().copy() for block in reader.blocks(start, end, Buffers(1))]
    return np.concatenate(found) if found else np.empty((0, reader.itemsize), np.uint8)


def equal(first: Rows, second: Rows) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype and bool((first == second).all())


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


@pytest.mark.parametrize("value", [0, 1, 255])
def test_rows_that_are_all_alike_come_back_and_take_little(value: int) -> None:
    """Zeros as well: a store that leaves out what equals its fill value would leave them out."""
    array = np.full((CHUNK_ROWS + 3, 4), value, np.uint8)
    data = encoded(array)
    assert len(data) < 2000
    assert equal(read(data), array)


def test_equal_rows_give_equal_objects() -> None:
    assert encoded(rows(5000, 4)) == encoded(rows(5000, 4).copy())
    assert encoded(rows(5000, 4)) != encoded(rows(5000, 4, seed=1))


def test_blocks_may_be_read_only_or_not_contiguous() -> None:
    array = rows(1000, 4)
    wide = np.repeat(array, 2, axis=0)[::2]
    array.setflags(write=False)
    assert encoded(wide) == encoded(array)


def test_a_block_is_done_with_when_the_next_is_asked_for() -> None:
    array = rows(2 * BLOCK_ROWS + 5, 2)
    buffer = np.empty((BLOCK_ROWS, 2), np.uint8)

    def reused() -> object:
        for start in range(0, len(array), BLOCK_ROWS):
            part = array[start : start + BLOCK_ROWS]
            buffer[: len(part)] = part
            yield buffer[: len(part)]

    assert b"".join(encode(reused(), len(array), 2)) == encoded(array)  # type: ignore[arg-type]


def test_pieces_come_before_all_blocks_are_there() -> None:
    array = rows(3 * BLOCK_ROWS, 1)
    asked = []

    def counted() -> object:
        for start in range(0, len(array), BLOCK_ROWS):
            asked.append(start)
            yield array[start : start + BLOCK_ROWS]

    pieces = encode(counted(), len(array), 1)  # type: ignore[arg-type]
    while not asked:
        next(pieces)
    next(pieces)
    assert len(asked) < 3


def test_an_error_of_the_blocks_ends_the_object() -> None:
    def failing() -> object:
        yield rows(BLOCK_ROWS, 1)
        raise CorruptObjectError("no more")

    with pytest.raises(CorruptObjectError, match="no more"):
        list(encode(failing(), BLOCK_ROWS + 1, 1))  # type: ignore[arg-type]


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
    lengths = [len(block.result()) for block in reader.blocks(10, len(LONG), Buffers(1))]
    assert lengths == [BLOCK_ROWS - 10, BLOCK_ROWS, 100]


def test_one_reader_reads_several_slices_one_after_the_other() -> None:
    reader = Reader(io.BytesIO(LONG_DATA))
    for start, stop in ((3, 10), (CHUNK_ROWS, CHUNK_ROWS + 5), (2 * CHUNK_ROWS + 1, len(LONG))):
        found = [block.result().copy() for block in reader.blocks(start, stop, Buffers(1))]
        assert equal(np.concatenate(found), LONG[start:stop])


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

    def make(out: Rows) -> None:
        time.sleep(0.05)
        made.append(len(out))
        out[:] = 7

    block = Lazy(make, np.zeros((3, 2), np.uint8))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: block.result().copy(), range(4)))
    assert made == [3]
    assert all((rows == 7).all() for rows in found)


def test_rows_that_could_not_be_made_are_never_given_out() -> None:
    def fail(_: Rows) -> None:
        raise CorruptObjectError("told to fail")

    block = Lazy(fail, np.zeros((3, 2), np.uint8))
    for _ in range(2):
        with pytest.raises(CorruptObjectError, match="told to fail"):
            block.result()


def test_going_back_gives_no_wrong_rows() -> None:
    """A reader never goes back: it may refuse to, but it must not hand out zeros for chunks that it has let go."""
    reader = Reader(io.BytesIO(LONG_DATA))
    first = [block.result().copy() for block in reader.blocks(0, 10, Buffers(1))]
    try:
        again = [block.result().copy() for block in reader.blocks(0, 10, Buffers(1))]
    except (ValueError, CorruptObjectError):
        return
    assert equal(again[0], first[0])


def test_pending_blocks_are_independent_as_long_as_there_are_buffers() -> None:
    pending = list(Reader(io.BytesIO(LONG_DATA)).blocks(0, len(LONG), Buffers(3)))
    assert equal(np.concatenate([block.result() for block in reversed(pending)][::-1]), LONG)


def test_buffers_take_turns_and_are_used_again() -> None:
    buffers = Buffers(2)
    first, second = buffers.next(10, 4), buffers.next(10, 4)
    first[:], second[:] = 1, 2
    assert first.shape == (10, 4)
    assert (first == 1).all()
    third = buffers.next(5, 8)
    assert third.shape == (5, 8)
    assert np.shares_memory(third, first)
    assert not np.shares_memory(third, second)
    larger = buffers.next(100, 4)
    assert larger.shape == (100, 4)
    assert not np.shares_memory(larger, third)


# --- the format, read by others -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "itemsize"), [(1, 1), (1000, 4), (CHUNK_ROWS + 1, 2)])
def test_another_reader_finds_a_zarr_array(count: int, itemsize: int) -> None:
    array = rows(count, itemsize)
    store = msgpack.unpackb(encoded(array))
    chunks = -(-count // CHUNK_ROWS)
    assert list(store) == [".zarray", *(f"{chunk}.{plane}" for chunk in range(chunks) for plane in range(itemsize))]
    context = tensorstore.Context()
    kvstore = tensorstore.KvStore.open("memory://", context=context).result()
    for key, value in store.items():
        kvstore[key] = value
    opened = tensorstore.open({"driver": "zarr", "kvstore": "memory://"}, context=context, open=True).result()
    assert opened.shape == (count, itemsize)
    assert opened.dtype.numpy_dtype == np.uint8
    assert equal(opened.read().result(), array)


@pytest.mark.parametrize("itemsize", [1, 2, 4, 8, 3])
@pytest.mark.parametrize("count", [1, 1000, CHUNK_ROWS, 2 * CHUNK_ROWS + 77])
def test_tensorstore_writes_the_same_chunks_and_we_read_what_it_wrote(count: int, itemsize: int) -> None:
    array = rows(count, itemsize)
    store = msgpack.unpackb(encoded(array))
    context = tensorstore.Context()
    kvstore = tensorstore.KvStore.open("memory://", context=context).result()
    spec = {
        "driver": "zarr",
        "kvstore": "memory://",
        "metadata": {
            "shape": [count, itemsize],
            "chunks": [min(count, CHUNK_ROWS), 1],
            "dtype": "|u1",
            "compressor": {"id": "zstd", "level": 1},
            "fill_value": None,
            "filters": None,
            "order": "C",
        },
        "create": True,
    }
    tensorstore.open(spec, context=context).result().write(array).result()
    written = {key.decode(): kvstore[key] for key in kvstore.list().result()}
    assert written[".zarray"] == store[".zarray"]
    assert contents(written) == contents(store)
    assert equal(read(msgpack.packb({key: written[key] for key in store})), array)


def contents(store: Mapping[str, bytes]) -> dict[str, bytes]:
    """What the chunks of an array hold."""
    decompressor = zstandard.ZstdDecompressor()
    return {key: decompressor.decompress(value) for key, value in store.items() if key != ".zarray"}


def test_the_array_is_described_as_documented() -> None:
    described = json.loads(msgpack.unpackb(encoded(rows(CHUNK_ROWS + 1, 2)))[".zarray"])
    assert described["zarr_format"] == 2
    assert described["shape"] == [CHUNK_ROWS + 1, 2]
    assert described["chunks"] == [CHUNK_ROWS, 1]
    assert described["dtype"] == "|u1"
    assert described["compressor"] == {"id": "zstd", "level": 1}
    assert CHUNK_ROWS == 524_288


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
