"""Arrays as objects, and back."""

from __future__ import annotations

import io

import numpy as np

from git_theta.store.decode import Buffers, Reader
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.encode import encode
from git_theta.store.rows import Rows, rows_of


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
    found = b"".join([bytes(block.result()) for block in reader.blocks(start, end, Buffers(1))])
    return rows_of(found, reader.itemsize)


def equal(first: Rows, second: Rows) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype and bool((first == second).all())
