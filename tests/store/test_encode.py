"""An array as the bytes of an object, which others can read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgpack
import numpy as np
import pytest
import tensorstore
import zstandard

from git_theta.errors import CorruptObjectError
from git_theta.store.description import BLOCK_ROWS, CHUNK_ROWS
from git_theta.store.encode import encode
from tests.store.scene import encoded, equal, read, rows

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    return {
        key: decompressor.decompress(value, max_output_size=1 << 26) for key, value in store.items() if key != ".zarray"
    }


def test_the_array_is_described_as_documented() -> None:
    described = json.loads(msgpack.unpackb(encoded(rows(CHUNK_ROWS + 1, 2)))[".zarray"])
    assert described["zarr_format"] == 2
    assert described["shape"] == [CHUNK_ROWS + 1, 2]
    assert described["chunks"] == [CHUNK_ROWS, 1]
    assert described["dtype"] == "|u1"
    assert described["compressor"] == {"id": "zstd", "level": 1}
    assert CHUNK_ROWS == 524_288
