"""The values that are merged: read block by block or whole, always verified, and typed as NumPy knows them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.metadata import Entry
from git_theta.store.rows import Rows
from git_theta.updates import Group
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.plans import Base, Stored
from git_theta.updates.reading import Readers
from git_theta.updates.versions import Versions

Array = npt.NDArray[Any]


class Inputs(Struct, frozen=True):
    """Reads the groups of the versions that are merged. For several threads.

    Attributes:
        path: of the checkpoint, for messages.
        readers: give the values.
    """

    path: str
    readers: Readers

    def rows(self, entry: Entry) -> Iterator[Rows]:
        """The values in blocks of shape (elements, itemsize), each gone when the next comes.

        Raises:
            CorruptObjectError: they cannot be had, or are not the ones that the metadata file promises, which shows
                after the last block.
        """
        stored = Stored(Group(entry.dtype, entry.shape), Base(entry.update, entry.digest))
        try:
            yield from stored.rows(self.readers.mine())
        except UnusableBaseError as error:
            raise self._unreadable([entry], error) from error

    def side_by_side(self, entries: Sequence[Entry]) -> Iterator[tuple[Rows, ...]]:
        """The values of several versions of a group, block by block; what they build on together is read once.

        Args:
            entries: of as many elements each.

        Raises:
            CorruptObjectError: as `rows`.
        """
        if not entries[0].nbytes or len({(entry.dtype, entry.shape) for entry in entries}) > 1:
            yield from zip(*(self.rows(entry) for entry in entries), strict=True)
            return
        reader, first = self.readers.mine(), entries[0]
        bases = [Base(entry.update, entry.digest) for entry in entries]
        try:
            yield from Versions(Group(first.dtype, first.shape), bases, reader).rows(reader, *range(len(bases)))
        except UnusableBaseError as error:
            raise self._unreadable(entries, error) from error

    def raw(self, entry: Entry) -> Rows:
        """All values as rows of bytes: shape (elements, itemsize).

        Raises:
            CorruptObjectError: as `rows`.
        """
        size = tensors.itemsize(entry.dtype)
        whole = np.empty((entry.nbytes // size, size), np.uint8)
        _join(((block,) for block in self.rows(entry)), [whole])
        return whole

    @contextmanager
    def all_raw(self, entries: Sequence[Entry], room: Room) -> Iterator[list[Rows]]:
        """The same for several versions of a group, in memory that others have when the context ends.

        Raises:
            CorruptObjectError: as `rows`.
        """
        with room.lent([entry.nbytes for entry in entries]) as memory:
            sizes = [tensors.itemsize(entry.dtype) for entry in entries]
            whole = [data.reshape(-1, size) for data, size in zip(memory, sizes, strict=True)]
            _join(self.side_by_side(entries), whole)
            yield whole

    def _unreadable(self, entries: Sequence[Entry], error: UnusableBaseError) -> CorruptObjectError:
        """The error to raise where one of some versions of a group cannot be read."""
        ref = self.readers.suspect(ref for entry in entries for ref in entry.update.objects())
        what = f": object {ref.oid} cannot be used" if ref else " cannot be read"
        return CorruptObjectError(
            f"{self.path}: group {entries[0].name!r}{what}: {error}; 'git theta fetch --verify' may help"
        )


class Room:
    """Memory for whole groups that is used again: fresh pages take longer to get than to fill. For several threads."""

    def __init__(self, limit: int) -> None:
        """Args: limit: bytes that are held for later at the most."""
        self._limit = limit
        self._free: list[Rows] = []
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, sizes: Sequence[int]) -> Iterator[list[Rows]]:
        """Flat arrays of so many bytes each, until the context ends."""
        taken = [self._taken(size) for size in sizes]
        try:
            yield [whole[:size] for whole, size in zip(taken, sizes, strict=True)]
        finally:
            with self._lock:
                for whole in taken:
                    if sum(free.nbytes for free in self._free) + whole.nbytes <= self._limit:
                        self._free.append(whole)

    def _taken(self, size: int) -> Rows:
        """The smallest that is large enough, or a new one."""
        with self._lock:
            fitting = [number for number, free in enumerate(self._free) if free.nbytes >= size]
            if fitting:
                return self._free.pop(min(fitting, key=lambda number: self._free[number].nbytes))
        return np.empty(size, np.uint8)


def _join(blocks: Iterator[tuple[Rows, ...]], whole: Sequence[Rows]) -> None:
    """Blocks of several versions, laid end to end."""
    position = 0
    for parts in blocks:
        for out, part in zip(whole, parts, strict=True):
            out[position : position + len(part)] = part
        position += len(parts[0])


def typed(rows: Rows, dtype: str) -> Array:
    """Rows of bytes as a flat array of their values; a view."""
    # Imported for its effect: NumPy knows the dtypes by name from then on.
    import ml_dtypes

    return rows.reshape(-1).view(np.dtype(getattr(ml_dtypes, dtype, dtype)).newbyteorder("<"))
