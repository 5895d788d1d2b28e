"""Short texts of the values beside the groups, for people who compare two files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from git_theta.sources import Source, blocks

MAX_VALUES: Final = 10_000
"""No more texts than these are made of one file."""

MAX_PAIRS: Final = 1 << 16
"""The same of a file that has them in one list of keys, which is read as a whole anyway."""

MAX_TEXT: Final = 200
"""No text is longer than this."""

SHOWN_BYTES: Final = 1000
"""Bytes of UTF-8 that are read of a text: more than the characters that are shown of it take."""

_DIGITS: Final = 8


def quoted(text: str) -> str:
    """The text in quotes, with what cannot be printed escaped; of a long one the beginning, and a digest of all."""
    shown = repr(text[:MAX_TEXT])
    is_whole = len(text) <= MAX_TEXT and len(shown) <= MAX_TEXT
    return shown if is_whole else with_digest(shown, _digest(text))


def quoted_beginning(data: bytes, nbytes: int) -> tuple[str, bool]:
    """The beginning of a text, quoted as `quoted` does it, and whether that is all of the text.

    Args:
        data: the first of its bytes, in UTF-8; all of them, or SHOWN_BYTES.
        nbytes: of the whole text.
    """
    text = data.decode("utf-8", "replace")
    shown = repr(text[:MAX_TEXT])
    return shown, len(data) == nbytes and len(text) <= MAX_TEXT and len(shown) <= MAX_TEXT


def cut(text: str) -> str:
    """The text; of a long one the beginning, and a digest of all."""
    return text if len(text) <= MAX_TEXT else with_digest(text, _digest(text))


def with_digest(shown: str, digest: str) -> str:
    """What is shown of a value, which is not all of it, and what tells it from others of which the same is shown.

    Args:
        shown: a text of any length.
        digest: of the whole value, in hexadecimal.
    """
    room = MAX_TEXT - _DIGITS - len(" ()")
    return f"{shown if len(shown) <= room else f'{shown[: MAX_TEXT - 20]}...'} ({digest[:_DIGITS]})"


def digest_of(source: Source, start: int, stop: int) -> str:
    """BLAKE3 of the bytes from start up to stop, in hexadecimal."""
    hasher = blake3()
    for block in blocks(source, start, stop):
        hasher.update(block)
    return hasher.hexdigest()


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


def ordered_like(keys: Sequence[str], elsewhere: Sequence[str]) -> list[str]:
    """Keys in the order that they have elsewhere; those that are not there stay behind the ones that they follow."""
    known = {key: place for place, key in enumerate(elsewhere)}
    ranks: dict[str, int] = {}
    place = -1
    for key in keys:
        place = ranks[key] = known.get(key, place)
    return sorted(keys, key=ranks.__getitem__)


def _digest(text: str) -> str:
    return blake3(text.encode("utf-8", "backslashreplace")).hexdigest()
