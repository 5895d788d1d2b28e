"""Signatures of groups: what the distance of two versions is estimated from. `lsh` makes them.

A signature stands in the metadata file as text of one canonical form.
"""

from __future__ import annotations

import base64
import math
from typing import Final, TypeAlias

Signature: TypeAlias = tuple[int, ...]
"""The numbers of 16 buckets, each of less than 63 bits and a sign."""

PROJECTIONS: Final = 16
WIDTH: Final = 1e-8
"""The width of a bucket, in the unit of the values."""
LIMIT: Final = 2**63
"""Bucket numbers are smaller, and larger than its negative."""


def distance(a: Signature, b: Signature) -> float:
    """The estimated Euclidean distance of the values of two groups of one shape and dtype.

    It is the root mean square of the projections' differences; its standard error is 18 %. That bucket numbers are
    whole adds 1/6 to their mean square if the groups are more than half a bucket apart; if they are nearer, the mean
    square grows in proportion to the distance. Both cases meet smoothly at 0.4 buckets with 1 / (2 pi) for the 1/6.

    Returns:
        The distance, in the unit of the values; 0.0 if, and only if, the signatures are equal.

    Raises:
        ValueError: one has other than 16 buckets.
    """
    if len(a) != PROJECTIONS or len(b) != PROJECTIONS:
        raise ValueError(f"a signature has {PROJECTIONS} buckets")
    square = sum((one - other) ** 2 for one, other in zip(a, b, strict=True)) / PROJECTIONS
    if square < 1 / math.pi:
        return WIDTH * square * math.sqrt(math.pi / 2)
    return WIDTH * math.sqrt(square - 1 / (2 * math.pi))


def encode(signature: Signature) -> str:
    """The signature as text: its numbers, big-endian in as few bytes as the largest needs, in base64 without padding.

    Raises:
        ValueError: it has other than 16 numbers, or one of more than 63 bits.
    """
    if len(signature) != PROJECTIONS or not -LIMIT < min(signature) <= max(signature) < LIMIT:
        raise ValueError(f"a signature has {PROJECTIONS} buckets with numbers of at most 63 bits")
    size = _size(signature)
    return _text(b"".join([bucket.to_bytes(size, "big", signed=True) for bucket in signature]))


def decode(text: str) -> Signature:
    """The signature that `encode` wrote as this text.

    Raises:
        ValueError: `encode` writes no such text.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    size = len(raw) // PROJECTIONS
    if not 1 <= size <= 8 or len(raw) != size * PROJECTIONS:
        raise ValueError(f"a signature cannot have {len(raw)} bytes")
    signature = tuple(
        [int.from_bytes(raw[start : start + size], "big", signed=True) for start in range(0, len(raw), size)]
    )
    if _size(signature) != size or -LIMIT in signature or _text(raw) != text:
        raise ValueError("the signature is not written in the one way that is allowed")
    return signature


def _size(signature: Signature) -> int:
    """The bytes that the largest of the numbers needs, with a bit more for the sign."""
    # A negative number is told by its complement: -128 fits in a byte.
    return max(*signature, ~min(signature)).bit_length() // 8 + 1


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
