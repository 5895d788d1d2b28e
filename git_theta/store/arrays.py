"""Read the arrays in objects: large ones in blocks, those that many groups share through a small memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import numpy as np

from git_theta.errors import CorruptObjectError
from git_theta.metadata import ObjectRef
from git_theta.store.objects import ObjectStore
from git_theta.store.serialize import Buffers, Reader, Rows

SHARED_BYTES: Final = 1 << 22
"""Objects that several groups share hold no more bytes of values than this."""

AHEAD: Final = 4
"""Blocks that may be asked for before the first of them is used; a block's rows are lost when more are."""

_KEPT: Final = 4


class Block(Protocol):
    """Rows that are here, or are on their way."""

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""

    def result(self) -> Rows:
        """The rows, an array of shape (rows, itemsize) and dtype uint8.

        Raises:
            CorruptObjectError: they cannot be decoded.
        """


class Ready:
    """Rows that are here."""

    def __init__(self, rows: Rows) -> None:
        """Args: rows: an array of shape (rows, itemsize)."""
        self._rows = rows
        self.nbytes = rows.nbytes

    def result(self) -> Rows:
        """The rows."""
        return self._rows


class Arrays:
    """The arrays of a store's objects."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._idle: list[Buffers] = []
        self._shared: OrderedDict[str, Rows] = OrderedDict()

    @contextmanager
    def buffers(self) -> Iterator[Buffers]:
        """Buffers for one sequence of blocks; another sequence that is read at the same time has others."""
        mine = self._idle.pop() if self._idle else Buffers(AHEAD + 2)
        try:
            yield mine
        finally:
            self._idle.append(mine)

    def blocks(self, ref: ObjectRef, nbytes: int) -> Iterator[Block]:
        """So many bytes of an object's array from the row `ref.start` on, block by block, decoded in the background.

        A block's rows are lost when more than AHEAD further blocks have been asked for.

        Raises:
            ObjectError: the object is missing or damaged.
        """
        if ref.oid in self._shared:
            yield Ready(_rows(self._shared[ref.oid], ref.start, nbytes))
            return
        with self.store.open(ref) as file:
            reader = Reader(file)
            if reader.rows * reader.itemsize <= SHARED_BYTES:
                self._shared[ref.oid] = np.concatenate(
                    [block.result().copy() for block in reader.blocks(0, reader.rows, Buffers(1))]
                )
                if len(self._shared) > _KEPT:
                    self._shared.popitem(last=False)
                yield Ready(_rows(self._shared[ref.oid], ref.start, nbytes))
                return
            count, rest = divmod(nbytes, reader.itemsize)
            if rest:
                raise CorruptObjectError(f"its elements have {reader.itemsize} bytes, which do not divide {nbytes}")
            with self.buffers() as buffers:
                yield from reader.blocks(ref.start, ref.start + count, buffers)


def _rows(array: Rows, start: int, nbytes: int) -> Rows:
    count, rest = divmod(nbytes, array.shape[1])
    if rest or start + count > len(array):
        raise CorruptObjectError(f"it has no {nbytes} bytes from row {start} on")
    return array[start : start + count]
