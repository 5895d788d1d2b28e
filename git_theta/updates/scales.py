"""Find the vector that a group was multiplied with, from the weights alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta import tensors
from git_theta.store.rows import Rows
from git_theta.tensors import WORKING
from git_theta.updates.floats import narrow, widen
from git_theta.updates.ia3 import Scaling
from git_theta.updates.low_rank import matrix_shape
from git_theta.updates.payloads import Array
from git_theta.updates.plans import Change, Plan, Prediction
from git_theta.updates.reading import Group, Reader
from git_theta.updates.versions import Version

_EXACT_SHARE: Final = 0.5
_SAMPLE_ROWS: Final = 64
_SAMPLE_LINES: Final = 32

Vector = npt.NDArray[np.floating[Any]]


class Scaled(Struct, frozen=True, dict=True):
    """A prediction: another one times a vector.

    Attributes:
        base: what is multiplied.
        group: of the values.
        vector: of a shape that broadcasts to the group's, in the dtype that is computed in.
    """

    base: Prediction
    group: Group
    vector: Vector

    @cached_property
    def plan(self) -> Plan:
        """The ia3 update."""
        kept = "float64" if self.vector.dtype.itemsize == 8 else "float32"
        flat = np.ascontiguousarray(self.vector).reshape(-1)
        payload = np.empty((len(flat), tensors.itemsize(kept)), np.uint8)
        narrow(flat.copy(), kept, payload)
        return Plan("ia3", Array(payload), (self.base.plan,), (("dtype", kept), ("shape", self.vector.shape)))

    def rows(self, reader: Reader) -> Iterator[Rows]:
        """The values in blocks; see `plans.Prediction`."""
        scaling = Scaling.of(self.vector, self.group)
        start = 0
        for base in self.base.rows(reader):
            out = np.empty_like(base)
            scaling.multiply(base, start, out)
            yield out
            start += len(out)


def predictions(change: Change, base: Version) -> Iterator[Scaled]:
    """The scalings by a vector along the last extent, or along the first, that give most of the first values.

    Raises:
        UnusableBaseError: the base cannot be read.
    """
    group = change.group
    if group.dtype not in WORKING or len(group.shape) < 2:
        return
    height, width = matrix_shape(group.shape)
    new, old = change.wanted.head(), base.head()
    whole = len(new) // width
    if not whole:
        return
    values, before = (widen(rows[: whole * width], group.dtype).reshape(whole, width) for rows in (new, old))
    is_whole = whole == height
    columns = _scales(values, before, 0, group.dtype) if is_whole or height > whole >= _SAMPLE_ROWS else None
    lines = _scales(values, before, 1, group.dtype) if is_whole else None
    # Whoever compares the first of them with the new values reads on, and then the block that was looked at is lost.
    if columns is not None:
        yield Scaled(base, group, columns.reshape(1, *group.shape[1:]))
    if lines is not None:
        yield Scaled(base, group, lines.reshape(-1, *(1 for _ in group.shape[1:])))


def _scales(new: Vector, old: Vector, axis: int, dtype: str) -> Vector | None:
    """What each line along an axis was multiplied with; None if a sample shows that no such thing happened."""
    along = slice(None, None, max(1, new.shape[axis] // _SAMPLE_ROWS))
    few = slice(None, None, max(1, new.shape[1 - axis] // _SAMPLE_LINES))
    parts = [(along, few), (along,)] if axis == 0 else [(few, along), (slice(None), along)]
    for lines in (*parts, ...):
        found = _ratios(new[lines], old[lines], axis)
        factors = np.expand_dims(found, axis)
        if not _explains(new[lines], old[lines], factors, dtype) or _is_idle(new[lines], old[lines], factors, dtype):
            return None
    return found


def _ratios(new: Vector, old: Vector, axis: int) -> Vector:
    """What each line along an axis was multiplied with: the median of its ratios, in which rounding cancels out."""
    with np.errstate(all="ignore"):
        ratios = np.divide(new, old, dtype=np.float64)
        ratios[~np.isfinite(ratios)] = np.nan
    ratios.sort(axis)  # NaNs come last.
    middle = np.expand_dims(np.count_nonzero(np.isfinite(ratios), axis) // 2, axis)
    middle = np.minimum(middle, ratios.shape[axis] - 1)
    found: Vector = np.nan_to_num(np.take_along_axis(ratios, middle, axis).reshape(-1), nan=1.0)
    with np.errstate(all="ignore"):
        return found.astype(old.dtype)


def _is_idle(new: Vector, old: Vector, factors: Vector, dtype: str) -> bool:
    """Whether most new values are near the old ones anyway, and the factors give hardly more of them to the bit."""
    if not _explains(new, old, np.ones_like(factors), dtype):
        return False
    rows = np.empty((new.size, tensors.itemsize(dtype)), np.uint8)
    with np.errstate(all="ignore"):
        narrow((old * factors).reshape(-1), dtype, rows)
    same, scaled = (np.count_nonzero(values == new) for values in (old, widen(rows, dtype).reshape(new.shape)))
    return bool(scaled < same + _EXACT_SHARE * (new.size - same))


def _explains(new: Vector, old: Vector, factors: Vector, dtype: str) -> bool:
    """Whether most of the new values, rounded to the dtype, are old ones times factors or nearly so."""
    with np.errstate(all="ignore"):
        predicted = old * factors
        near = np.isclose(new, predicted, rtol={"bfloat16": 1e-2, "float16": 2e-3}.get(dtype, 1e-5), atol=0)
    return bool(np.count_nonzero(near) >= _EXACT_SHARE * new.size)
