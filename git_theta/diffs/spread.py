"""How the values of one group are spread: exact figures, added up block by block."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from msgspec import Struct

from git_theta.diffs.numbers import Floats, Rows, floats, steps

_WIDE: Final = {"int64": "<i8", "uint64": "<u8"}
"""Integers that float64 cannot tell apart."""


class Spread(Struct, frozen=True):
    """Figures of a group's values; of a complex value, both parts count.

    Attributes:
        count: of numbers.
        minimum, maximum: of the finite ones; None if there is none. Exact, also for integers of 64 bits.
        mean: of the finite ones; None if there is none.
        deviation: their standard deviation (of the whole population); None if there is none.
        norm: Euclidean, of the finite ones.
        zeros: how many are zero, of either sign.
        nans: how many are NaN.
        infinities: how many are infinite.
    """

    count: int
    minimum: float | int | None
    maximum: float | int | None
    mean: float | None
    deviation: float | None
    norm: float
    zeros: int
    nans: int
    infinities: int


def spread(blocks: Iterable[Rows], dtype: str) -> Spread:
    """The figures of all values.

    Args:
        blocks: the bytes of the values, in pieces of any size.
        dtype: one for which `numbers.is_numeric` holds.
    """
    sums = _Sums()
    for rows in steps(blocks, dtype):
        sums.add(rows, dtype)
    return sums.result()


class _Sums:
    """What has been added up. Values are scaled down first where their squares would overflow."""

    def __init__(self) -> None:
        self._count = self._zeros = self._nans = self._finite = 0
        self._limits: list[float | int] = []
        self._mean = self._norm = self._deviation = 0.0

    def add(self, flat: Rows, dtype: str) -> None:
        """Take some bytes."""
        with np.errstate(all="ignore"):
            numbers = floats(flat, dtype)
            self._count += numbers.size
            self._zeros += int(np.count_nonzero(numbers == 0))
            self._nans += int(np.count_nonzero(np.isnan(numbers)))
            finite = numbers[np.isfinite(numbers)]
            if finite.size:
                exact = flat.view(_WIDE[dtype]) if dtype in _WIDE else finite
                self._limits = [*self._limits, exact.min().item(), exact.max().item()]
                self._limits = [min(self._limits), max(self._limits)]
                self._join(finite)

    def _join(self, finite: Floats) -> None:
        """Join the mean and the deviation of some numbers with those of all before (Chan, Golub and LeVeque 1979)."""
        # Each is divided before they are added, since a sum of large numbers may overflow where their mean does not.
        mean = float(np.sum(finite / finite.size))
        total = self._finite + finite.size
        before, here = self._finite / total, finite.size / total
        apart = mean - self._mean
        between = abs(apart) * math.sqrt(before * here)
        self._deviation = math.hypot(
            self._deviation * math.sqrt(before), _root_mean_square(finite - mean) * math.sqrt(here), between
        )
        self._mean += apart * here
        self._norm = math.hypot(self._norm, _root_mean_square(finite) * math.sqrt(finite.size))
        self._finite = total

    def result(self) -> Spread:
        """The figures of all that was added."""
        least, most = self._limits or (None, None)
        return Spread(
            count=self._count,
            minimum=least,
            maximum=most,
            mean=self._mean if self._finite else None,
            deviation=self._deviation if self._finite else None,
            norm=self._norm,
            zeros=self._zeros,
            nans=self._nans,
            infinities=self._count - self._nans - self._finite,
        )


def _root_mean_square(numbers: Floats) -> float:
    """Squares neither overflow nor vanish."""
    largest = float(np.max(np.abs(numbers)))
    if largest == 0 or not math.isfinite(largest):
        return largest
    _, exponent = math.frexp(largest)
    scaled = np.ldexp(numbers, -exponent)
    return math.ldexp(math.sqrt(float(scaled @ scaled) / numbers.size), exponent)
