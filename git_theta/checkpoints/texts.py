"""Short texts of the values beside the groups, for people who compare two files."""

from __future__ import annotations

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
