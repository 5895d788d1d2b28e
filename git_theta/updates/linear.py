"""The linear update: a weighted sum of stored groups. It has no object: a merge by averaging costs no bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.kernels import Array, native
from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.tensors import WORKING
from git_theta.updates.reading import Group, Reader, sequence_nbytes

_LARGEST: Final = sys.float_info.max

_HALVES: Final = tuple(2.0**-exponent for exponent in range(17))
_COMPILED: Final = ("bfloat16", "float32")


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
            yield compute(work, parts[0].nbytes)

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - there is no payload
        """No bytes."""
        return 0

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - the group alone says it
        """Bytes of the sums that are in use at once."""
        return sequence_nbytes(group)


def weighted_sum(parts: Sequence[Array], weights: Sequence[float], dtype: str, out: Array) -> None:
    """The sum of weight times values, in the order given, computed in float64 and rounded once.

    Args:
        parts: values of a dtype, as many bytes each.
        weights: one for each part.
        dtype: of the values, one of `tensors.WORKING`.
        out: gets as many bytes.
    """
    if native is not None and dtype in _COMPILED and is_mean(weights, dtype):
        one, other = parts
        if native.mean(one, other, weights[0], tensors.itemsize(dtype), out):
            return
    from git_theta.updates import sums

    sums.weighted_sum(parts, weights, dtype, out, is_mean=is_mean(weights, dtype))


def is_mean(weights: Sequence[float], dtype: str) -> bool:
    """Whether a sum is that of two parts with one weight, a power of two, which float32 is wide enough for.

    A sum of two numbers that is rounded to float64 and then to float32 is as if rounded once, since 53 bits are at
    least 2 * 24 + 2 (Figueroa, When is double rounding innocuous?, 1995), and so it is with float32 and the dtypes of
    16 bits. A power of two then takes no bits away, unless the result is not a normal number.
    """
    return len(weights) == 2 and weights[0] == weights[1] and weights[0] in _HALVES and WORKING[dtype] == "<f4"


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


def _apply(parts: Sequence[Block], weights: Sequence[float], dtype: str, out: memoryview) -> None:
    weighted_sum([part.result() for part in parts], weights, dtype, out)
