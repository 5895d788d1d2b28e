"""The k largest magnitudes of a group, without sorting it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta.merges import Array
from git_theta.merges.numerics import Floats, Mask, pieces

Where = slice | npt.NDArray[np.intp]
"""Positions of elements."""

Keys = Callable[[Where], Array]
"""Gives the keys of some positions, in their order: an array that the caller may change."""

Between = Callable[[slice, float, float], tuple[int, Array]]
"""Of the keys at some positions: how many are above the second value, and those from the first value to the second."""

_SAMPLED: Final = 1 << 16
"""Keys of a sample."""

_RUN: Final = 1 << 8
"""Keys of it that lie side by side."""

_MARGIN: Final = 0.03
"""How far off the sample is expected to be at the most, as a share of the keys."""


class Cut(Struct, frozen=True):
    """Which elements are the largest: all above a value, and those equal to it up to a position.

    Attributes:
        value: the smallest that is still in.
        last: elements equal to `value` are in if their position (in C order) is not past this one.
    """

    value: float
    last: int

    def mask(self, keys: Array, where: slice) -> Mask:
        """Which of the elements at these positions are in."""
        if self.last >= where.stop - 1:
            return np.asarray(keys >= self.value)
        inside = np.asarray(keys > self.value)
        if self.last >= where.start:
            head = slice(0, self.last + 1 - where.start)
            inside[head] |= keys[head] == self.value
        return inside


NOTHING: Final = Cut(math.inf, -1)


class Ranking(Struct, frozen=True):
    """Finds the k largest. Of equal elements the one that lies first is the larger.

    Attributes:
        keys: all keys (not negative), in any order: they are partitioned in place.
        again: the keys of some positions, in their order.
    """

    keys: Array
    again: Callable[[slice], Array]

    def largest(self, count: int) -> Cut:
        """The cut that leaves so many elements in."""
        size = self.keys.size
        if count <= 0:
            return NOTHING
        if count >= size:
            return Cut(0.0, size - 1)
        self.keys.partition(size - count)
        value = self.keys[size - count]
        above = int(np.count_nonzero(self.keys[size - count :] > value))
        equal = int(np.count_nonzero(self.keys == value))
        return Cut(
            float(value), position(size, self.again, value, count - above) if equal > count - above else size - 1
        )


def ranking(size: int, dtype: np.dtype[np.floating], keys: Callable[[slice], Array]) -> Ranking:
    """The ranking of so many keys, which a function gives for any positions."""
    found = np.empty(size, dtype)
    for where in pieces(size):
        found[where] = keys(where)
    return Ranking(found, keys)


def between(keys: Keys, where: slice, low: float, high: float) -> tuple[int, Array]:
    """See `Between`."""
    block = keys(where)
    is_between = block >= low
    count = int(np.count_nonzero(is_between))
    is_between &= block <= high
    found = block[is_between]
    return count - found.size, found


def largest(
    size: int, dtype: np.dtype[np.floating], keys: Keys, count: int, look_between: Between | None = None
) -> Cut:
    """The cut that leaves the largest in, without holding all keys if there are many.

    A sample tells between which values the cut lies; one pass counts what is above, and holds what is between. Where
    the sample was wrong, all keys are ranked.

    Args:
        size: number of keys.
        dtype: of the keys.
        keys: gives those at any positions; not negative.
        count: how many are to be left in.
        look_between: as `between` does with these keys, and faster.
    """
    look_between = look_between or partial(between, keys)
    if not 0 < count < size or size < _SAMPLED:
        return ranking(size, dtype, keys).largest(count)
    low, high = _bracket(size, keys, count)
    found = [look_between(where, low, high) for where in pieces(size)]
    above, middle = sum(count for count, _ in found), np.concatenate([keys for _, keys in found])
    rest = count - above
    if not 0 < rest <= middle.size:
        return ranking(size, dtype, keys).largest(count)
    middle.partition(middle.size - rest)
    value = middle[middle.size - rest]
    needed = rest - int(np.count_nonzero(middle[middle.size - rest :] > value))
    equal = int(np.count_nonzero(middle == value))
    return Cut(float(value), position(size, keys, value, needed) if equal > needed else size - 1)


def _bracket(size: int, keys: Keys, count: int) -> tuple[float, float]:
    """Two values between which the smallest of the largest keys most probably lies."""
    starts = np.linspace(0, size - _RUN, _SAMPLED // _RUN).astype(int)
    sample = keys((starts[:, None] + np.arange(_RUN)).reshape(-1))
    place = len(sample) * (1 - count / size)
    margin = len(sample) * _MARGIN
    low, high = int(place - margin), int(place + margin) + 1
    sample.partition([max(low, 0), min(high, len(sample) - 1)])
    return (
        float(sample[low]) if low > 0 else 0.0,
        float(sample[high]) if high < len(sample) else math.inf,
    )


def position(size: int, keys: Callable[[slice], Array], value: np.floating, number: int) -> int:
    """The position of the key that is the `number`-th, counted from 1, of those that equal a value."""
    for where in pieces(size):
        found = np.flatnonzero(keys(where) == value)
        if found.size >= number:
            return int(where.start) + int(found[number - 1])
        number -= found.size
    raise AssertionError("the keys differ from one look to the next")


def key_dtype(array: Array) -> np.dtype[np.floating]:
    """The dtype in which magnitudes are ranked: float32, or float64 if the array is."""
    return np.dtype(np.float64 if array.dtype == np.float64 else np.float32)


def magnitudes(deltas: Floats, dtype: np.dtype[np.floating]) -> Array:
    """The keys for ranking by magnitude."""
    keys = deltas.astype(dtype)
    return np.abs(keys, out=keys)
