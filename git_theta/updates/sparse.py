"""The sparse update: the base with some values changed.

Its object has a row for each changed word (`words`): the number of unchanged ones before it as a 32-bit number, then
the zigzag code of its difference to the base.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from git_theta.errors import CorruptObjectError
from git_theta.kernels import GAP
from git_theta.loops import loops
from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.updates.reading import Group, Reader, sequence_nbytes, whole_nbytes
from git_theta.updates.single import base_of, count_parameter
from git_theta.updates.words import Words, words_of

MAX_COUNT: Final = 1 << 22
"""Changed words that an update may have; all of them are in memory at once."""

_PLACE: Final = 8


class Sparse:
    """The sparse update."""

    name = "sparse"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`.

        Of sparse updates on top of each other, all are applied to one copy of a block of what lies below them.
        """
        words = words_of(group.dtype)
        changes = [_changes(update, group, words, reader)]
        below = base_of(update)
        while below.type == self.name and not reader.is_shared(below):
            changes.append(_changes(below, group, words, reader))
            below = base_of(below)
        start = 0
        compute = reader.computing(group)
        for base in reader.values(below, group):
            stop = start + base.nbytes // words.size
            here = [change.between(start, stop) for change in reversed(changes)]
            yield compute(partial(_apply, base, here, start, words), base.nbytes)
            start = stop

    def payload_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of places and differences."""
        return count_parameter(update, "count", MAX_COUNT) * row_nbytes(words_of(group.dtype))

    def memory_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of places and differences, and once for a chain of them, of the values that are in use at once."""
        is_last = base_of(update).type != self.name
        return whole_nbytes(self.payload_nbytes(update, group)) + (sequence_nbytes(group) if is_last else 0)


class _Changes(Struct, frozen=True):
    """What an update changes.

    Attributes:
        places: of the changed words, ascending, int64.
        rows: what the update's object has, in bytes.
        width: bytes of a row.
    """

    places: memoryview
    rows: memoryview
    width: int

    def between(self, start: int, stop: int) -> _Changes:
        """The changes of the words from start up to stop."""
        first = bisect_left(self.places, start)
        last = bisect_left(self.places, stop, lo=first)
        return _Changes(self.places[first:last], self.rows[first * self.width : last * self.width], self.width)


def row_nbytes(words: Words) -> int:
    """Bytes of a row: a gap and a code."""
    return GAP + words.size


def _changes(update: Update, group: Group, words: Words, reader: Reader) -> _Changes:
    """What an update changes.

    Raises:
        ObjectError: its object is missing or damaged, or does not fit the group.
    """
    count, width = count_parameter(update, "count", MAX_COUNT), row_nbytes(words)
    rows = reader.whole(update.object, count * width)
    places = memoryview(bytearray(count * _PLACE))
    loops().places(rows, words.size, places)
    found = places.cast("q")
    if found[-1] >= group.nbytes // words.size:
        raise CorruptObjectError("the sparse update changes values past the end")
    return _Changes(found, rows, width)


def _apply(base: Block, changes: Sequence[_Changes], start: int, words: Words, out: memoryview) -> None:
    out[:] = base.result()
    for change in changes:
        loops().change(change.places, change.rows, start, words.size, words.is_float, out)
