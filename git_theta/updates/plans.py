"""What is decided about a group's values before anything is written: plans, which become updates when it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from msgspec import Struct

from git_theta import tensors
from git_theta.errors import PluginError, StoreError
from git_theta.metadata import ObjectRef, Parameter, Update
from git_theta.store.encode import encode
from git_theta.store.rows import Rows, rows_of
from git_theta.updates.payloads import SMALL_BYTES, Payload, UnusableBaseError
from git_theta.updates.reading import Group, Reader, Readers, results
from git_theta.updates.wanted import Wanted

SAMPLE_ROWS: Final = 1 << 15
"""Rows of an array from which its size in an object is estimated."""

_QUICK_ROWS: Final = 1 << 11
"""The same for arrays that share an object with others."""


class Base(Struct, frozen=True):
    """An earlier version of a group: how to get its values, their digest, and its signature if it has one."""

    update: Update
    digest: str
    signature: tuple[int, ...] | None = None


class Change(Struct, frozen=True):
    """A group whose values are new.

    Attributes:
        group: its dtype and shape.
        wanted: the values.
        bases: earlier versions of the same dtype and shape, the most likely first.
        told: what the values are said to come from, if somebody said it.
        is_merged: whether a merge made the values, so that neither a low rank nor a scaling explains them.
    """

    group: Group
    wanted: Wanted
    bases: tuple[Base, ...] = ()
    told: Prediction | None = None
    is_merged: bool = False


class Plan(Struct, frozen=True):
    """An update to be: its object is not written yet, and its bases may be plans, too."""

    type: str
    payload: Payload | None = None
    bases: tuple[Plan | Update, ...] = ()
    parameters: tuple[tuple[str, Parameter], ...] = ()

    def payloads(self) -> Iterator[Payload]:
        """What has to be written."""
        if self.payload is not None:
            yield self.payload
        for base in self.bases:
            if isinstance(base, Plan):
                yield from base.payloads()

    def outline(self) -> Update:
        """The update as it will be, but for its objects, which are not written yet."""
        bases = tuple(base.outline() if isinstance(base, Plan) else base for base in self.bases)
        return Update(self.type, None if self.payload is None else _TO_BE, bases, self.parameters)

    def update(self, refs: Mapping[Payload, ObjectRef | None]) -> Update | None:
        """The update, when its payloads have been written; None if one of them could not be."""
        bases = [base.update(refs) if isinstance(base, Plan) else base for base in self.bases]
        ref = None if self.payload is None else refs.get(self.payload)
        if (ref is None and self.payload is not None and self.payload.nbytes) or None in bases:
            return None
        return Update(self.type, ref, tuple(base for base in bases if base is not None), self.parameters)


_TO_BE: Final = ObjectRef("", 0)
"""Stands for an object that is not written yet."""


class Prediction(Protocol):
    """What a group's values may be compared with: those of a base, or what an update makes of one."""

    @property
    def plan(self) -> Plan | Update:
        """What gives the values."""

    def rows(self, reader: Reader) -> Iterator[Rows]:
        """The values in blocks, each gone when the next comes.

        Raises:
            UnusableBaseError: they cannot be had, or are not the ones that were expected.
        """


class Stored(Struct, frozen=True):
    """The values of a base, as they are. They are verified on the way, each block when it has been used."""

    group: Group
    base: Base

    @property
    def plan(self) -> Plan | Update:
        """The base's update."""
        return self.base.update

    def rows(self, reader: Reader) -> Iterator[Rows]:
        """The values in blocks; see `Prediction`."""
        hasher = blake3()
        try:
            with reader.reading() as mine:
                for block in results(mine.values(self.base.update, self.group)):
                    yield rows_of(block, tensors.itemsize(self.group.dtype))
                    hasher.update(block)
        except (StoreError, PluginError) as error:
            raise UnusableBaseError(str(error)) from error
        if hasher.hexdigest() != self.base.digest:
            raise UnusableBaseError("it does not have the values that the metadata file promises")


def length(update: Update) -> int:
    """How many versions an update goes back to: a type that predicts and its correction count as one."""
    if not update.bases:
        return 0
    below = max(length(base) for base in update.bases)
    return below if update.is_correction else below + 1


def chain_nbytes(update: Update, group: Group, readers: Readers) -> int:
    """Bytes that an update needs beyond the dense values that it goes back to."""
    total = 0
    for part in update.nested():
        if part.bases and part.object is not None:
            nbytes = readers.types.get(part.type).payload_nbytes(part, group)
            total += readers.share(part.object, nbytes) if nbytes < SMALL_BYTES else part.object.size
    return total


def stored_nbytes(rows: Rows, total: int) -> int:
    """Bytes that an array takes in an object, as a sample of it tells.

    Args:
        rows: of shape (n, itemsize), of which the first ones are looked at.
        total: bytes of the whole array.
    """
    sample = rows[:SAMPLE_ROWS]
    if not len(sample):
        return 0
    if sample.nbytes < SMALL_BYTES:
        sample = sample[:_QUICK_ROWS]
        return math.ceil(_entropy(sample) * total / sample.nbytes)
    kept = sum(len(piece) for piece in encode([sample], len(sample), sample.shape[1]))
    return kept * total // sample.nbytes


def _entropy(rows: Rows) -> float:
    """Bytes that the byte planes of an array take at the least, if no byte tells of another: quick, for small ones."""
    logarithms = _weighted_logarithms()
    count = len(rows)
    planes = (np.bincount(plane, minlength=256) for plane in rows.T)
    bits = sum(float(logarithms[count] - logarithms[counts].sum()) for counts in planes)
    return bits / 8


@cache
def _weighted_logarithms() -> npt.NDArray[np.float64]:
    """For each number of bytes that may be counted, it times its logarithm to the base 2."""
    numbers = np.arange(_QUICK_ROWS + 1, dtype=np.float64)
    return numbers * np.log2(np.maximum(numbers, 1))


def nested_count(update: Update) -> int:
    """The updates that one is made of."""
    return sum(1 for _ in update.nested())
