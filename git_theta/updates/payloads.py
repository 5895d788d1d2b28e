"""Write what updates need into objects: large payloads alone, small ones of one itemsize laid end to end in one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from git_theta.errors import ThetaError
from git_theta.metadata import ObjectRef
from git_theta.store.arrays import SHARED_BYTES
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.encode import encode
from git_theta.store.objects import ObjectStore, ObjectWriter
from git_theta.store.publishing import Publisher, publishing
from git_theta.store.rows import Rows

SMALL_BYTES: Final = 1 << 16
"""Payloads below this size share an object."""

_THREADS: Final = 3


class UnusableBaseError(ThetaError):
    """The values of a base cannot be had, or are not the ones that its digest names: nothing may build on it."""


class Payload(Protocol):
    """An array of shape (nbytes / itemsize, itemsize) that is made as it is written."""

    @property
    def itemsize(self) -> int:
        """Bytes of a row, 1 to 16."""

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""

    def rows(self) -> Iterator[Rows]:
        """The rows in blocks of BLOCK_ROWS, the last as short as it must be; one is done with when the next comes.

        Raises:
            ChangedWhileReadingError: what they are made from has changed.
            UnusableBaseError: so has a base.
        """


class Array(Struct, frozen=True, eq=False):
    """A payload that is here: an array of shape (rows, itemsize)."""

    array: Rows

    @property
    def itemsize(self) -> int:
        """Bytes of a row."""
        return int(self.array.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.array.nbytes

    def rows(self) -> Iterator[Rows]:
        """The rows in blocks."""
        return (self.array[start : start + BLOCK_ROWS] for start in range(0, len(self.array), BLOCK_ROWS))


def keep_payloads(payloads: Iterable[Payload], store: ObjectStore) -> Mapping[Payload, ObjectRef | None]:
    """Write payloads; returns where each is, or None where a base turned out to be unusable.

    Raises:
        ChangedWhileReadingError: what is to be stored has changed.
        StoreError: the store cannot be written.
    """
    batches = list(_batches(payloads))
    with publishing() as publisher, ThreadPoolExecutor(_THREADS) as pool:
        written = pool.map(lambda batch: _write(batch, store, publisher), batches)
        return {payload: ref for placed in written for payload, ref in placed}


def is_large(payload: Payload) -> bool:
    """Whether a payload has an object of its own."""
    return payload.nbytes >= SMALL_BYTES


def keep_alone(payload: Payload, store: ObjectStore, publisher: Publisher) -> ObjectRef | None:
    """Write one payload into an object of its own, to be published; None if a base turned out to be unusable.

    Raises:
        ChangedWhileReadingError: what is to be stored has changed.
        StoreError: the store cannot be written.
    """
    ((_, ref),) = _write([payload], store, publisher)
    return ref


def starts(batch: Iterable[Payload]) -> Iterator[int]:
    """The row at which each payload begins when they are laid end to end."""
    start = 0
    for payload in batch:
        yield start
        start += payload.nbytes // payload.itemsize


def encode_batch(batch: list[Payload], writer: ObjectWriter) -> None:
    """Write payloads of one itemsize, laid end to end, as one object."""
    itemsize = batch[0].itemsize
    total = sum(payload.nbytes for payload in batch)
    rows = _joined(batch) if len(batch) > 1 else batch[0].rows()
    for piece in encode(rows, total // itemsize, itemsize):
        writer.write(piece)


def _batches(payloads: Iterable[Payload]) -> Iterator[list[Payload]]:
    """What goes into one object each."""
    small: dict[int, list[Payload]] = defaultdict(list)
    filled: dict[int, int] = defaultdict(int)
    for payload in payloads:
        itemsize = payload.itemsize
        if is_large(payload):
            yield [payload]
        elif payload.nbytes:
            if filled[itemsize] + payload.nbytes > SHARED_BYTES:
                yield small.pop(itemsize)
                filled[itemsize] = 0
            small[itemsize].append(payload)
            filled[itemsize] += payload.nbytes
    yield from small.values()


def _write(batch: list[Payload], store: ObjectStore, publisher: Publisher) -> list[tuple[Payload, ObjectRef | None]]:
    with store.writing() as writer:
        try:
            encode_batch(batch, writer)
        except UnusableBaseError:
            return [(payload, None) for payload in batch]
        ref = publisher.publish(writer)
    return [(payload, replace(ref, start=start)) for payload, start in zip(batch, starts(batch), strict=True)]


def _joined(batch: list[Payload]) -> Iterator[Rows]:
    """Small payloads laid end to end, in blocks as `encode` wants them."""
    joined = np.concatenate([block.copy() for payload in batch for block in payload.rows()])
    return (joined[start : start + BLOCK_ROWS] for start in range(0, len(joined), BLOCK_ROWS))
