"""The values that a change asks for, as NumPy computes them here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from git_theta import tensors
from git_theta.errors import UsageError
from git_theta.updates.sidedata.changes import Change, Dense, LowRank, Scale, SparseChange, check
from git_theta.updates.sidedata.values import FLOATS, Array, computed, narrow, shaped, widen

_BLOCK: Final = 1 << 18
"""Elements that are widened and rounded at a time."""


def apply(change: Change, old: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """The values that a group shall have after a change.

    They are computed in float32 (float64 for a float64 group) and rounded once, to nearest, to the group's dtype.
    R @ C is a matrix product of this machine's NumPy, so its last bits may differ elsewhere; whoever keeps the result
    as an update makes up for that.

    Args:
        change: what to do.
        old: the group's values before: contiguous, of any element type; only its bytes count. A dense change does not
            look at it.
        dtype: of the group, a name of `tensors.BLOCKS`.
        shape: of the group.

    Returns:
        An array of dtype `values.held(dtype)` and the group's shape ((bytes,) if elements share a byte), whose bytes
        are the new values. It may share memory with the change, never with `old`.

    Raises:
        UsageError: the change does not fit the group, or `old` is not the group's size.
    """
    check(change, dtype, shape)
    if isinstance(change, Dense):
        return change.values
    if old.nbytes != tensors.nbytes(dtype, shape):
        raise UsageError(f"the old values of the group {change.group!r} have {old.nbytes} bytes, which is not its size")
    before = shaped(old, dtype, shape)
    with np.errstate(all="ignore"):
        match change:
            case LowRank():
                wide = computed(dtype)
                product = change.r.astype(wide, copy=False) @ change.c.astype(wide, copy=False)
                return _elementwise(np.add, before, product.reshape(shape), dtype)
            case Scale():
                return _elementwise(np.multiply, before, np.broadcast_to(change.vector, shape), dtype)
            case SparseChange():
                return _scattered(change, before, dtype)


def apply_all(changes: Iterable[Change], old: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """The values after several changes of one group, each applied to what the one before gave; see `apply`.

    Raises:
        UsageError: as `apply`.
    """
    values = old
    for change in changes:
        values = apply(change, values, dtype, shape)
    return values


def _elementwise(operation: np.ufunc, old: Array, operand: Array, dtype: str) -> Array:
    """Operation of old values and numbers of the same shape, block by block: what is wide is never whole."""
    new = np.empty_like(old)
    rows, length = (old.shape[0], math.prod(old.shape[1:])) if old.ndim else (1, 1)
    source, result, other = (array.reshape(old.shape or (1,)) for array in (old, new, operand))
    step = max(1, _BLOCK // max(1, length))
    for start in range(0, rows, step):
        block = slice(start, start + step)
        wide = widen(source[block], dtype)
        result[block] = narrow(operation(wide, other[block].astype(wide.dtype, copy=False)), dtype)
    return new


def _scattered(change: SparseChange, old: Array, dtype: str) -> Array:
    new = old.copy()
    flat = new.reshape(-1)
    picked = flat[change.indices]
    if dtype in FLOATS:
        wide = widen(picked, dtype)
        flat[change.indices] = narrow(wide + change.data.astype(wide.dtype, copy=False), dtype)
    else:
        # As NumPy's own difference of such groups, the sum of integers wraps around.
        flat[change.indices] = picked + change.data
    return new
