"""Random access to the bytes of a file, by reading and never by mapping.

A mapped file that somebody truncates kills the process that reads it (SIGBUS); a read merely comes back short.
"""

from __future__ import annotations

import bisect
import os
import time
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from msgspec import Struct

from git_theta.errors import ChangedWhileReadingError

BLOCK: Final = 1 << 20

_TICK: Final = 100_000_000
_COARSE_TICK: Final = 3_000_000_000
"""Nanoseconds in which a file may change twice and have one time: more than the 10 ms of Linux, and the 2 s of FAT."""

_FINE: Final = 1_000_000
"""A time that is a multiple of this comes from a file system that may know no finer ones."""


class Source(Protocol):
    """Bytes that can be read at any place."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop, all that there are: what would lie beyond the end is left out.

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
        stop = min(stop, self.size)
        data = bytearray(max(0, stop - start))
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
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        data = os.pread(self.descriptor, stop - start, start)
        while len(data) < stop - start:
            more = os.pread(self.descriptor, stop - start - len(data), start + len(data))
            if not more:
                raise ChangedWhileReadingError("the file was truncated while it was read")
            data += more
        return data


class FileState(Struct, frozen=True):
    """What tells whether a file is still the one that was read, and has not been written to.

    Attributes:
        file: device, inode and size.
        modified: when, in nanoseconds.
        changed: when anything about it changed, in nanoseconds; programs cannot set this time.
    """

    file: tuple[int, int, int]
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """That of a file, from stat(2)."""
        file = (status.st_dev, status.st_ino, status.st_size)
        return cls(file, status.st_mtime_ns, status.st_ctime_ns)

    def is_settled(self) -> bool:
        """Whether it is so old that whatever is written from now on shows in it."""
        tick = _TICK if self.modified % _FINE and self.changed % _FINE else _COARSE_TICK
        return time.time_ns() - max(self.modified, self.changed) > tick


def blocks(source: Source, start: int, stop: int, size: int = BLOCK) -> Iterator[bytes]:
    """The bytes from start up to stop, in blocks of the given size (the last may be shorter)."""
    for position in range(start, stop, size):
        yield source.read(position, min(stop, position + size))
