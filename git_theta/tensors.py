"""What everybody knows about a parameter group's values: dtypes, sizes, names and digests.

A group's values are identified by dtype, shape and digest. The dtype names are NumPy's and, beyond NumPy, those of the
ml_dtypes package, so that the same values have the same identity in every checkpoint format.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from blake3 import blake3

DTYPE_BITS: Final[dict[str, int]] = {
    "bool": 8,
    "uint8": 8,
    "int8": 8,
    "uint16": 16,
    "int16": 16,
    "uint32": 32,
    "int32": 32,
    "uint64": 64,
    "int64": 64,
    "float16": 16,
    "bfloat16": 16,
    "float32": 32,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2": 8,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
    "float4_e2m1fn": 4,
}
"""Bits of one element. Elements of less than a byte lie packed, in the order of the file they came from."""

MAX_BYTES: Final = 2**62
"""No group and no file is larger; sizes above are taken for an attack or a typing error."""

MAX_RANK: Final = 64


def nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes that a group of this dtype and shape occupies.

    Raises:
        ValueError: the dtype is unknown, the shape is absurd, or the elements do not fill whole bytes.
    """
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        raise ValueError(f"unknown dtype {dtype!r}")
    if len(shape) > MAX_RANK or any(not 0 <= extent < MAX_BYTES for extent in shape):
        raise ValueError(f"impossible shape {list(shape)[:8]}")
    total = bits * math.prod(shape)
    if total % 8 or total > 8 * MAX_BYTES:
        raise ValueError(f"a group of shape {list(shape)[:8]} and dtype {dtype} cannot be stored")
    return total // 8


def itemsize(dtype: str) -> int:
    """Bytes between two elements; 1 where several elements share a byte."""
    return max(1, DTYPE_BITS[dtype] // 8)


def join_name(keys: Iterable[str]) -> str:
    """The group's name for a path of keys: joined by "/", with the escapes of JSON Pointer (RFC 6901, section 3)."""
    return "/".join(key.replace("~", "~0").replace("/", "~1") for key in keys)


def split_name(name: str) -> tuple[str, ...]:
    """The path of keys that `join_name` made the name from."""
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in name.split("/"))


def digest(values: bytes | bytearray | memoryview) -> str:
    """BLAKE3 digest, in hexadecimal, of values given as little-endian C-order bytes."""
    return blake3(values).hexdigest()
