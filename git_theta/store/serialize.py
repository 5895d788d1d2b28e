"""One array as the bytes of an object: a TensorStore zarr array, its keys packed with msgpack.

The array has shape (rows, itemsize) and dtype uint8. It is chunked one byte plane at a time, since the exponents of a
weight matrix compress well and its low mantissa bytes do not. The keys come in the order of the rows, so that an array
of any size is written and read in blocks of a few megabytes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgpack
import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.errors import CorruptObjectError

if TYPE_CHECKING:
    import tensorstore

Rows = npt.NDArray[np.uint8]
"""An array of shape (rows, itemsize)."""

CHUNK_ROWS: Final = 1 << 19
BLOCK_ROWS: Final = 1 << 19
_MAX_ITEMSIZE: Final = 16
_SLACK: Final = 1 << 12
_HEAD_BYTES: Final = 1 << 10
_BINARY: Final = {b"\xc4": 1, b"\xc5": 2, b"\xc6": 4}
"""The tags of msgpack's bin family, and how many bytes of length follow them."""

_ZARRAY: Final = ".zarray"


def encode(blocks: Iterable[Rows], rows: int, itemsize: int) -> Iterator[bytes]:
    """The bytes of the object, in pieces.

    Args:
        blocks: arrays of shape (BLOCK_ROWS, itemsize), the last one as short as it must be. A block is done with when
            the next is asked for.
        rows: of all blocks together, at least 1.
        itemsize: bytes of one element, 1 to 16.
    """
    chunk_rows = min(rows, CHUNK_ROWS)
    array, keys = _create(rows, itemsize, chunk_rows)
    packer = msgpack.Packer(use_bin_type=True)
    yield packer.pack_map_header(1 + -(-rows // chunk_rows) * itemsize)
    yield packer.pack(_ZARRAY) + packer.pack(keys[_ZARRAY])
    begin = 0
    for block in blocks:
        end = begin + len(block)
        array[begin:end].write(block).result()
        for chunk in range(begin // chunk_rows, -(-end // chunk_rows)):
            for plane in range(itemsize):
                key = f"{chunk}.{plane}"
                value = keys[key]
                yield packer.pack(key) + _binary_head(len(value))
                yield value
                del keys[key]
        begin = end


def _binary_head(length: int) -> bytes:
    """What msgpack puts before so many bytes; packing them would copy them."""
    tag, size = next((tag, size) for tag, size in _BINARY.items() if length < 1 << 8 * size)
    return tag + length.to_bytes(size, "big")


class Buffers:
    """A few buffers that take turns. Memory that is used again costs no page faults, which cost more than decoding."""

    def __init__(self, count: int) -> None:
        self._buffers = deque(np.empty(0, np.uint8) for _ in range(count))

    def next(self, rows: int, itemsize: int) -> Rows:
        """An array of shape (rows, itemsize), whose content is lost when `count` others have been asked for."""
        self._buffers.rotate(1)
        if self._buffers[0].size < rows * itemsize:
            self._buffers[0] = np.empty(rows * itemsize, np.uint8)
        return self._buffers[0][: rows * itemsize].reshape(rows, itemsize)


class PendingBlock:
    """Rows that are being decoded in the background, into a buffer."""

    def __init__(
        self, array: tensorstore.TensorStore, chunks: tensorstore.KvStore, keys: list[str], buffer: Rows
    ) -> None:
        import tensorstore

        self._future = tensorstore.array(buffer).write(array)
        self._buffer = buffer
        self.nbytes = buffer.nbytes
        self._chunks = chunks
        self._keys = keys

    def result(self) -> Rows:
        """The rows, an array of shape (rows, itemsize).

        Raises:
            CorruptObjectError: a chunk is damaged.
        """
        with _as_corrupt():
            self._future.result()
            for key in self._keys:
                del self._chunks[key]
        return self._buffer


class Reader:
    """Reads rows of one object, from the first to the last, never going back."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the object's header.

        Raises:
            CorruptObjectError: this is not an object that `encode` made.
        """
        self._file = file
        with _as_corrupt():
            head = msgpack.Unpacker(raw=False)
            head.feed(file.read(_HEAD_BYTES))
            count, key, value = head.read_map_header(), head.unpack(), head.unpack()
            if key != _ZARRAY:
                raise ValueError(f"the first key is {key!r}")
            file.seek(head.tell())
            self.rows, self.itemsize, self._chunk_rows = _geometry(value)
            if count != 1 + -(-self.rows // self._chunk_rows) * self.itemsize:
                raise ValueError("chunks are missing")
            self._array, self._chunks = _create(self.rows, self.itemsize, self._chunk_rows)
        self._next_chunk = 0

    def blocks(self, start: int, stop: int, buffers: Buffers) -> Iterator[PendingBlock]:
        """The rows from start up to stop, in blocks of at most BLOCK_ROWS.

        Args:
            start: first row.
            stop: the row after the last.
            buffers: where the rows are decoded to.

        Raises:
            CorruptObjectError: the object is damaged or has fewer rows.
            ValueError: the rows share a chunk with rows that were read before.
        """
        if not 0 <= start <= stop <= self.rows:
            raise CorruptObjectError(f"it has {self.rows} rows, not {stop}")
        position = start
        while position < stop:
            end = min(stop, (position // BLOCK_ROWS + 1) * BLOCK_ROWS)
            if position // self._chunk_rows < self._next_chunk:
                raise ValueError("a reader does not go back")
            with _as_corrupt():
                keys = self._load(position // self._chunk_rows, -(-end // self._chunk_rows))
            yield PendingBlock(
                self._array[position:end], self._chunks, keys, buffers.next(end - position, self.itemsize)
            )
            position = end

    def _load(self, first: int, stop: int) -> list[str]:
        """Bring the chunks from first up to stop into memory, passing over those before."""
        loaded = []
        for chunk in range(self._next_chunk, stop):
            for plane in range(self.itemsize):
                key = f"{chunk}.{plane}"
                value = _read_item(self._file, key)
                if chunk >= first:
                    self._chunks[key] = value
                    loaded.append(key)
        self._next_chunk = max(stop, self._next_chunk)
        return loaded


def _read_item(file: BinaryIO, key: str) -> bytes:
    """The value of the next key, which must be the one expected; msgpack's own reader would copy it three times."""
    expected = msgpack.packb(key)
    if file.read(len(expected)) != expected:
        raise ValueError(f"chunk {key} is not where it belongs")
    tag = file.read(1)
    if tag not in _BINARY:
        raise ValueError(f"chunk {key} is not binary")
    length = int.from_bytes(file.read(_BINARY[tag]), "big")
    if length > CHUNK_ROWS + _SLACK:
        raise ValueError(f"chunk {key} is too large")
    value = file.read(length)
    if len(value) != length:
        raise ValueError("it is truncated")
    return value


def _create(rows: int, itemsize: int, chunk_rows: int) -> tuple[tensorstore.TensorStore, tensorstore.KvStore]:
    """An empty array in memory, and the key-value store that holds its chunks."""
    import tensorstore

    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "memory"},
        "metadata": _zarray(rows, itemsize, chunk_rows),
        "create": True,
    }
    array = tensorstore.open(spec).result()
    chunks = array.kvstore
    assert chunks is not None
    return array, chunks


def _zarray(rows: int, itemsize: int, chunk_rows: int) -> dict[str, Any]:
    """The zarr metadata (zarr version 2) of an object's array."""
    return {
        "zarr_format": 2,
        "shape": [rows, itemsize],
        "chunks": [chunk_rows, 1],
        "dtype": "|u1",
        "compressor": {"id": "zstd", "level": 1},
        "fill_value": None,
        "filters": None,
        "order": "C",
        "dimension_separator": ".",
    }


def _geometry(zarray: bytes) -> tuple[int, int, int]:
    """Rows, itemsize and rows of a chunk, if all else is as we write it."""
    found = json.loads(zarray)
    rows, itemsize = found["shape"]
    chunk_rows = found["chunks"][0]
    if not (type(rows) is type(itemsize) is int and 0 < rows <= tensors.MAX_BYTES and 0 < itemsize <= _MAX_ITEMSIZE):
        raise ValueError("its shape is impossible")
    if chunk_rows != min(rows, CHUNK_ROWS) or found != _zarray(rows, itemsize, chunk_rows):
        raise ValueError("it is laid out in a way that is not known")
    return rows, itemsize, chunk_rows


@contextmanager
def _as_corrupt() -> Iterator[None]:
    """Turn what msgpack, TensorStore and a truncated file raise into one error of ours."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError, msgpack.UnpackException) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CorruptObjectError(reason) from error
