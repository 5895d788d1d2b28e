"""Numbers rounded once to bfloat16: NumPy has no such dtype, and from float64 a way through float32 rounds twice."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_CUT: Final = 45
"""Bits of a float64's fraction that a bfloat16 does not have."""

_SMALLEST_NORMAL: Final = 2.0**-126
_QUIET: Final = 0x7FC0

Doubles = npt.NDArray[np.float64]


def bfloat16_bits(values: Doubles | npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """The bits of bfloat16 numbers, to nearest, ties to even; every NaN is the one quiet NaN, too large is infinite.

    Args:
        values: float32 or float64, of any shape.

    Returns:
        The bits of each, in the lower half of 32.
    """
    bits = _carried(values.view(np.float32)) if values.dtype == np.float32 else _rounded(values.view(np.float64))
    nans = np.isnan(values)
    if nans.any():
        np.copyto(bits, _QUIET, where=nans)
    return bits


def rounded_to_odd(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Float64 numbers as float32 whose last bit remembers that something was cut off: rounding these is as once."""
    with np.errstate(all="ignore"):
        nearest = np.ascontiguousarray(values.astype(np.float32))
        away = np.abs(nearest.astype(np.float64)) > np.abs(values)
        inexact = (nearest.astype(np.float64) != values) & ~np.isnan(values)
    bits: npt.NDArray[np.uint32] = (nearest.view(np.uint32) - away) | inexact
    return bits.view(np.float32)


def _are_normal(values: Doubles) -> bool:
    """Whether all of them are 0 or large enough to have all the bits of a bfloat16."""
    small = np.abs(values) < _SMALLEST_NORMAL
    return not small.any() or not (small & (values != 0)).any()


def _rounded(values: Doubles) -> npt.NDArray[np.uint32]:
    """By carrying into the bits that stay, which leaves a float64 that float32 holds, unless it is too small."""
    if not _are_normal(values):
        return _carried(rounded_to_odd(values))
    whole = values.view(np.uint64)
    bits = (whole >> np.uint64(_CUT)) & np.uint64(1)
    bits += np.uint64((1 << (_CUT - 1)) - 1)
    bits += whole
    bits &= np.uint64((1 << 64) - (1 << _CUT))
    with np.errstate(all="ignore"):
        single = bits.view(np.float64).astype(np.float32)
    return single.view(np.uint32) >> np.uint32(16)


def _carried(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    bits = values.view(np.uint32)
    carried = (bits >> np.uint32(16)) & np.uint32(1)
    carried += np.uint32(0x7FFF)
    carried += bits
    carried >>= np.uint32(16)
    return carried
