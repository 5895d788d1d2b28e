"""Short texts of the values beside the groups, for people who compare two files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blake3 import blake3

MAX_VALUES: Final = 10_000
"""No more texts than these are made of one file."""

MAX_TEXT: Final = 200
"""No text is longer than this."""


def quoted(text: str) -> str:
    """The text in quotes, with what cannot be printed escaped; of a long one the beginning, and a digest of all."""
    shown = repr(text[:MAX_TEXT])
    if len(text) <= MAX_TEXT and len(shown) <= MAX_TEXT:
        return shown
    digest = blake3(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{shown[: MAX_TEXT - 20]}... ({digest})"


def place_like(key: str, keys: Sequence[str], elsewhere: Sequence[str]) -> int:
    """Where a key that is taken from elsewhere belongs among others: behind the one that it follows there.

    Args:
        key: that is taken; one of those elsewhere.
        keys: those that it comes to.
        elsewhere: those that it comes from.
    """
    known = {other: place for place, other in enumerate(keys)}
    before = elsewhere[: elsewhere.index(key)]
    return next((known[other] + 1 for other in reversed(before) if other in known), 0)
