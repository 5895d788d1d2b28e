"""An array as the bytes of an object; see `description`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgpack
import numpy as np

from git_theta.store import planes
from git_theta.store.description import BINARY, CHUNK_ROWS, KEY, described
from git_theta.store.rows import Rows


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
    yield packer.pack(KEY) + packer.pack(described(rows, itemsize, chunk_rows))
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
    tag, size = next((tag, size) for tag, size in BINARY.items() if length < 1 << 8 * size)
    return tag + length.to_bytes(size, "big")
