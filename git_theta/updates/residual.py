"""Keep what a prediction leaves: nothing, a few changes (sparse), or a difference everywhere (delta)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta.store.description import BLOCK_ROWS
from git_theta.store.rows import Rows
from git_theta.updates.gaps import Places, pack, unpack
from git_theta.updates.payloads import Array, UnusableBaseError
from git_theta.updates.plans import SAMPLE_ROWS, Change, Plan, Prediction, stored_nbytes
from git_theta.updates.reading import Readers, block_nbytes
from git_theta.updates.sparse import MAX_COUNT
from git_theta.updates.versions import Version
from git_theta.updates.words import Numbers, Words, difference, words_of

_SPARSE_SHARE: Final = 1 / 12
"""A change of more values than this is kept as a delta."""

_DENSE_SHARE: Final = 1 / 2
"""A block with more changed values than this is not looked at twice."""

_BLOCKS_AFTER: Final = 6
"""Blocks that are looked at to see whether all of a group is like its first changed block."""


class Residual(Struct, frozen=True):
    """How a change is kept on top of a prediction, and the bytes of that alone; estimated for a delta."""

    plan: Plan | None
    nbytes: int


class Differences(Struct, frozen=True, eq=False):
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
        room = np.empty(min(self.nbytes, block_nbytes(self.change.group)) // words.size, words.dtype)
        for new, base in zip(self.change.wanted.rows(), predicted, strict=True):
            codes = room[: new.nbytes // words.size]
            if not difference(words.view(new), words.view(base), words, codes):
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
    limit = min(MAX_COUNT, change.group.nbytes // words.size * _SPARSE_SHARE)
    pairs = zip(change.wanted.rows(), prediction.rows(readers.mine()), strict=True)
    if isinstance(prediction, Version):
        head = change.wanted.head(), prediction.head()
        if _is_everywhere(_changed(*head, words), limit):
            return _delta(change, prediction, readers, head, itertools.islice(pairs, 1, None), enough)
    places: list[Places] = []
    codes: list[Numbers] = []
    count = done = 0
    for new, base in pairs:
        changed = _changed(new, base, words)
        if _is_everywhere(changed, limit - count):
            return _delta(change, prediction, readers, (new, base), pairs, enough)
        found = np.flatnonzero(changed)
        if len(found):
            places.append(found + done)
            codes.append(_codes(words.view(new)[found], words.view(base)[found], words))
        count += len(found)
        done += len(changed)
    if not count:
        return Residual(None, 0)
    return _sparse(np.concatenate(places), np.concatenate(codes), prediction, words)


def _changed(new: Rows, base: Rows, words: Words) -> npt.NDArray[np.bool_]:
    """For each word, whether it differs."""
    return np.not_equal(words.view(new), words.view(base))


def _is_everywhere(changed: npt.NDArray[np.bool_], limit: float) -> bool:
    """Whether a block has so many changed words that the change is no sparse one."""
    count = np.count_nonzero(changed)
    return bool(count > limit or count > max(1, len(changed) * _DENSE_SHARE))


def _delta(
    change: Change,
    prediction: Prediction,
    readers: Readers,
    seen: tuple[Rows, Rows],
    following: Iterator[tuple[Rows, Rows]],
    enough: float,
) -> Residual:
    """A delta, and what it takes, as a block that was seen and those that follow it tell."""
    words = words_of(change.group.dtype)
    new, base = (words.view(rows) for rows in seen)
    codes = np.empty(min(len(new), SAMPLE_ROWS), words.dtype)
    difference(new[: len(codes)], base[: len(codes)], words, codes)
    nbytes = stored_nbytes(codes.view(np.uint8).reshape(-1, words.size), change.group.nbytes)
    if nbytes > enough:
        count = int(np.count_nonzero(_changed(*seen, words)))
        nbytes = int(nbytes * _changed_share(following, words, (count, len(new))))
    plan = Plan("delta", Differences(change, prediction, readers), (prediction.plan,))
    return Residual(plan, nbytes)


def _codes(new: Numbers, base: Numbers, words: Words) -> Numbers:
    """The codes of changed words, undone and compared."""
    codes = np.empty_like(new)
    if not difference(new, base, words, codes):
        raise UnusableBaseError("a change cannot be undone")
    return codes


def _changed_share(pairs: Iterator[tuple[Rows, Rows]], words: Words, first: tuple[int, int]) -> float:
    """How much of the group is changed as much as its first block, from the blocks that follow."""
    density = first[0] / first[1]
    shares = [1.0]
    for _, (new, base) in zip(range(_BLOCKS_AFTER), pairs, strict=False):
        changed = _changed(new, base, words)
        shares.append(min(1.0, np.count_nonzero(changed) / len(changed) / density))
    return sum(shares) / len(shares)


def _sparse(places: Places, codes: Numbers, prediction: Prediction, words: Words) -> Residual:
    try:
        rows = pack(places, codes, words)
    except ValueError as error:
        raise UnusableBaseError(str(error)) from error
    read = unpack(rows, words)
    if not (np.array_equal(read[0], places) and np.array_equal(read[1], codes)):
        raise UnusableBaseError("the places of the changes cannot be told again")
    parameters = (("count", len(places)),)
    return Residual(Plan("sparse", Array(rows), (prediction.plan,), parameters), stored_nbytes(rows, rows.nbytes))
