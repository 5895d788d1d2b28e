"""Read a group's values through its update and all that it builds on, block by block.

A block is a promise: nothing is decoded or computed before its rows are asked for, and then all that it is made from is
worked on at once, by one thread, while it is in the processor's cache. Several threads work on several blocks.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from msgspec import Struct

from git_theta import tensors
from git_theta.errors import CorruptObjectError, StoreError
from git_theta.metadata import ObjectRef, Update
from git_theta.registry import Family
from git_theta.store.arrays import AHEAD, Arrays, Block, Ready, array_nbytes, ring_nbytes
from git_theta.store.decode import Lazy
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore

T = TypeVar("T")


class Group(Struct, frozen=True):
    """What an update needs to know of the group whose values it gives: dtype (`tensors.BLOCKS`) and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return tensors.nbytes(self.dtype, self.shape)


class UpdateType(Protocol):
    """A type of update. Applying it gives the same bytes on every machine, or fails."""

    @property
    def name(self) -> str:
        """Its name in metadata files."""

    @property
    def is_in_step(self) -> bool:
        """Whether it asks for one block of each base whenever one of its own is asked for, never for more."""

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block.

        Args:
            update: of this type.
            group: whose values they are.
            reader: gives the values of the bases and the arrays in objects.

        Raises:
            ObjectError: an object is missing or damaged, or the update does not fit the group.
        """

    def payload_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of values that the update's own object holds for it, before compression."""

    def memory_nbytes(self, update: Update, group: Group) -> int:
        """Bytes that it needs in memory while the group is read, without what its bases need."""


class Reader:
    """Reads values. Not for several threads at once; each can have its own."""

    def __init__(
        self,
        arrays: Arrays,
        types: Family[UpdateType],
        shared: Mapping[str, Shared] | None = None,
    ) -> None:
        """Begin.

        Args:
            arrays: of the store.
            types: of updates.
            shared: updates that are read once for several, by what `shares` calls them.
        """
        self._arrays = arrays
        self._types = types
        self._lease = arrays.lease()
        self._shared = {} if shared is None else shared

    def begin(self, count: int = 1) -> Reader:
        """A reader for one reading of a group: its blocks have their buffers to themselves until it is ended.

        Args:
            count: versions of the group that are read side by side.
        """
        reader = Reader(self._arrays, self._types)
        reader._lease = self._arrays.lease(count)
        return reader

    def end(self) -> None:
        """Let other readings have the buffers of this one, of which no block is used any more, by no thread."""
        self._lease.end()

    @contextmanager
    def reading(self, count: int = 1) -> Iterator[Reader]:
        """The same, ended with the context. All blocks are to be used by this thread, within it."""
        reader = self.begin(count)
        try:
            yield reader
        finally:
            reader.end()

    def values(self, update: Update, group: Group) -> Iterator[Block]:
        """A group's values, in blocks of BLOCK_ROWS elements.

        A block's rows are lost when more than AHEAD further blocks have been asked for.

        Raises:
            ObjectError: an object is missing or damaged, or an update does not fit the group, or takes too much memory.
        """
        shared = self._shared.get(repr(update)) if self._shared else None
        return self._begun(update, group) if shared is None else shared.branch()

    def is_shared(self, update: Update) -> bool:
        """Whether the values of an update are read once for several, of which this is one."""
        return bool(self._shared) and repr(update) in self._shared

    def _begun(self, update: Update, group: Group) -> Iterator[Block]:
        kind = self._types.get(update.type)
        reader = self if kind.is_in_step else self._with({})
        return aligned(kind.blocks(update, group, reader), group.nbytes, block_nbytes(group))

    def _with(self, shared: Mapping[str, Shared]) -> Reader:
        """A reader for the same reading of a group, for which other updates are shared."""
        reader = Reader(self._arrays, self._types, shared)
        reader._lease = self._lease
        return reader

    def side_by_side(self, updates: Sequence[Update], group: Group) -> Generator[tuple[Block, ...]]:
        """The values of several updates of one group, block by block; what they build on together is read once.

        Raises:
            ObjectError: an object is missing or damaged, or an update does not fit the group.
        """
        shared = dict(self._shared)
        reader = self._with(shared)
        for name, update in shares(updates, self._types).items():
            shared.setdefault(name, Shared(partial(reader._begun, update, group)))
        try:
            yield from zip(*(reader.values(update, group) for update in updates), strict=True)
        finally:
            shared.clear()  # They refer to one another, and would else keep files open until the garbage is collected.

    def payload(self, ref: ObjectRef | None, nbytes: int, size: int) -> Iterator[Block]:
        """So many bytes of an object's array from the row `ref.start` on, in blocks of a size in bytes.

        Raises:
            ObjectError: the object is missing or damaged, or there is none.
        """
        return aligned(self._arrays.blocks(required(ref), nbytes, self._lease), nbytes, size)

    def whole(self, ref: ObjectRef | None, nbytes: int) -> memoryview:
        """The same all at once, for what is small.

        Raises:
            ObjectError: the object is missing or damaged, or there is none; or it would take too much memory.
        """
        self._lease.take(whole_nbytes(nbytes))
        # Room is made as the bytes come: a size that a metadata file claims may be absurd.
        data = bytearray()
        with self.reading() as mine:
            for block in mine._arrays.blocks(required(ref), nbytes, mine._lease):
                data += block.result()
        return memoryview(data)

    def computing(self, group: Group) -> Computing:
        """For a sequence of blocks that are computed, of a group's values.

        Raises:
            CorruptObjectError: the reading would take too much memory.
        """
        buffers = self._lease.buffers(group.nbytes, block_nbytes(group))
        return lambda work, nbytes: Lazy(work, buffers.next(nbytes))


