"""The linear update: a weighted sum of stored groups. It has no object: a merge by averaging costs no bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.kernels import native
from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.store.planes import Rows
from git_theta.updates.floats import WORKING, Floats, narrow, widen
from git_theta.updates.reading import Group, Reader, sequence_nbytes

_STEP: Final = 1 << 18
"""Elements that are computed at once. With fewer, threads would wait for each other."""

_LARGEST: Final = sys.float_info.max

_HALVES: Final = tuple(2.0**-exponent for exponent in range(17))
_COMPILED: Final = ("bfloat16", "float32")
_SMALLEST_NORMAL: Final = 2.0**-126


class Linear:
    """The linear update."""

    name = "linear"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`."""
        weights = _weights(update, group)
        compute = reader.computing(group)
        for parts in reader.side_by_side(update.bases, group):
            work = partial(_apply, parts, weights, group.dtype)
            yield compute(work, parts[0].nbytes, tensors.itemsize(group.dtype))

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - there is no payload
        """No bytes."""
        return 0

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - the group alone says it
        """Bytes of the sums that are in use at once."""
        return sequence_nbytes(group)


def weighted_sum(parts: Sequence[Rows], weights: Sequence[float], dtype: str, out: Rows) -> None:
    """The sum of weight times values, in the order given, computed in float64 and rounded once.

    Args:
        parts: values of a dtype as rows of bytes.
        weights: one for each part.
        dtype: of the values, one of `floats.WORKING`.
        out: rows of the same shape.
    """
    is_mean = len(parts) == 2 and weights[0] == weights[1] and weights[0] in _HALVES and WORKING[dtype] == "<f4"
    with np.errstate(all="ignore"):
        for start in range(0, len(out), _STEP):
            place = slice(start, start + _STEP)
            cut = [part[place] for part in parts]
            if not (is_mean and _mean(cut[0], cut[1], weights[0], dtype, out[place])):
                narrow(_total(cut, weights, dtype), dtype, out[place])


def _mean(one: Rows, other: Rows, weight: float, dtype: str, out: Rows) -> bool:
    """The same of two parts with one weight, a power of two, in float32 and in a third of the time.

    A sum of two numbers that is rounded to float64 and then to float32 is as if rounded once, since 53 bits are at
    least 2 * 24 + 2 (Figueroa, When is double rounding innocuous?, 1995), and so it is with float32 and the dtypes of
    16 bits. A power of two then takes no bits away, unless the result is not a normal number.

    Returns:
        Whether that is so; if not, what was written is of no use.
    """
    if native is not None and dtype in _COMPILED:
        return native.mean(one, other, weight, tensors.itemsize(dtype), out)
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


def _weights(update: Update, group: Group) -> list[float]:
    weights = update.parameter("weights")
    if group.dtype not in WORKING:
        raise CorruptObjectError(f"a linear update cannot give values of dtype {group.dtype}")
    if not isinstance(weights, tuple) or not update.bases or len(weights) != len(update.bases):
        raise CorruptObjectError("the linear update has not one weight for each base")
    found = [float(weight) for weight in weights if isinstance(weight, int | float) and abs(weight) <= _LARGEST]
    if len(found) != len(weights):
        raise CorruptObjectError("a weight of the linear update is no number")
    return found


def _apply(parts: Sequence[Block], weights: Sequence[float], dtype: str, out: Rows) -> None:
    weighted_sum([part.result().reshape(out.shape) for part in parts], weights, dtype, out)
