"""The lines that git writes above the diff of a file (git-diff(1), "generating patch text")."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

PREFIXES: Final = ("a/", "b/")
"""What git puts before the paths of the old and the new side."""

DIGITS: Final = 7
"""How many digits of a blob's name git shows in a small repository."""

_ABSENT: Final = "/dev/null"
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]+")
_ESCAPES: Final = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


class FileSide(Struct, frozen=True):
    """One side of the diff of a file.

    Attributes:
        path: from the top of the worktree, decoded as file names are.
        mode: as git writes it ("100644"); None if there is no file.
        oid: of the blob, in hexadecimal; zeros or "" if it is not known.
    """

    path: str
    mode: str | None
    oid: str = ""

    @property
    def is_named(self) -> bool:
        """Whether the blob's name is known."""
        return bool(self.oid.strip("0"))


def head_lines(
    old: FileSide,
    new: FileSide,
    more: Iterable[str] | None = None,
    prefixes: tuple[str, str] = PREFIXES,
    digits: int = DIGITS,
) -> Iterator[str]:
    """The lines from "diff --git" to "index"; without line breaks.

    Args:
        old: the side before.
        new: the side after.
        more: what comes after the modes, if git said it: that a file was renamed, and the names of the blobs.
        prefixes: what stands before the paths.
        digits: how many of the blobs' names are shown.
    """
    yield f"diff --git {quoted(prefixes[0] + old.path)} {quoted(prefixes[1] + new.path)}"
    if old.mode is None:
        yield f"new file mode {new.mode}"
    elif new.mode is None:
        yield f"deleted file mode {old.mode}"
    elif old.mode != new.mode:
        yield f"old mode {old.mode}"
        yield f"new mode {new.mode}"
    yield from [*index_lines(old, new, digits)] if more is None else more


def rename_lines(old: FileSide, new: FileSide, similarity: int, digits: int = DIGITS) -> Iterator[str]:
    """What git says of a renamed file; similarity in percent."""
    yield f"similarity index {similarity}%"
    yield f"rename from {quoted(old.path)}"
    yield f"rename to {quoted(new.path)}"
    yield from index_lines(old, new, digits)


def index_lines(old: FileSide, new: FileSide, digits: int) -> Iterator[str]:
    """The line that names the blobs, if they differ."""
    if old.oid != new.oid:
        kept = f" {new.mode}" if old.mode == new.mode else ""
        length = min(digits, max(len(old.oid), len(new.oid), DIGITS))
        yield f"index {_short(old, length)}..{_short(new, length)}{kept}"


def differ_line(old: FileSide, new: FileSide, prefixes: tuple[str, str] = PREFIXES) -> str:
    """What git says of files that it cannot show. `git apply` knows it, and refuses to apply what follows it."""
    before = _ABSENT if old.mode is None else quoted(prefixes[0] + old.path)
    after = _ABSENT if new.mode is None else quoted(prefixes[1] + new.path)
    return f"Binary files {before} and {after} differ"


def quoted(path: str) -> str:
    """A path as git writes it: in quotes and with escapes if it has anything but plain ASCII (core.quotePath)."""
    data = os.fsencode(path)
    if _PLAIN.fullmatch(data):
        return path
    return '"' + "".join(map(_escaped, data)) + '"'


def _escaped(byte: int) -> str:
    if byte in _ESCAPES:
        return f"\\{_ESCAPES[byte]}"
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def _short(side: FileSide, length: int) -> str:
    """The beginning of the blob's name; zeros if there is none."""
    return (side.oid if side.mode is not None else "").ljust(length, "0")[:length]
