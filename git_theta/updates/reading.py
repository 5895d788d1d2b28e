"""Read a group's values through its update and all that it builds on, block by block, in the background."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import numpy as np

from git_theta import tensors
from git_theta.errors import CorruptObjectError, StoreError
from git_theta.metadata import ObjectRef, Update
from git_theta.registry import Family
from git_theta.store.arrays import AHEAD, Arrays, Block, Ready
from git_theta.store.objects import ObjectStore
from git_theta.store.serialize import BLOCK_ROWS, Rows

_THREADS: Final = 2

WHOLE_BYTES: Final = 1 << 30
"""What an update reads at once is no larger: an object of a megabyte can claim to hold many gigabytes of zeros."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
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


class Reader:
    """Reads values. Not for several threads at once; each can have its own."""

    def __init__(
        self,
        arrays: Arrays,
        types: Family[UpdateType],
        pool: ThreadPoolExecutor | None = None,
        shared: Mapping[Update, Shared] | None = None,
    ) -> None:
        """Begin.

        Args:
            arrays: of the store.
            types: of updates.
            pool: that computes; one of its own by default.
            shared: updates that are read once for several.
        """
        self._arrays = arrays
        self._types = types
        # Work waits for other work of the pool, but only for what was begun before it, so it never waits for itself.
        self._pool = ThreadPoolExecutor(_THREADS) if pool is None else pool
        self._lease = arrays.lease()
        self._shared = {} if shared is None else shared

    def begin(self) -> Reader:
        """A reader for one reading of a group: its blocks have their buffers to themselves until it is ended."""
        return Reader(self._arrays, self._types, self._pool)

    def end(self) -> None:
        """Let other readings have the buffers of this one, of which no block is used any more.

        Not after an error: blocks may be on their way then that nobody waits for.
        """
        self._lease.end()

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """The same, ended with the context, unless by an error."""
        reader = self.begin()
        try:
            yield reader
        except Exception:
            raise
        except BaseException:
            reader.end()
            raise
        reader.end()

    def values(self, update: Update, group: Group) -> Iterator[Block]:
        """A group's values as arrays of shape (elements, itemsize), in blocks of BLOCK_ROWS elements.

        A block's rows are lost when more than AHEAD further blocks have been asked for.

        Raises:
            ObjectError: an object is missing or damaged, or an update does not fit the group.
        """
        if update in self._shared:
            return self._shared[update].branch()
        return self._begun(update, group)

    def _begun(self, update: Update, group: Group) -> Iterator[Block]:
        blocks = self._types.get(update.type).blocks(update, group, self)
        return aligned(blocks, group.nbytes, block_nbytes(group))

    def side_by_side(self, updates: Sequence[Update], group: Group) -> Iterator[tuple[Block, ...]]:
        """The values of several updates of one group, block by block; what they build on together is read once.

        Raises:
            ObjectError: an object is missing or damaged, or an update does not fit the group.
        """
        shared = dict(self._shared)
        reader = Reader(self._arrays, self._types, self._pool, shared)
        reader._lease = self._lease
        for update, count in shares(updates, self._shared.keys()).items():
            shared[update] = Shared(partial(reader._begun, update, group), count)
        return zip(*(reader.values(update, group) for update in updates), strict=True)

    def payload(self, ref: ObjectRef | None, nbytes: int, size: int) -> Iterator[Block]:
        """So many bytes of an object's array from the row `ref.start` on, in blocks of a size in bytes.

        Raises:
            ObjectError: the object is missing or damaged, or there is none.
        """
        return aligned(self._arrays.blocks(required(ref), nbytes, self._lease), nbytes, size)

    def whole(self, ref: ObjectRef | None, nbytes: int) -> bytes:
        """The same all at once, for what is small.

        Raises:
            ObjectError: the object is missing or damaged, or there is none; or it is too large for this.
        """
        if nbytes > WHOLE_BYTES:
            raise CorruptObjectError(f"{nbytes} bytes are too many for what an update reads at once")
        blocks = self._arrays.blocks(required(ref), nbytes, self._lease)
        return b"".join(block.result().tobytes() for block in blocks)

    def computing(self) -> Computing:
        """For a sequence of blocks that are computed in the background."""
        buffers = self._lease.buffers()
        return lambda work, nbytes, itemsize: Pending(
            self._pool.submit(_filled, work, buffers.next(nbytes // itemsize, itemsize)), nbytes
        )


Computing = Callable[[Callable[[Rows], None], int, int], Block]
"""Begins a block: from what fills an array of shape (rows, itemsize), from its bytes, and from its itemsize."""


class Pending:
    """Rows that are being computed."""

    def __init__(self, future: Future[Rows], nbytes: int) -> None:
        """Args: future: of the rows; nbytes: that they have."""
        self._future = future
        self.nbytes = nbytes

    def result(self) -> Rows:
        """The rows.

        Raises:
            ObjectError: what they are computed from cannot be used.
        """
        return self._future.result()


class Shared:
    """A sequence of blocks that several read, each at its own pace, but best in step.

    A block that waits for a reader while another reader asks for the next one is copied: its rows may be lost by then.
    """

    def __init__(self, begin: Callable[[], Iterator[Block]], branches: int) -> None:
        """Args: begin: gives the blocks; branches: how many read them, each from the first block on."""
        self._begin = begin
        self._blocks: Iterator[Block] | None = None
        self._waiting: list[deque[Block]] = [deque() for _ in range(branches)]
        self._free = deque(self._waiting)

    def branch(self) -> Iterator[Block]:
        """The blocks, for the next reader."""
        waiting = self._free.popleft()
        while waiting or self._advance():
            yield waiting.popleft()

    def _advance(self) -> bool:
        """Get one more block for everybody; False if there is none."""
        if self._blocks is None:
            self._blocks = self._begin()
        for queue in self._waiting:
            for place, block in enumerate(queue):
                queue[place] = block if isinstance(block, Ready) else Ready(block.result().copy())
        new = next(self._blocks, None)
        if new is None:
            return False
        for queue in self._waiting:
            queue.append(new)
        return True


def shares(updates: Sequence[Update], known: Collection[Update]) -> Mapping[Update, int]:
    """How many times each update is read that these build on several times, if each of them is computed once.

    Args:
        updates: to be read side by side.
        known: what is shared already.
    """
    counts: Counter[Update] = Counter()

    def count(update: Update) -> None:
        if update in known:
            return
        counts[update] += 1
        if counts[update] == 1:
            for base in update.bases:
                count(base)

    for update in updates:
        count(update)
    return {update: times for update, times in counts.items() if times > 1}


class Readers:
    """A reader for each thread."""

    def __init__(self, store: ObjectStore, types: Family[UpdateType]) -> None:
        """Args: store: that is read; types: of updates."""
        self.types = types
        self._store = store
        self._local = threading.local()

    def mine(self) -> Reader:
        """The reader of this thread."""
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = Reader(Arrays(self._store), self.types)
        return reader


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
    """The same parts, a few of them begun before the first is asked for, so that they are decoded meanwhile."""
    begun: deque[T] = deque()
    for part in parts:
        begun.append(part)
        if len(begun) > AHEAD:
            yield begun.popleft()
    yield from begun


def results(blocks: Iterator[Block]) -> Generator[Rows]:
    """The rows of blocks, each gone when the next is asked for; from the second on, a few of them are begun ahead."""
    with contextlib.closing(in_time((block,) for block in blocks)) as bundles:
        for (block,) in bundles:
            yield block.result()


def in_time(bundles: Iterator[tuple[Block, ...]]) -> Generator[tuple[Block, ...]]:
    """The same blocks, all of a bundle gone when the next is asked for; from the second on, some are begun ahead.

    Many look at the first block alone, and the others would be decoded in vain. Whoever stops early can go on at once
    with other blocks: none is being written to any more.
    """
    begun: deque[tuple[Block, ...]] = deque()
    given: tuple[Block, ...] = ()
    try:
        for number, bundle in enumerate(bundles):
            begun.append(bundle)
            if len(begun) > AHEAD or not number:
                given = begun.popleft()
                yield given
                _wait(given)
        while begun:
            given = begun.popleft()
            yield given
            _wait(given)
    finally:
        for bundle in (given, *begun):
            _wait(bundle)


def _wait(bundle: tuple[Block, ...]) -> None:
    for block in bundle:
        with contextlib.suppress(StoreError):
            block.result()


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
    rest = _bytes(first)
    while True:
        while rest.nbytes >= size:
            yield Ready(rest[:size])
            rest = rest[size:]
        block = next(blocks, None)
        if block is None:
            break
        rest = np.concatenate([rest, _bytes(block)])
    if rest.nbytes:
        yield Ready(rest)


def _bytes(block: Block) -> Rows:
    return block.result().copy().reshape(-1, 1)


def _filled(work: Callable[[Rows], None], buffer: Rows) -> Rows:
    work(buffer)
    return buffer
