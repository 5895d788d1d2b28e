"""What everybody knows about a parameter group's values: dtypes, sizes, names and digests.

A group's values are identified by dtype, shape and digest. The dtype names are NumPy's and, beyond NumPy, those of the
ml_dtypes package, so that the same values have the same identity in every checkpoint format. The quantized types of
GGUF have the names that GGML gives them, in lower case.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from blake3 import blake3

BLOCKS: Final[dict[str, tuple[int, int]]] = {
    "bool": (1, 1),
    "uint8": (1, 1),
    "int8": (1, 1),
    "uint16": (1, 2),
    "int16": (1, 2),
    "uint32": (1, 4),
    "int32": (1, 4),
    "uint64": (1, 8),
    "int64": (1, 8),
    "float16": (1, 2),
    "bfloat16": (1, 2),
    "float32": (1, 4),
    "float64": (1, 8),
    "complex64": (1, 8),
    "complex128": (1, 16),
    "float8_e3m4": (1, 1),
    "float8_e4m3": (1, 1),
    "float8_e4m3b11fnuz": (1, 1),
    "float8_e4m3fn": (1, 1),
    "float8_e4m3fnuz": (1, 1),
    "float8_e5m2": (1, 1),
    "float8_e5m2fnuz": (1, 1),
    "float8_e8m0fnu": (1, 1),
    "float6_e2m3fn": (4, 3),
    "float6_e3m2fn": (4, 3),
    "float4_e2m1fn": (2, 1),
    "q1_0": (128, 18),
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "q8_0": (32, 34),
    "q8_1": (32, 40),
    "q2_k": (256, 84),
    "q3_k": (256, 110),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
    "q8_k": (256, 292),
    "iq1_s": (256, 50),
    "iq1_m": (256, 56),
    "iq2_xxs": (256, 66),
    "iq2_xs": (256, 74),
    "iq2_s": (256, 82),
    "iq3_xxs": (256, 98),
    "iq3_s": (256, 110),
    "iq4_nl": (32, 18),
    "iq4_xs": (256, 136),
    "tq1_0": (256, 54),
    "tq2_0": (256, 66),
    "mxfp4": (32, 17),
    "nvfp4": (64, 36),
}
"""Elements of a block, and its bytes. Most dtypes have blocks of one element. Elements of less than a byte lie packed,
in the order of the file they came from; the blocks of GGUF's quantized types hold scales besides."""

MAX_BYTES: Final = 2**62
"""No group and no file is larger; sizes above are taken for an attack or a typing error."""

MAX_RANK: Final = 64

WORKING: Final = {"float16": "<f4", "bfloat16": "<f4", "float32": "<f4", "float64": "<f8"}
"""What is computed in, for each dtype that can be computed with."""


@lru_cache(1 << 12)
def nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes that a group of this dtype and shape occupies.

    Raises:
        ValueError: the dtype is unknown, the shape is absurd, or the elements do not fill whole blocks.
    """
    if dtype not in BLOCKS:
        raise ValueError(f"unknown dtype {dtype!r}")
    elements, size = BLOCKS[dtype]
    if len(shape) > MAX_RANK or any(not 0 <= extent < MAX_BYTES for extent in shape):
        raise ValueError(f"impossible shape {list(shape)[:8]}")
    count, rest = divmod(math.prod(shape), elements)
    if rest or count * size > MAX_BYTES:
        raise ValueError(f"a group of shape {list(shape)[:8]} and dtype {dtype} cannot be stored")
    return count * size


def itemsize(dtype: str) -> int:
    """Bytes of one element; 1 where several elements share a block."""
    elements, size = BLOCKS[dtype]
    return size if elements == 1 else 1


def join_name(keys: Iterable[str]) -> str:
    """The group's name for a path of keys: joined by "/", with the escapes of JSON Pointer (RFC 6901, section 3)."""
    return "/".join(key.replace("~", "~0").replace("/", "~1") for key in keys)


def split_name(name: str) -> tuple[str, ...]:
    """The path of keys that `join_name` made the name from."""
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in name.split("/"))


def is_named(name: str, pattern: str) -> bool:
    """Whether a name fits what a user typed: a pattern of the shell's, or the name itself, which may have brackets.

    Case counts, and "*" crosses dots and slashes.
    """
    return name == pattern or fnmatchcase(name, pattern)


def digest(values: bytes | bytearray | memoryview) -> str:
    """BLAKE3 digest, in hexadecimal, of values given as little-endian C-order bytes."""
    return blake3(values).hexdigest()
