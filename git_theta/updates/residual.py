"""Keep what a prediction leaves: nothing, a few changes (sparse), or a difference everywhere (delta)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from git_theta.store.serialize import BLOCK_ROWS, Rows
from git_theta.updates.payloads import Array, UnusableBaseError
from git_theta.updates.plans import Change, Plan, Prediction, stored_nbytes
from git_theta.updates.reading import Readers, block_nbytes
from git_theta.updates.sparse import MAX_COUNT, Places, pack
from git_theta.updates.words import Numbers, Words, add, difference, words_of

_SPARSE_SHARE: Final = 1 / 12
"""A change of more values than this is kept as a delta."""

_DENSE_SHARE: Final = 1 / 2
"""A block with more changed values than this is not looked at twice."""

_BLOCKS_AFTER: Final = 6
"""Blocks that are looked at to see whether all of a group is like its first changed block."""


@dataclass(frozen=True, slots=True)
class Residual:
    """How a change is kept on top of a prediction, and the bytes of that alone; estimated for a delta."""

    plan: Plan | None
    nbytes: int
    is_delta: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Differences:
    """A payload: the zigzag codes of new values minus predicted ones, made as they are written.

    Each block is undone and compared before it is given out, so that what is written gives the new values.
    """

    change: Change
    prediction: Prediction
    readers: Readers

    @property
    def itemsize(self) -> int:
        """Bytes of a word."""
        return words_of(self.change.group.dtype).size

    @property
    def nbytes(self) -> int:
        """Bytes of the differences: as many as the values have."""
        return self.change.group.nbytes

    def rows(self) -> Iterator[Rows]:
        """The codes in blocks; see `payloads.Payload`."""
        words = words_of(self.change.group.dtype)
        predicted = self.prediction.rows(self.readers.mine())
        room = np.empty((2, min(self.nbytes, block_nbytes(self.change.group)) // words.size), words.dtype)
        for new, base in zip(self.change.wanted.rows(), predicted, strict=True):
            codes, check = room[:, : new.nbytes // words.size]
            difference(words.view(new), words.view(base), words, codes)
            add(words.view(base), codes, words, check)
            if not np.array_equal(check, words.view(new)):
                raise UnusableBaseError("the difference cannot be undone")
            rows = codes.view(np.uint8).reshape(-1, words.size)
            for start in range(0, len(rows), BLOCK_ROWS):
                yield rows[start : start + BLOCK_ROWS]


def fit_residual(change: Change, prediction: Prediction, readers: Readers, enough: float = 0) -> Residual:
    """Find out how to keep a change on top of a prediction.

    Args:
        change: to keep.
        prediction: what it is compared with.
        readers: give the values of bases.
        enough: bytes with which a delta is good enough, so that no more blocks are looked at to see it become smaller.

    Raises:
        UnusableBaseError: the prediction cannot be made.
        ChangedWhileReadingError: the new values have changed.
    """
    words = words_of(change.group.dtype)
    total = change.group.nbytes // words.size
    places: list[Places] = []
    codes: list[Numbers] = []
    count = done = 0
    pairs = zip(change.wanted.rows(), prediction.rows(readers.mine()), strict=True)
    for new, base in pairs:
        found = np.empty(new.nbytes // words.size, words.dtype)
        difference(words.view(new), words.view(base), words, found)
        changed = np.flatnonzero(found)
        count += len(changed)
        if count > min(MAX_COUNT, total * _SPARSE_SHARE) or len(changed) > max(1, len(found) * _DENSE_SHARE):
            sample = found.view(np.uint8).reshape(-1, words.size)
            nbytes = stored_nbytes(sample, change.group.nbytes)
            if nbytes > enough:
                nbytes = int(nbytes * _changed_share(pairs, words, (len(changed), len(found))))
            plan = Plan("delta", Differences(change, prediction, readers), (prediction.plan,))
            return Residual(plan, nbytes, is_delta=True)
        places.append(changed + done)
        codes.append(found[changed])
        done += len(found)
    return _sparse(np.concatenate(places), np.concatenate(codes), prediction, words)


def _changed_share(pairs: Iterator[tuple[Rows, Rows]], words: Words, first: tuple[int, int]) -> float:
    """How much of the group is changed as much as its first block, from the blocks that follow."""
    density = first[0] / first[1]
    shares = [1.0]
    for _, (new, base) in zip(range(_BLOCKS_AFTER), pairs, strict=False):
        changed = np.count_nonzero(words.view(new) != words.view(base))
        shares.append(min(1.0, changed / (new.nbytes // words.size) / density))
    return sum(shares) / len(shares)


def _sparse(places: Places, codes: Numbers, prediction: Prediction, words: Words) -> Residual:
    if not len(places):
        return Residual(None, 0)
    try:
        rows = pack(places, codes, words)
    except ValueError as error:
        raise UnusableBaseError(str(error)) from error
    parameters = (("count", len(places)),)
    return Residual(Plan("sparse", Array(rows), (prediction.plan,), parameters), stored_nbytes(rows, rows.nbytes))
