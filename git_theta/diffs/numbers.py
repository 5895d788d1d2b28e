"""The values of groups as float64 numbers to measure with, whatever their dtype."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.diffs import quantized

Rows = npt.NDArray[np.uint8]
"""Bytes of values, of any shape; contiguous, whole elements."""

Floats = npt.NDArray[np.float64]

_NATIVE: Final[Mapping[str, str]] = {
    "bool": "u1",
    "uint8": "u1",
    "int8": "i1",
    "uint16": "<u2",
    "int16": "<i2",
    "uint32": "<u4",
    "int32": "<i4",
    "uint64": "<u8",
    "int64": "<i8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "complex64": "<f4",
    "complex128": "<f8",
}
"""What NumPy reads the numbers as; a complex value is two of them."""

STEP: Final = 1 << 16
"""Values that are worked on at once, so that what is in between stays in the processor's cache; whole blocks of any
dtype."""

_PACKED: Final = "float4_e2m1fn"
_NIBBLE: Final = 16


def is_numeric(dtype: str) -> bool:
    """Whether values of this dtype can be read as numbers here: not float6, nor the rarer ones of GGUF's blocks."""
    is_plain = dtype in _NATIVE or dtype == "bfloat16" or dtype.startswith("float8_") or dtype == _PACKED
    return is_plain or quantized.is_known(dtype)


def has_own_bits(dtype: str) -> bool:
    """Whether each value has bits of its own, and does not share a scale with others."""
    return not quantized.is_known(dtype)


def parts(dtype: str) -> int:
    """Numbers in a value: 2 for a complex one."""
    return 2 if dtype.startswith("complex") else 1


def steps(blocks: Iterable[Rows], dtype: str) -> Iterator[Rows]:
    """The bytes of values, of `STEP` of them at a time, and of fewer at the end.

    So blocks of several values stay whole, and two versions of a group go in step, wherever what comes was cut.

    Args:
        blocks: the bytes of the values, in pieces of any size; each may be gone when the next comes.
        dtype: of the values.
    """
    elements, size = tensors.BLOCKS[dtype]
    length = STEP // elements * size
    left = np.zeros(0, np.uint8)
    for rows in blocks:
        flat = np.concatenate([left, rows.reshape(-1)]) if left.size else rows.reshape(-1)
        whole = len(flat) - len(flat) % length
        for start in range(0, whole, length):
            yield flat[start : start + length]
        left = flat[whole:].copy()
    if left.size:
        yield left


def floats(rows: Rows, dtype: str) -> Floats:
    """The values as a flat array of numbers, a complex value as its two parts; not a view of the rows.

    Integers of more than 53 bits are rounded.

    Args:
        rows: the bytes of whole values.
        dtype: one for which `is_numeric` holds.
    """
    flat = rows.reshape(-1)
    if dtype in _NATIVE:
        return flat.view(_NATIVE[dtype]).astype(np.float64)
    if dtype == "bfloat16":
        wide: npt.NDArray[np.uint32] = np.left_shift(flat.view("<u2"), 16, dtype="<u4")
        return wide.view("<f4").astype(np.float64)
    if quantized.is_known(dtype):
        return quantized.values(flat, dtype)
    table = _table(dtype)
    if dtype != _PACKED:
        return table[flat]
    return table[np.stack([flat % _NIBBLE, flat // _NIBBLE], axis=1).reshape(-1)]


def distances(old: Rows, new: Rows, dtype: str) -> Floats:
    """|new - old| of 64-bit integers, exact before it is rounded once.

    Args:
        old: bytes of values.
        new: bytes of as many values.
        dtype: "int64" or "uint64".
    """
    one, two = old.reshape(-1).view(_NATIVE[dtype]), new.reshape(-1).view(_NATIVE[dtype])
    # The bits of a difference of 64-bit integers are right as an unsigned number even where the signed one overflows.
    apart: npt.NDArray[np.uint64] = np.maximum(one, two).view("<u8") - np.minimum(one, two).view("<u8")
    return apart.astype(np.float64)


def count_changed(old: Rows, new: Rows, dtype: str) -> int:
    """The number of values of which any bit differs.

    Args:
        old: the bytes of whole values.
        new: as many.
        dtype: of both; not one of quantized blocks.
    """
    one, two = old.reshape(-1), new.reshape(-1)
    size = tensors.itemsize(dtype)
    if dtype == _PACKED:
        differing = one ^ two
        return int(np.count_nonzero(differing % _NIBBLE) + np.count_nonzero(differing // _NIBBLE))
    word = min(size, 8)
    differs = one.view(f"<u{word}") != two.view(f"<u{word}")
    return int(np.count_nonzero(differs if size == word else differs.reshape(-1, size // word).any(axis=1)))


@cache
def _table(dtype: str) -> Floats:
    """The number that each byte (of float4: each half byte) stands for."""
    import ml_dtypes  # only the small floats need it

    codes = np.arange(_NIBBLE if dtype == _PACKED else 256, dtype=np.uint8)
    kind: Any = getattr(ml_dtypes, dtype)
    with np.errstate(all="ignore"):
        table: Floats = codes.view(kind).astype(np.float64)
    table.flags.writeable = False
    return table
