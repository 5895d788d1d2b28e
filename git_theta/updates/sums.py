"""Weighted sums in passes of NumPy, where they are not compiled; see `linear`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.kernels import Array
from git_theta.store.rows import Rows, rows_of
from git_theta.updates.floats import Floats, narrow, widen

_STEP: Final = 1 << 18
"""Elements that are computed at once. With fewer, threads would wait for each other."""

_SMALLEST_NORMAL: Final = 2.0**-126


def weighted_sum(parts: Sequence[Array], weights: Sequence[float], dtype: str, out: Array, *, is_mean: bool) -> None:
    """See `linear.weighted_sum`, and `linear.is_mean`."""
    size = tensors.itemsize(dtype)
    target, rows = rows_of(out, size), [rows_of(part, size) for part in parts]
    with np.errstate(all="ignore"):
        for start in range(0, len(target), _STEP):
            place = slice(start, start + _STEP)
            cut = [part[place] for part in rows]
            if not (is_mean and _mean(cut[0], cut[1], weights[0], dtype, target[place])):
                narrow(_total(cut, weights, dtype), dtype, target[place])


def _mean(one: Rows, other: Rows, weight: float, dtype: str, out: Rows) -> bool:
    """The same of two parts with one weight, a power of two, in float32 and in a third of the time.

    Returns:
        Whether that gives the same, see `linear.is_mean`; if not, what was written is of no use.
    """
    total = np.add(widen(one, dtype), widen(other, dtype))
    np.multiply(total, np.float32(weight), out=total)
    if not _are_normal(total):
        return False
    narrow(total, dtype, out)
    return True


def _are_normal(values: Floats) -> bool:
    """Whether all of them are 0, or have all the bits of a float32."""
    sizes = np.abs(values)
    if not sizes.max() < np.inf:
        return False
    return bool(sizes.min() >= _SMALLEST_NORMAL or not ((sizes < _SMALLEST_NORMAL) & (sizes > 0)).any())


def _total(parts: Sequence[Rows], weights: Sequence[float], dtype: str) -> npt.NDArray[np.float64]:
    total = _scaled(parts[0], weights[0], dtype)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        np.add(total, _scaled(part, weight, dtype), out=total)
    return total


def _scaled(part: Rows, weight: float, dtype: str) -> npt.NDArray[np.float64]:
    scaled: npt.NDArray[np.float64] = np.multiply(widen(part, dtype), weight, dtype=np.float64)
    return scaled
