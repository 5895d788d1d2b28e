"""Random access to the bytes of a file, by reading and never by mapping.

A mapped file that somebody truncates kills the process that reads it (SIGBUS); a read merely comes back short.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from git_theta.errors import ChangedWhileReadingError

BLOCK: Final = 1 << 20


class Source(Protocol):
    """Bytes that can be read at any place."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop, all of them.

        Raises:
            ChangedWhileReadingError: the file has become shorter than its size was.
        """


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop."""
        return self._data[start:stop]


class HollowSource:
    """A file of which only a part is known; zeros stand for the rest."""

    def __init__(self, known: bytes, holes: Iterable[tuple[int, int]]) -> None:
        """Known: the bytes outside of the holes, joined. Holes: start in the file and size, in file order."""
        self._known = known
        self._starts = [0]
        self._places = [0]
        self._lengths: list[int] = []
        for start, nbytes in holes:
            self._lengths.append(start - self._starts[-1])
            self._places.append(self._places[-1] + self._lengths[-1])
            self._starts.append(start + nbytes)
        self._lengths.append(len(known) - self._places[-1])
        self.size = self._starts[-1] + self._lengths[-1]

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop."""
        data = bytearray(stop - start)
        index = bisect.bisect_right(self._starts, start) - 1
        while index < len(self._starts) and self._starts[index] < stop:
            begin = self._starts[index]
            low, high = max(start, begin), min(stop, begin + self._lengths[index])
            if low < high:
                place = self._places[index] - begin
                data[low - start : high - start] = self._known[place + low : place + high]
            index += 1
        return bytes(data)


class FileSource:
    """An open regular file, as large as it was when this was made. The descriptor stays the caller's."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop.

        Raises:
            ChangedWhileReadingError: the file has become shorter than its size was.
        """
        data = os.pread(self.descriptor, stop - start, start)
        while len(data) < stop - start:
            more = os.pread(self.descriptor, stop - start - len(data), start + len(data))
            if not more:
                raise ChangedWhileReadingError("the file was truncated while it was read")
            data += more
        return data


def blocks(source: Source, start: int, stop: int, size: int = BLOCK) -> Iterator[bytes]:
    """The bytes from start up to stop, in blocks of the given size (the last may be shorter)."""
    for position in range(start, stop, size):
        yield source.read(position, min(stop, position + size))