Computing = Callable[[Callable[[memoryview], None], int], Block]
"""Makes a block: from what fills a buffer with its rows, and from its bytes."""


class Shared:
    """A sequence of blocks that several read in step: nobody asks for the next block before all have this one."""

    def __init__(self, begin: Callable[[], Iterator[Block]]) -> None:
        """Args: begin: gives the blocks."""
        self._begin = begin
        self._blocks: Iterator[Block] | None = None
        self._last: Block | None = None
        self._count = 0

    def branch(self) -> Iterator[Block]:
        """The blocks, for one of the readers."""
        number = 0
        while number < self._count or self._advance():
            if self._last is None or number != self._count - 1:
                raise RuntimeError("a type of update that is said to read in step does not: blocks may be lost")
            yield self._last
            number += 1

    def _advance(self) -> bool:
        """Get one more block for everybody; False if there is none."""
        if self._blocks is None:
            self._blocks = self._begin()
        self._last = next(self._blocks, None)
        self._count += self._last is not None
        return self._last is not None


def shares(updates: Sequence[Update], types: Family[UpdateType]) -> Mapping[str, Update]:
    """What is read several times if these updates are read in step, each by a text that tells it from all others.

    Two updates may be equal and yet differ: 1 equals true, and 0.0 equals -0.0. Their texts do not.

    Raises:
        PluginError: a type of update is unknown.
    """
    counts: Counter[str] = Counter()
    found: dict[str, Update] = {}

    def count(update: Update) -> None:
        name = repr(update)
        counts[name] += 1
        if counts[name] > 1:
            found[name] = update
        elif types.get(update.type).is_in_step:
            for base in update.bases:
                count(base)

    for update in updates:
        count(update)
    return found


class Readers:
    """A reader for each thread."""

    def __init__(self, store: ObjectStore, types: Family[UpdateType]) -> None:
        """Args: store: that is read; types: of updates."""
        self.types = types
        self._store = store
        self._local = threading.local()
        self._shares: dict[str, float] = {}

    def mine(self) -> Reader:
        """The reader of this thread."""
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = Reader(Arrays(self._store), self.types)
        return reader

    def suspect(self, refs: Iterable[ObjectRef]) -> ObjectRef | None:
        """The object that is to blame where values cannot be read; see `ObjectStore.suspect`."""
        return self._store.suspect(refs)

    def share(self, ref: ObjectRef, nbytes: int) -> int:
        """The bytes of an object that so many of those in its array take, if all in it take as many.

        Of an object that cannot be read, as many as if they were not compressed.
        """
        if ref.oid not in self._shares:
            try:
                self._shares[ref.oid] = ref.size / array_nbytes(self._store, ref)
            except StoreError:
                return min(ref.size, nbytes)
        return min(ref.size, math.ceil(nbytes * self._shares[ref.oid]))


def memory_nbytes(update: Update, group: Group, types: Family[UpdateType]) -> int:
    """Bytes of memory that reading a group takes, as its update tells without being read.

    Raises:
        CorruptObjectError: an update does not fit the group.
        PluginError: a type of update is unknown.
    """
    return sum(types.get(part.type).memory_nbytes(part, group) for part in update.nested())


def sequence_nbytes(group: Group) -> int:
    """Bytes of memory for the blocks of a group's values that are in use at once."""
    return ring_nbytes(group.nbytes, block_nbytes(group))


def whole_nbytes(nbytes: int) -> int:
    """Bytes of memory for what `Reader.whole` gives, and for what is made of it."""
    return 2 * nbytes


def block_nbytes(group: Group) -> int:
    """Bytes of each block of a group's values but the last."""
    return BLOCK_ROWS * tensors.itemsize(group.dtype)


def required(ref: ObjectRef | None) -> ObjectRef:
    """The object that an update must have.

    Raises:
        CorruptObjectError: it has none.
    """
    if ref is None:
        raise CorruptObjectError("the update names no object")
    return ref


def ahead(parts: Iterator[T]) -> Iterator[T]:
    """The same parts, a few of them taken before the first is given out: what is begun with them goes on meanwhile."""
    begun: deque[T] = deque()
    for part in parts:
        begun.append(part)
        if len(begun) > AHEAD:
            yield begun.popleft()
    yield from begun


def results(blocks: Iterator[Block]) -> Iterator[memoryview]:
    """The bytes of blocks, each gone when the next is asked for."""
    return (block.result() for block in blocks)


def aligned(blocks: Iterator[Block], nbytes: int, size: int) -> Iterator[Block]:
    """The same bytes in blocks of a size (the last may be shorter). Blocks that have it are passed on as they are.

    Raises:
        CorruptObjectError: these are not so many bytes, as an update of a plug-in may give.
    """
    done = 0
    for block in _of_size(blocks, nbytes, size):
        if block.nbytes != min(size, nbytes - done):
            raise CorruptObjectError(f"an update gives more or fewer bytes than {nbytes}")
        yield block
        done += block.nbytes
    if done != nbytes:
        raise CorruptObjectError(f"an update gives {done} bytes instead of {nbytes}")


def _of_size(blocks: Iterator[Block], nbytes: int, size: int) -> Iterator[Block]:
    done = 0
    for block in blocks:
        if block.nbytes != min(size, nbytes - done):
            yield from _cut(block, blocks, size)
            return
        if block.nbytes:
            yield block
        done += block.nbytes


def _cut(first: Block, blocks: Iterator[Block], size: int) -> Iterator[Block]:
    rest = memoryview(bytes(first.result()))
    while True:
        while rest.nbytes >= size:
            yield Ready(rest[:size])
            rest = rest[size:]
        block = next(blocks, None)
        if block is None:
            break
        rest = memoryview(b"".join([rest, block.result()]))
    if rest.nbytes:
        yield Ready(rest)
