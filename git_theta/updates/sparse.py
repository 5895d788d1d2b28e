"""The sparse update: the base with some values changed.

Its object has a row for each changed word (`words`): the number of unchanged ones before it as a 32-bit number, then
the zigzag code of its difference to the base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.store.planes import Rows
from git_theta.updates.reading import Group, Reader, sequence_nbytes, whole_nbytes
from git_theta.updates.single import base_of, count_parameter
from git_theta.updates.words import Numbers, Words, add, words_of

MAX_COUNT: Final = 1 << 22
"""Changed words that an update may have; all of them are in memory at once."""

MAX_GAP: Final = (1 << 32) - 1
_GAP: Final = 4

Places = npt.NDArray[np.int64]
Changes = tuple[Places, Numbers]
"""The places of changed words, ascending, and their codes."""


class Sparse:
    """The sparse update."""

    name = "sparse"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`.

        Of sparse updates on top of each other, all are applied to one copy of a block of what lies below them.
        """
        words, itemsize = words_of(group.dtype), tensors.itemsize(group.dtype)
        changes = [_changes(update, group, words, reader)]
        below = base_of(update)
        while below.type == self.name and not reader.is_shared(below):
            changes.append(_changes(below, group, words, reader))
            below = base_of(below)
        start = 0
        compute = reader.computing(group)
        for base in reader.values(below, group):
            stop = start + base.nbytes // words.size
            here = [_between(places, codes, start, stop) for places, codes in reversed(changes)]
            yield compute(partial(_apply, base, here, words), base.nbytes, itemsize)
            start = stop

    def payload_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of places and differences."""
        return count_parameter(update, "count", MAX_COUNT) * row_nbytes(words_of(group.dtype))

    def memory_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of places and differences, and once for a chain of them, of the values that are in use at once."""
        is_last = base_of(update).type != self.name
        return whole_nbytes(self.payload_nbytes(update, group)) + (sequence_nbytes(group) if is_last else 0)


def row_nbytes(words: Words) -> int:
    """Bytes of a row: a gap and a code."""
    return _GAP + words.size


def pack(places: Places, codes: Numbers, words: Words) -> Rows:
    """The rows for changed words: their places, ascending, and their codes.

    Returns:
        An array of shape (count, 4 + size of a word).

    Raises:
        ValueError: two places are further apart than a gap can say.
    """
    gaps = np.diff(places, prepend=-1) - 1
    if gaps.size and gaps.max() > MAX_GAP:
        raise ValueError("two changes are too far apart")
    rows = np.empty((len(places), row_nbytes(words)), np.uint8)
    rows[:, :_GAP] = gaps.astype("<u4").view(np.uint8).reshape(-1, _GAP)
    rows[:, _GAP:] = np.ascontiguousarray(codes, words.dtype).view(np.uint8).reshape(-1, words.size)
    return rows


def unpack(data: Rows, words: Words) -> tuple[Places, Numbers]:
    """Undo `pack`; data is of any shape."""
    rows = data.reshape(-1, row_nbytes(words))
    gaps: npt.NDArray[np.unsignedinteger[Any]] = np.ascontiguousarray(rows[:, :_GAP]).view("<u4").reshape(-1)
    places = np.cumsum(gaps.astype(np.int64) + 1) - 1
    return places, np.ascontiguousarray(rows[:, _GAP:]).view(words.dtype).reshape(-1)


def _changes(update: Update, group: Group, words: Words, reader: Reader) -> Changes:
    """What an update changes.

    Raises:
        ObjectError: its object is missing or damaged, or does not fit the group.
    """
    count = count_parameter(update, "count", MAX_COUNT)
    places, codes = unpack(reader.whole(update.object, row_nbytes(words) * count), words)
    if places[-1] >= group.nbytes // words.size:
        raise CorruptObjectError("the sparse update changes values past the end")
    return places, codes


def _between(places: Places, codes: Numbers, start: int, stop: int) -> Changes:
    """The changes of the words from start up to stop, which are counted anew."""
    first, last = np.searchsorted(places, (start, stop))
    return places[first:last] - start, codes[first:last]


def _apply(base: Block, changes: Sequence[Changes], words: Words, out: Rows) -> None:
    np.copyto(out, base.result().reshape(out.shape))
    numbers = words.view(out)
    for places, codes in changes:
        changed = numbers[places]
        add(changed, codes, words, changed)
        numbers[places] = changed
