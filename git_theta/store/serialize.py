"""One array as the bytes of an object: a zarr array as TensorStore writes it to memory, its keys packed with msgpack.

The array has shape (rows, itemsize) and dtype uint8. It is chunked one byte plane at a time, since the exponents of a
weight matrix compress well and its low mantissa bytes do not. The keys come in the order of the rows, so that an array
of any size is written and read in blocks of a few megabytes.

TensorStore opens these objects, and what it writes by the same description is read here. It is not called: its general
machinery takes two and a half times as long to write them, and 60 ms to import (docs/decisions.md).
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, Final

import msgpack
import numpy as np
import zstandard

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.store import planes
from git_theta.store.planes import Rows

CHUNK_ROWS: Final = 1 << 19
BLOCK_ROWS: Final = CHUNK_ROWS
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
    packer = msgpack.Packer(use_bin_type=True)
    yield packer.pack_map_header(1 + -(-rows // chunk_rows) * itemsize)
    yield packer.pack(_ZARRAY) + packer.pack(_described(rows, itemsize, chunk_rows))
    compressor = planes.Compressor(chunk_rows)
    room = np.zeros(chunk_rows, np.uint8)
    for chunk, block in enumerate(_chunks(blocks, rows, chunk_rows)):
        room[len(block) :] = 0
        for number, _ in enumerate(planes.split(block, room[: len(block)])):
            value = compressor.compress(room)
            yield packer.pack(f"{chunk}.{number}") + _binary_head(len(value))
            yield value


def _chunks(blocks: Iterable[Rows], rows: int, chunk_rows: int) -> Iterator[Rows]:
    """The same rows, of each chunk. As long as blocks and chunks have one size, every block is a chunk."""
    done = 0
    for block in blocks:
        if len(block) != min(chunk_rows, rows - done):
            raise ValueError(f"a block of {len(block)} rows is none of an array of {rows} rows")
        yield block
        done += len(block)
    if done != rows:
        raise ValueError(f"the blocks have {done} rows instead of {rows}")


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


class Lazy:
    """Rows that are made when they are first asked for, by the thread that asks."""

    def __init__(self, make: Callable[[Rows], None], buffer: Rows) -> None:
        """Args: make: fills an array with the rows; buffer: the array."""
        self._make: Callable[[Rows], None] | None = make
        self._lock = threading.Lock()
        self._buffer = buffer
        self.nbytes = buffer.nbytes

    def result(self) -> Rows:
        """The rows, an array of shape (rows, itemsize).

        Raises:
            ObjectError: what they are made from cannot be used.
        """
        with self._lock:
            if self._make is not None:
                self._make(self._buffer)
                self._make = None
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
        self._next_chunk = 0

    def blocks(self, start: int, stop: int, buffers: Buffers) -> Iterator[Lazy]:
        """The rows from start up to stop, in blocks of at most BLOCK_ROWS; decoded when their rows are asked for.

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
            chunk, first = divmod(position, self._chunk_rows)
            end = min(stop, (chunk + 1) * self._chunk_rows)
            if chunk < self._next_chunk:
                raise ValueError("a reader does not go back")
            with _as_corrupt():
                frames = self._load(chunk)
            decode = partial(_decode, frames, self._chunk_rows, first)
            yield Lazy(decode, buffers.next(end - position, self.itemsize))
            position = end

    def _load(self, wanted: int) -> list[bytes]:
        """Bring the compressed planes of a chunk into memory, passing over the chunks before."""
        frames: list[bytes] = []
        for chunk in range(self._next_chunk, wanted + 1):
            frames = [_read_item(self._file, f"{chunk}.{plane}") for plane in range(self.itemsize)]
        self._next_chunk = wanted + 1
        return frames


def _decode(frames: Sequence[bytes], chunk_rows: int, first: int, out: Rows) -> None:
    """Put the bytes of elements together again, from the first that is wanted of a chunk on."""
    decompressor = zstandard.ZstdDecompressor()
    with _as_corrupt():
        whole = [planes.decompressed(frame, chunk_rows, decompressor) for frame in frames]
    planes.put_together([np.frombuffer(plane, np.uint8)[first : first + len(out)] for plane in whole], out)


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


def _described(rows: int, itemsize: int, chunk_rows: int) -> bytes:
    """The zarr metadata as TensorStore writes it."""
    return json.dumps(_zarray(rows, itemsize, chunk_rows), sort_keys=True, separators=(",", ":")).encode()


def _zarray(rows: int, itemsize: int, chunk_rows: int) -> dict[str, Any]:
    """The zarr metadata (zarr version 2) of an object's array."""
    return {
        "zarr_format": 2,
        "shape": [rows, itemsize],
        "chunks": [chunk_rows, 1],
        "dtype": "|u1",
        "compressor": {"id": "zstd", "level": planes.LEVEL},
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
    """Turn what msgpack, zstd and a truncated file raise into one error of ours."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError, msgpack.UnpackException, zstandard.ZstdError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CorruptObjectError(f"the object is damaged ({reason})") from error
