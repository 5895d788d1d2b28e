"""Text for a terminal: nothing in it that controls one, how many columns it takes, and of long lists the beginning."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Final

ELLIPSIS: Final = "…"
"""Stands for what was left out."""


def printable(text: str) -> str:
    """The text with every control character escaped: names in a repository may hold what confuses a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def group_name(name: str) -> str:
    """The name of a group in print; in quotes where nobody would see it, as the empty one of a lone array of Flax."""
    shown = printable(name)
    return shown if shown and shown == shown.strip() else f'"{shown}"'


def width(text: str) -> int:
    """The columns that printable text takes: two for wide characters, none for marks on the one before."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def shortened(text: str, columns: int) -> str:
    """The text in at most so many columns (at least 1); what is too long loses its middle."""
    if width(text) <= columns:
        return text
    tail = within(text[::-1], (columns - 1) // 2)[::-1]
    head = within(text, columns - 1 - width(tail))
    return head + ELLIPSIS + tail


def listed(items: Sequence[str], most: int = 5) -> str:
    """Items of a message, in one line; of many only the first, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def within(text: str, columns: int) -> str:
    """The beginning of a text that takes at most so many columns."""
    used = 0
    for place, char in enumerate(text):
        used += _width(char)
        if used > columns:
            return text[:place]
    return text


@cache
def _width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
