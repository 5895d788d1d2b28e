"""What an object says of its array, and how the array is laid out: what `encode` and `decode` agree on.

An object is a zarr array (zarr version 2) as TensorStore writes it to memory, its keys packed with msgpack: `.zarray`,
then the chunks. The array has shape (rows, itemsize) and dtype uint8. It is chunked one byte plane at a time, since the
exponents of a weight matrix compress well and its low mantissa bytes do not. The keys come in the order of the rows, so
that an array of any size is written and read in blocks of a few megabytes.

TensorStore opens these objects, and what it writes by the same description is read here. It is not called: its general
machinery takes two and a half times as long to write them, and 60 ms to import (docs/decisions.md).
"""

from __future__ import annotations

import json
from typing import Any, Final

from git_theta import tensors

CHUNK_ROWS: Final = 1 << 19
BLOCK_ROWS: Final = CHUNK_ROWS
KEY: Final = ".zarray"
BINARY: Final = {b"\xc4": 1, b"\xc5": 2, b"\xc6": 4}
"""The tags of msgpack's bin family, and how many bytes of length follow them."""

LEVEL: Final = 1
"""Of zstd, which fixes what the header of an object says. How hard it searches for repetitions is up to the writer."""

_MAX_ITEMSIZE: Final = 16


def described(rows: int, itemsize: int, chunk_rows: int) -> bytes:
    """The zarr metadata as TensorStore writes it."""
    return json.dumps(_zarray(rows, itemsize, chunk_rows), sort_keys=True, separators=(",", ":")).encode()


def geometry(zarray: bytes) -> tuple[int, int, int]:
    """Rows, itemsize and rows of a chunk, if all else is as we write it.

    Raises:
        ValueError: it is not; or a KeyError or TypeError, if it is no such metadata at all.
    """
    found = json.loads(zarray)
    rows, itemsize = found["shape"]
    chunk_rows = found["chunks"][0]
    if not (type(rows) is type(itemsize) is int and 0 < rows <= tensors.MAX_BYTES and 0 < itemsize <= _MAX_ITEMSIZE):
        raise ValueError("its shape is impossible")
    if chunk_rows != min(rows, CHUNK_ROWS) or found != _zarray(rows, itemsize, chunk_rows):
        raise ValueError("it is laid out in a way that is not known")
    return rows, itemsize, chunk_rows


def _zarray(rows: int, itemsize: int, chunk_rows: int) -> dict[str, Any]:
    """The zarr metadata (zarr version 2) of an object's array."""
    return {
        "zarr_format": 2,
        "shape": [rows, itemsize],
        "chunks": [chunk_rows, 1],
        "dtype": "|u1",
        "compressor": {"id": "zstd", "level": LEVEL},
        "fill_value": None,
        "filters": None,
        "order": "C",
        "dimension_separator": ".",
    }
