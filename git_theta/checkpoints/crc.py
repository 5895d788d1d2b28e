"""CRC-32 of two pieces of bytes laid end to end, from the checksums of both: no byte is read again.

A checksum is the remainder of a polynomial over the field of two elements; to append n bytes is to multiply by
x to the power of 8n, before what is appended is added.
"""

from __future__ import annotations

from functools import cache
from typing import Final

_POLYNOMIAL: Final = 0xEDB88320
"""That of zip files. The highest bit is the coefficient of 1, the lowest that of x to the power of 31."""

_ONE: Final = 1 << 31
_X: Final = 1 << 30


def combined(first: int, second: int, nbytes: int) -> int:
    """The CRC-32 of two pieces, from that of the first, that of the second, and the bytes of the second."""
    return _product(_power(8 * nbytes), first) ^ second if first else second


def without(first: int, both: int, nbytes: int) -> int:
    """The CRC-32 of the second of two pieces, from that of the first, that of both, and the bytes of the second."""
    return combined(first, both, nbytes)


def _power(exponent: int) -> int:
    """X to the power of a number."""
    found, bit = _ONE, 0
    while exponent:
        if exponent & 1:
            found = _product(_square(bit), found)
        exponent >>= 1
        bit += 1
    return found


@cache
def _square(times: int) -> int:
    """X, squared so many times."""
    if not times:
        return _X
    root = _square(times - 1)
    return _product(root, root)


def _product(one: int, other: int) -> int:
    """The product of two polynomials, as a remainder."""
    found = 0
    for bit in range(31, -1, -1):
        if one >> bit & 1:
            found ^= other
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return found
