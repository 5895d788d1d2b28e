"""Read the arrays in objects: large ones in blocks, those that many groups share through a small memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Protocol

from msgspec import Struct

from git_theta.errors import CorruptObjectError
from git_theta.metadata import ObjectRef
from git_theta.store.decode import Buffers, Reader
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore

SHARED_BYTES: Final = 1 << 22
"""Objects that several groups share hold no more bytes of values than this."""

AHEAD: Final = 4
"""Blocks that may be asked for before the first of them is used; a block's rows are lost when more are."""

_RING: Final = AHEAD + 2
"""Buffers for a sequence of blocks: those that are ahead, the one that is used, and the one that is asked for."""

READING_BYTES: Final = 1 << 30
"""Memory that one reading of a group may take: kilobytes can hold a chain of updates that would take any amount."""

_KEPT_BYTES: Final = 12 * SHARED_BYTES
"""Such objects that stay in memory: each group of a chain of updates is read from as many as the chain is long."""


class Block(Protocol):
    """Rows that are here, or are made when they are asked for."""

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""

    def result(self) -> memoryview:
        """The bytes of the rows.

        Raises:
            CorruptObjectError: they cannot be decoded.
        """


class Ready:
    """Rows that are here."""

    def __init__(self, rows: bytes | memoryview) -> None:
        """Args: rows: their bytes."""
        self._rows = memoryview(rows)
        self.nbytes = self._rows.nbytes

    def result(self) -> memoryview:
        """The bytes of the rows."""
        return self._rows


class Lease:
    """Buffers for one reading of a group, a ring for each sequence of blocks in it.

    A sequence ends before its last blocks have been used, so none of its buffers is free before the reading is over.
    """

    def __init__(self, idle: list[Buffers], limit: int) -> None:
        """Args: idle: buffers that nobody uses; limit: bytes of memory that the reading may take."""
        self._idle = idle
        self._limit = limit
        self._taken: list[Buffers] = []
        self._nbytes = 0

    def buffers(self, nbytes: int, block_nbytes: int) -> Buffers:
        """Buffers for one sequence of blocks.

        Args:
            nbytes: of the whole sequence.
            block_nbytes: bytes of its largest block.

        Raises:
            CorruptObjectError: the reading would take too much memory.
        """
        self.take(ring_nbytes(nbytes, block_nbytes))
        taken = self._idle.pop() if self._idle else Buffers(_RING)
        self._taken.append(taken)
        return taken

    def take(self, nbytes: int) -> None:
        """Count memory that is needed as long as the group is read.

        Raises:
            CorruptObjectError: the reading would take too much.
        """
        self._nbytes += nbytes
        if self._nbytes > self._limit:
            raise CorruptObjectError(f"what it builds on takes more than {self._limit >> 20} MiB of memory")

    def end(self) -> None:
        """Let others have the buffers. No block is used any more, and none is being written to."""
        self._idle += self._taken
        self._taken = []
        self._nbytes = 0


def ring_nbytes(nbytes: int, block_nbytes: int) -> int:
    """Bytes of the buffers for a sequence of so many bytes, in blocks of a size."""
    return min(nbytes, _RING * block_nbytes)


class _Whole(Struct, frozen=True):
    """An array that is in memory: its bytes, and those of a row."""

    data: bytes
    itemsize: int

    def part(self, start: int, nbytes: int) -> memoryview:
        """So many bytes from a row on.

        Raises:
            CorruptObjectError: there are none.
        """
        first = start * self.itemsize
        if nbytes % self.itemsize or first + nbytes > len(self.data):
            raise CorruptObjectError(f"it has no {nbytes} bytes from row {start} on")
        return memoryview(self.data)[first : first + nbytes]


class Arrays:
    """The arrays of a store's objects."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._idle: list[Buffers] = []
        self._shared: OrderedDict[str, _Whole] = OrderedDict()
        self._shared_nbytes = 0

    def lease(self, count: int = 1) -> Lease:
        """Buffers for one reading of a group, or of so many versions of it side by side."""
        return Lease(self._idle, count * READING_BYTES)

    def blocks(self, ref: ObjectRef, nbytes: int, lease: Lease) -> Iterator[Block]:
        """So many bytes of an object's array from the row `ref.start` on, block by block, each decoded when it is used.

        A block's rows are lost when more than AHEAD further blocks have been asked for.

        Args:
            ref: where the bytes are.
            nbytes: how many.
            lease: where they are decoded to.

        Raises:
            ObjectError: the object is missing or damaged, or the reading would take too much memory.
        """
        if ref.oid in self._shared:
            yield Ready(self._shared[ref.oid].part(ref.start, nbytes))
            return
        with self.store.open(ref) as file:
            reader = Reader(file)
            size = reader.rows * reader.itemsize
            if size > SHARED_BYTES or size == nbytes:
                yield from _one_by_one(reader, ref.start, nbytes, lease)
                return
            array = _whole(reader)
        self._remember(ref.oid, array)
        yield Ready(array.part(ref.start, nbytes))

    def _remember(self, oid: str, array: _Whole) -> None:
        """Keep the array of an object in memory; those that have been there for longest make room for it."""
        self._shared[oid] = array
        self._shared_nbytes += len(array.data)
        while self._shared_nbytes > _KEPT_BYTES:
            _, oldest = self._shared.popitem(last=False)
            self._shared_nbytes -= len(oldest.data)


def array_nbytes(store: ObjectStore, ref: ObjectRef) -> int:
    """Bytes of all the array that an object holds, as its header says.

    Raises:
        ObjectError: it is missing or damaged.
    """
    with store.open(ref) as file:
        reader = Reader(file)
        return reader.rows * reader.itemsize


def _one_by_one(reader: Reader, start: int, nbytes: int, lease: Lease) -> Iterator[Block]:
    count, rest = divmod(nbytes, reader.itemsize)
    if rest:
        raise CorruptObjectError(f"its elements have {reader.itemsize} bytes, which do not divide {nbytes}")
    return reader.blocks(start, start + count, lease.buffers(nbytes, BLOCK_ROWS * reader.itemsize))


def _whole(reader: Reader) -> _Whole:
    """All rows of what several groups share."""
    blocks = [block.result() for block in reader.blocks(0, reader.rows, Buffers(SHARED_BYTES // BLOCK_ROWS))]
    return _Whole(b"".join(blocks), reader.itemsize)
