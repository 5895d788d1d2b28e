"""Where the keys of a TOML file stand, so that an error can name line and column.

`tomllib` says where the syntax is broken, but not where a key of a sound file came from. The text is one that
`tomllib` has read without an error; this reads no more of it than it takes to find the keys.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

from msgspec import Struct, field

Path = tuple[str | int, ...]
"""Keys from the top; the elements of arrays are numbered from 0."""

_KEY: Final = re.compile(r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')""")
_DOT: Final = re.compile(r"[ \t]*\.[ \t]*")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING: Final = re.compile(
    r"""
    \"{3} (?:[^\\]|\\.)*? \"{3,5}
    | '{3} .*? '{3,5}
    | " (?:[^"\\]|\\.)* "
    | ' [^']* '
    """,
    re.DOTALL | re.VERBOSE,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


def places(text: str) -> dict[Path, tuple[int, int]]:
    """Line and column (from 1) of each key, and of each element of an array."""
    scan = _Scan(text)
    scan.document()
    return {path: _line_and_column(text, offset) for path, offset in scan.found.items()}


def end(text: str) -> tuple[int, int]:
    """Line and column (from 1) behind the last character."""
    return _line_and_column(text, len(text))


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


class _Scan(Struct):
    """Reads the text from front to back."""

    text: str
    position: int = 0
    found: dict[Path, int] = field(default_factory=dict)
    tables: dict[Path, int] = field(default_factory=dict)

    def document(self) -> None:
        """All tables."""
        table: Path = ()
        self._skip(_BLANK)
        while self.position < len(self.text):
            if self._take("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`, behind the first bracket; the path of the table that begins."""
        is_array = self._take("[")
        keys = self._keys()
        self._take("]]" if is_array else "]")
        path: Path = ()
        for number, (key, offset) in enumerate(keys):
            path = (*path, key)
            self.found.setdefault(path, offset)
            if number == len(keys) - 1 and is_array:
                self.tables[path] = self.tables.get(path, -1) + 1
            if path in self.tables:
                path = (*path, self.tables[path])
                self.found.setdefault(path, offset)
        return path

    def _pair(self, table: Path) -> None:
        """`a.b = value`."""
        path = table
        for key, offset in self._keys():
            path = (*path, key)
            self.found.setdefault(path, offset)
        self._skip(_BLANK)
        self._take("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        if self._take("["):
            self._elements(path)
        elif self._take("{"):
            self._skip(_BLANK)
            while not self._take("}"):
                self._pair(path)
                self._comma()
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _elements(self, path: Path) -> None:
        number = 0
        self._skip(_BLANK)
        while not self._take("]"):
            self.found[(*path, number)] = self.position
            self._value((*path, number))
            self._comma()
            number += 1

    def _comma(self) -> None:
        self._skip(_BLANK)
        self._take(",")
        self._skip(_BLANK)

    def _keys(self) -> list[tuple[str, int]]:
        """The parts of a dotted key, and where each begins."""
        parts = []
        self._skip(_BLANK)
        while True:
            start = self.position
            word = self._skip(_KEY)
            parts.append((next(iter(tomllib.loads(f"{word} = 0"))), start))
            if not self._skip(_DOT):
                self._skip(_BLANK)
                return parts

    def _take(self, mark: str) -> bool:
        if self.text.startswith(mark, self.position):
            self.position += len(mark)
            return True
        return False

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.position)
        if found is None:
            return ""
        self.position = found.end()
        return found[0]
