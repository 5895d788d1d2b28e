"""Reads the bytes of a pickle piece by piece, and counts what it costs to walk it."""

from __future__ import annotations

from typing import Final

from git_theta.errors import NotThisFormatError
from git_theta.sources import Source

_WINDOW: Final = 1 << 16
_MAX_LINE: Final = 1 << 12
_LINE: Final = 16
_FUEL: Final = 1 << 27
_FILE_PER_FUEL: Final = 16
_MAX_SHARE: Final = 1 << 30


class Fuel:
    """What walking the pickles of one file may cost, roughly in bytes of memory; an opcode costs 64 at least.

    That bounds memory and time together: a file of any size can have a pickle of 128 MiB of objects, which suffices for
    25,000 tensors, and a very large file, which may well have more, a sixteenth of its size beyond (1 GiB at most).
    """

    def __init__(self, file_size: int) -> None:
        self._left = _FUEL + min(file_size // _FILE_PER_FUEL, _MAX_SHARE)

    def burn(self, amount: int) -> None:
        """Use some of it.

        Raises:
            NotThisFormatError: nothing is left.
        """
        self._left -= amount
        if self._left < 0:
            raise NotThisFormatError("its pickle is too large to walk")


class PickleReader:
    """Reads from a place of a source onwards, with a window that moves."""

    def __init__(self, source: Source, start: int, stop: int, fuel: Fuel) -> None:
        self._source = source
        self._stop = stop
        self._fuel = fuel
        self._base = start
        self._buffer = b""
        self._at = 0

    @property
    def position(self) -> int:
        """Where the next unread byte lies."""
        return self._base + self._at

    def _take(self, count: int) -> bytes:
        stop = self._at + count
        if stop > len(self._buffer):
            self._refill(count)
            stop = count
        data = self._buffer[self._at : stop]
        self._at = stop
        return data

    def _refill(self, count: int) -> None:
        base = self.position
        if base + count > self._stop:
            raise NotThisFormatError("its pickle is cut off")
        self._buffer = self._source.read(base, min(self._stop, base + max(count, _WINDOW)))
        self._base, self._at = base, 0

    def _skip(self, count: int) -> None:
        if self.position + count > self._stop:
            raise NotThisFormatError("its pickle is cut off")
        self._base, self._at, self._buffer = self.position + count, 0, b""

    def _line(self) -> str:
        if self._buffer.find(b"\n", self._at) < 0:
            self._refill(min(_MAX_LINE, self._stop - self.position))
        stop = self._buffer.index(b"\n", self._at)
        if stop - self._at > _MAX_LINE:
            raise ValueError("a line is too long")
        data = self._take(stop - self._at + 1)
        self._fuel.burn(_LINE * len(data))
        return visible(data[:-1])

    def _number(self, size: int) -> int:
        at = self._at
        self._at = stop = at + size
        if stop > len(self._buffer):
            self._at = at
            return int.from_bytes(self._take(size), "little")
        return self._buffer[at] if size == 1 else int.from_bytes(self._buffer[at:stop], "little")


def visible(data: bytes) -> str:
    """UTF-8 as text; lone surrogates, which Python writes into pickles, become escapes: names cannot have them."""
    return data.decode("utf-8", "backslashreplace")
