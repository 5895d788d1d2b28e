"""The k largest magnitudes of a group, without sorting it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from git_theta.merges import Array
from git_theta.merges.numerics import Floats, Mask, pieces


@dataclass(frozen=True, slots=True)
class Cut:
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


NOTHING = Cut(math.inf, -1)


@dataclass(frozen=True, slots=True)
class Ranking:
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
        return Cut(float(value), self._position(value, count - above) if equal > count - above else size - 1)

    def _position(self, value: np.floating, number: int) -> int:
        """The position of the element that is so manieth of those that equal the value."""
        for where in pieces(self.keys.size):
            found = np.flatnonzero(self.again(where) == value)
            if found.size >= number:
                return int(where.start) + int(found[number - 1])
            number -= found.size
        raise AssertionError("the keys differ from one look to the next")


def ranking(size: int, dtype: np.dtype[np.floating], keys: Callable[[slice], Array]) -> Ranking:
    """The ranking of so many keys, which a function gives for any positions."""
    found = np.empty(size, dtype)
    for where in pieces(size):
        found[where] = keys(where)
    return Ranking(found, keys)


def key_dtype(array: Array) -> np.dtype[np.floating]:
    """The dtype in which magnitudes are ranked: float32, or float64 if the array is."""
    return np.dtype(np.float64 if array.dtype == np.float64 else np.float32)


def magnitudes(deltas: Floats, dtype: np.dtype[np.floating]) -> Array:
    """The keys for ranking by magnitude."""
    return np.abs(deltas).astype(dtype, copy=False)
