"""Read the arrays in objects: large ones in blocks, those that many groups share through a small memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
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

    def result(self) -> Rows:
        """The rows, an array of shape (rows, itemsize) and dtype uint8.

        Raises:
            CorruptObjectError: they cannot be decoded.
        """


class _Ready:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def result(self) -> Rows:
        return self._rows


class Arrays:
    """The arrays of a store's objects."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._buffers = Buffers(AHEAD + 2)
        self._shared: OrderedDict[str, Rows] = OrderedDict()

    def blocks(self, ref: ObjectRef, nbytes: int) -> Iterator[Block]:
        """So many bytes of an object's array from the row `ref.start` on, block by block, decoded in the background.

        A block's rows are lost when more than AHEAD further blocks have been asked for.

        Raises:
            ObjectError: the object is missing or damaged.
        """
        if ref.oid in self._shared:
            yield _Ready(_rows(self._shared[ref.oid], ref.start, nbytes))
            return
        with self.store.open(ref) as file:
            reader = Reader(file)
            if reader.rows * reader.itemsize <= SHARED_BYTES:
                self._shared[ref.oid] = np.concatenate(
                    [block.result().copy() for block in reader.blocks(0, reader.rows, Buffers(1))]
                )
                if len(self._shared) > _KEPT:
                    self._shared.popitem(last=False)
                yield _Ready(_rows(self._shared[ref.oid], ref.start, nbytes))
                return
            count, rest = divmod(nbytes, reader.itemsize)
            if rest:
                raise CorruptObjectError(f"its elements have {reader.itemsize} bytes, which do not divide {nbytes}")
            yield from reader.blocks(ref.start, ref.start + count, self._buffers)


def _rows(array: Rows, start: int, nbytes: int) -> Rows:
    count, rest = divmod(nbytes, array.shape[1])
    if rest or start + count > len(array):
        raise CorruptObjectError(f"it has no {nbytes} bytes from row {start} on")
    return array[start : start + count]
