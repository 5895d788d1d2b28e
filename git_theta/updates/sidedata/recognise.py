"""Whether values are the result of a change already, computed by another program: equal up to the order of rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from git_theta.updates.sidedata.apply import apply, apply_all
from git_theta.updates.sidedata.changes import Change, LowRank, Scale, SparseChange, check
from git_theta.updates.sidedata.values import FLOATS, ROUNDOFF, Array, Floats, coarsest, computed, narrow, shaped, widen

_LEAST: Final[Mapping[str, float]] = {
    "float16": 2.0**-24,
    "bfloat16": 2.0**-133,
    "float32": 2.0**-149,
    "float64": 2.0**-1074,
}
"""The smallest number above 0."""

_BLOCK: Final = 1 << 18


def is_result(changes: Sequence[Change], old: Array, new: Array, dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether values are what changes give, as other programs merge: in float32, summed in any order.

    The factors may have been rounded to the group's dtype, as a whole model with its adapter is. The product may have
    been scaled after it was computed, and rounded to the group's dtype, or to that of the data, before it was added:
    PEFT computes the product in the adapter's dtype.
    Values that a change replaces or leaves alone must be the same.

    Args:
        changes: of one group, in order; all but the last are taken as `apply_all` does them.
        old: the group's values before; contiguous, only the bytes count.
        new: the values to recognise, likewise.
        dtype: of the group, a name of `tensors.BLOCKS`.
        shape: of the group.

    Raises:
        UsageError: a change does not fit the group, or `old` is not the group's size.
    """
    before = shaped(apply_all(changes[:-1], old, dtype, shape), dtype, shape)
    after = shaped(new, dtype, shape)
    if not changes:
        return _same(before, after)
    last = changes[-1]
    check(last, dtype, shape)
    with np.errstate(all="ignore"):
        match last:
            case LowRank():
                return all(_near(*piece, dtype) for piece in _low_rank(last, before, after, dtype))
            case Scale():
                return all(_near(*piece, dtype) for piece in _scale(last, before, after, dtype))
            case SparseChange() if dtype in FLOATS:
                return _sparse(last, before, after, dtype)
            case _:
                return _same(apply(last, before, dtype, shape), after)


def _same(one: Array, other: Array) -> bool:
    return np.array_equal(_bits(one), _bits(other))


def _bits(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _near(found: Floats, wanted: Floats, slack: Floats, dtype: str) -> bool:
    """Whether numbers differ by no more than two roundings of them, and a slack."""
    bound = 2 * ROUNDOFF[dtype] * np.abs(wanted) + slack + 2 * _LEAST[dtype]
    near = (np.abs(found - wanted) <= bound) & np.isfinite(bound)
    rounded = widen(narrow(wanted, dtype), dtype)
    return bool((near | (found == rounded) | (np.isnan(found) & np.isnan(wanted))).all())


def _low_rank(change: LowRank, old: Array, new: Array, dtype: str) -> Iterator[tuple[Floats, Floats, Floats]]:
    rows, columns = len(change.r), change.c.shape[1]
    roundoff = ROUNDOFF[coarsest([dtype, change.given])]
    before, after = old.reshape(rows, columns), new.reshape(rows, columns)
    wide = computed(dtype)
    step = max(1, _BLOCK // max(1, columns))
    factors = change.c.astype(wide, copy=False)
    for start in range(0, rows, step):
        block = slice(start, start + step)
        r = change.r[block].astype(wide, copy=False)
        product = r @ factors
        wide_before = widen(before[block], dtype)
        # A sum of the old value and k products, each of them and of the sums rounded; twice, since both sides are.
        products = np.abs(r) @ np.abs(factors)
        computing = 2 * (r.shape[1] + 3) * 2.0**-24 * (products + np.abs(wide_before))
        sums = np.abs(r).sum(axis=1, keepdims=True) + np.abs(factors).sum(axis=0)
        rounded_factors = 2 * ROUNDOFF[dtype] * products + _LEAST[dtype] * sums
        rounded_product = 2 * roundoff * np.abs(product) + 2 * _LEAST[change.given]
        slack = computing + rounded_factors + rounded_product
        yield widen(after[block], dtype), wide_before + product, slack


def _scale(change: Scale, old: Array, new: Array, dtype: str) -> Iterator[tuple[Floats, Floats, Floats]]:
    before, after = (array.reshape(old.shape or (1,)) for array in (old, new))
    vector = np.broadcast_to(change.vector, before.shape)
    step = max(1, _BLOCK // max(1, math.prod(before.shape[1:])))
    for start in range(0, len(before), step):
        block = slice(start, start + step)
        wanted = widen(before[block], dtype) * vector[block]
        # The vector itself may have been rounded to the group's dtype.
        yield widen(after[block], dtype), wanted, 2 * ROUNDOFF[dtype] * np.abs(wanted)


def _sparse(change: SparseChange, old: Array, new: Array, dtype: str) -> bool:
    before, after = old.reshape(-1), new.reshape(-1)
    others = np.ones(before.size, bool)
    others[change.indices] = False
    wide = widen(before[change.indices], dtype)
    data = change.data.astype(wide.dtype, copy=False)
    slack = 2 * ROUNDOFF[coarsest([dtype, change.given])] * np.abs(data)
    return _same(before[others], after[others]) and _near(
        widen(after[change.indices], dtype), wide + data, slack, dtype
    )
