"""Text for a terminal: pieces with a style, cut to a width, free of what could confuse a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Final

from git_theta import printing
from git_theta.cli.boundary import printable

Text = tuple[tuple[str, str], ...]
"""Pieces of text, each with the name of its style: "" or one of `STYLES`."""

STYLES: Final = {
    "title": "bold",
    "key": "bold",
    "ours": "ansicyan",
    "theirs": "ansimagenta",
    "error": "ansired",
    "dim": "",
}
"""How the styles look on a terminal with colours."""

_PLAIN: Final = str.maketrans({"≈": "~", "…": "..."})


def plain(text: Text) -> str:
    """The text without its styles."""
    return "".join(piece for _, piece in text)


def lines(*texts: Text) -> Text:
    """Each text on a line of its own."""
    return tuple(piece for text in texts for piece in (*text, ("", "\n")))


def line(*pieces: str | tuple[str, str]) -> Text:
    """A text of pieces; strings have no style."""
    return tuple(("", piece) if isinstance(piece, str) else piece for piece in pieces)


def wrapped(text: str, width: int, indent: str = "  ", style: str = "") -> tuple[Text, ...]:
    """A paragraph as lines of at most so many columns."""
    found = textwrap.wrap(
        text,
        max(width, 12),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return tuple(line((style, part)) for part in found)


def cut(text: str, width: int) -> str:
    """What a repository says, on one line of at most so many columns: control characters escaped, the end cut off."""
    clean = printable(text)
    if printing.width(clean) <= width:
        return clean
    return printing.within(clean, max(width, 1) - 1) + printing.ELLIPSIS


def pad(text: str, width: int) -> str:
    """The text with spaces up to a width."""
    return text + " " * max(0, width - printing.width(text))


def for_encoding(text: str, encoding: str) -> str:
    """The text as a terminal of this encoding can show it."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN)
    return text


def listed(names: Iterable[str], style: str = "key") -> Text:
    """Names, separated by two spaces."""
    pieces: list[tuple[str, str]] = []
    for name in names:
        pieces += [("", "  "), (style, name)]
    return tuple(pieces[1:])
