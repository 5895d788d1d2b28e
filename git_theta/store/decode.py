"""Read the array in an object, block by block; see `description`. NumPy is not needed for it, and slow to import."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Final

import msgpack
import zstandard

from git_theta.errors import CorruptObjectError
from git_theta.loops import loops
from git_theta.store.description import BINARY, CHUNK_ROWS, KEY, geometry

_SLACK: Final = 1 << 12
_HEAD_BYTES: Final = 1 << 10
_COMPILED: Final = (2, 4, 8)
_UNSAID: Final = -1
"""What a frame of zstd says of its content's size if it says nothing."""


class Buffers:
    """A few buffers that take turns. Memory that is used again costs no page faults, which cost more than decoding."""

    def __init__(self, count: int) -> None:
        self._buffers = deque(bytearray() for _ in range(count))

    def next(self, nbytes: int) -> memoryview:
        """Room for so many bytes, whose content is lost when `count` others have been asked for."""
        self._buffers.rotate(1)
        if len(self._buffers[0]) < nbytes:
            self._buffers[0] = bytearray(nbytes)
        return memoryview(self._buffers[0])[:nbytes]


class Lazy:
    """Rows that are made when they are first asked for, by the thread that asks."""

    def __init__(self, make: Callable[[memoryview], None], buffer: memoryview) -> None:
        """Args: make: fills a buffer with the rows; buffer: for their bytes."""
        self._make: Callable[[memoryview], None] | None = make
        self._lock = threading.Lock()
        self._buffer = buffer
        self.nbytes = buffer.nbytes

    def result(self) -> memoryview:
        """The bytes of the rows.

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
            if key != KEY:
                raise ValueError(f"the first key is {key!r}")
            file.seek(head.tell())
            self.rows, self.itemsize, self._chunk_rows = geometry(value)
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
            yield Lazy(decode, buffers.next((end - position) * self.itemsize))
            position = end

    def _load(self, wanted: int) -> list[bytes]:
        """Bring the compressed planes of a chunk into memory, passing over the chunks before."""
        frames: list[bytes] = []
        for chunk in range(self._next_chunk, wanted + 1):
            frames = [_read_item(self._file, f"{chunk}.{plane}") for plane in range(self.itemsize)]
        self._next_chunk = wanted + 1
        return frames


def _decode(frames: Sequence[bytes], chunk_rows: int, first: int, out: memoryview) -> None:
    """Put the bytes of elements together again, from the first that is wanted of a chunk on."""
    decompressor = zstandard.ZstdDecompressor()
    with _as_corrupt():
        whole = [_decompressed(frame, chunk_rows, decompressor) for frame in frames]
    last = first + len(out) // len(frames)
    _put_together([memoryview(plane)[first:last] for plane in whole], out)


def _decompressed(frame: bytes, nbytes: int, decompressor: zstandard.ZstdDecompressor) -> bytes:
    """What a frame of zstd holds. It says how much that is, and is refused before a byte of too much is made.

    Raises:
        ValueError: it holds more or less than so many bytes.
        ZstdError: it is damaged.
    """
    size = zstandard.frame_content_size(frame)
    if size not in (nbytes, _UNSAID):
        raise ValueError(f"a chunk has {size} bytes instead of {nbytes}")
    data = decompressor.decompress(frame, max_output_size=nbytes, allow_extra_data=False)
    if len(data) != nbytes:
        raise ValueError(f"a chunk has {len(data)} bytes instead of {nbytes}")
    return data


def _put_together(planes: Sequence[memoryview], out: memoryview) -> None:
    """Rows from their planes."""
    itemsize = len(planes)
    if itemsize not in _COMPILED:
        for number, plane in enumerate(planes):
            out[number::itemsize] = plane
    else:
        loops().join(tuple(planes), out)


def _read_item(file: BinaryIO, key: str) -> bytes:
    """The value of the next key, which must be the one expected; msgpack's own reader would copy it three times."""
    expected = msgpack.packb(key)
    if file.read(len(expected)) != expected:
        raise ValueError(f"chunk {key} is not where it belongs")
    tag = file.read(1)
    if tag not in BINARY:
        raise ValueError(f"chunk {key} is not binary")
    length = int.from_bytes(file.read(BINARY[tag]), "big")
    if length > CHUNK_ROWS + _SLACK:
        raise ValueError(f"chunk {key} is too large")
    value = file.read(length)
    if len(value) != length:
        raise ValueError("it is truncated")
    return value


@contextmanager
def _as_corrupt() -> Iterator[None]:
    """Turn what msgpack, zstd and a truncated file raise into one error of ours."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError, msgpack.UnpackException, zstandard.ZstdError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CorruptObjectError(f"the object is damaged ({reason})") from error
