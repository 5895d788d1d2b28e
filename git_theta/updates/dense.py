"""The dense update: the values themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from blake3 import blake3

from git_theta.errors import ChangedWhileReadingError
from git_theta.metadata import ObjectRef, Update
from git_theta.sources import Source, blocks
from git_theta.store.arrays import SHARED_BYTES, Arrays, Block
from git_theta.store.objects import ObjectStore, ObjectWriter
from git_theta.store.serialize import BLOCK_ROWS, Rows, encode

SMALL_BYTES: Final = 1 << 16
"""Groups below this size share an object."""

_THREADS: Final = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """Values to keep: nbytes of a source from start on, whose digest is known."""

    source: Source
    start: int
    nbytes: int
    itemsize: int
    digest: str


class Dense:
    """The dense update: the values themselves."""

    name = "dense"

    def blocks(self, update: Update, nbytes: int, arrays: Arrays) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`."""
        return iter(()) if update.object is None else arrays.blocks(update.object, nbytes)


def keep(values: Iterable[Wanted], store: ObjectStore) -> Mapping[str, Update]:
    """Store values; returns the update for each digest.

    What is stored is read again and digested on its way, so that an object never holds other values than its digest
    says, whatever happens to the source meanwhile.

    Raises:
        ChangedWhileReadingError: the source no longer has the values that were digested.
        StoreError: the store cannot be written.
    """
    distinct = {wanted.digest: wanted for wanted in values}
    batches = list(_batches(distinct.values()))
    with ThreadPoolExecutor(_THREADS) as pool:
        written = pool.map(lambda batch: _write(batch, store), batches)
        kept = {wanted.digest: ref for placed in written for wanted, ref in placed}
    empty = {wanted.digest: Update(Dense.name, None) for wanted in distinct.values() if not wanted.nbytes}
    return {digest: Update(Dense.name, ref) for digest, ref in kept.items()} | empty


def restore(ref: ObjectRef, values: Mapping[int, Wanted], store: ObjectStore) -> bool:
    """Make an object that was lost anew; False if these values do not give it, since others were in it too.

    Args:
        ref: the object; its `start` does not matter.
        values: by the row of the object's array at which they begin.
        store: where the object belongs.

    Raises:
        ChangedWhileReadingError: the source no longer has the values that were digested.
        StoreError: the store cannot be written.
    """
    # A group of another dtype may have found its bytes in the object, so any of the itemsizes may be the object's.
    for itemsize in dict.fromkeys(wanted.itemsize for wanted in values.values()):
        batch = [replace(values[start], itemsize=itemsize) for start in sorted(values)]
        if any(wanted.nbytes % itemsize for wanted in batch) or list(_starts(batch)) != sorted(values):
            continue
        with store.writing() as writer:
            _encode(batch, writer)
            if writer.oid == ref.oid:
                writer.publish()
                return True
    return False


def _batches(values: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    """What goes into one object each: large groups alone, small ones of one itemsize together."""
    small: dict[int, list[Wanted]] = defaultdict(list)
    filled: dict[int, int] = defaultdict(int)
    for wanted in values:
        itemsize = wanted.itemsize
        if wanted.nbytes >= SMALL_BYTES:
            yield [wanted]
        elif wanted.nbytes:
            if filled[itemsize] + wanted.nbytes > SHARED_BYTES:
                yield small.pop(itemsize)
                filled[itemsize] = 0
            small[itemsize].append(wanted)
            filled[itemsize] += wanted.nbytes
    yield from small.values()


def _write(batch: list[Wanted], store: ObjectStore) -> list[tuple[Wanted, ObjectRef]]:
    with store.writing() as writer:
        _encode(batch, writer)
        ref = writer.publish()
    return [(wanted, replace(ref, start=start)) for wanted, start in zip(batch, _starts(batch), strict=True)]


def _encode(batch: list[Wanted], writer: ObjectWriter) -> None:
    itemsize = batch[0].itemsize
    total = sum(wanted.nbytes for wanted in batch)
    rows = _joined(batch) if len(batch) > 1 else _rows(batch[0])
    for piece in encode(rows, total // itemsize, itemsize):
        writer.write(piece)


def _starts(batch: list[Wanted]) -> Iterator[int]:
    """The row at which each of the values begins when they are laid end to end."""
    start = 0
    for wanted in batch:
        yield start
        start += wanted.nbytes // wanted.itemsize


def _joined(batch: list[Wanted]) -> Iterator[Rows]:
    """Small groups laid end to end, in blocks as `encode` wants them."""
    joined = np.concatenate([block for wanted in batch for block in _rows(wanted)])
    return (joined[start : start + BLOCK_ROWS] for start in range(0, len(joined), BLOCK_ROWS))


def _rows(wanted: Wanted) -> Iterator[Rows]:
    """The values as rows; fails after the last block, before the object is published, if they are not the ones."""
    hasher = blake3()
    stop = wanted.start + wanted.nbytes
    for block in blocks(wanted.source, wanted.start, stop, BLOCK_ROWS * wanted.itemsize):
        hasher.update(block)
        yield np.frombuffer(block, np.uint8).reshape(-1, wanted.itemsize)
    if hasher.hexdigest() != wanted.digest:
        raise ChangedWhileReadingError("the file changed while it was added: try again when nothing writes to it")
