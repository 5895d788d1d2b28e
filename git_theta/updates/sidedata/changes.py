"""What side-loaded data says about a group: the types of change, and whether they fit the group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta import tensors
from git_theta.errors import UsageError
from git_theta.updates.sidedata.values import FLOATS, INTEGERS, Array, Floats, Values, floats, from_bytes, held, narrow


class LowRank(Struct, frozen=True, eq=False):
    """new = old + R @ C.

    Attributes:
        group: its name in the checkpoint.
        r: shape (m, k), float32 or float64.
        c: shape (k, n) like r. The group's shape is (m, n), or becomes it when neighbouring axes are joined: m is the
            product of the extents before some axis, n of the others.
        given: the dtype that the data came in. Other programs may round to it what they compute of the data.
    """

    group: str
    r: Floats
    c: Floats
    given: str = "float32"


class SparseChange(Struct, frozen=True, eq=False):
    """new.flat[indices] = old.flat[indices] + data; all other elements stay.

    Attributes:
        group: its name in the checkpoint.
        data: shape (z,); float32 or float64 for a group of floating-point numbers, else the group's own dtype.
        indices: shape (z,), int64, ascending: positions in the flattened group.
        shape: (1, n), the shape of the flattened group.
        given: as that of `LowRank`.
    """

    group: str
    data: Array
    indices: npt.NDArray[np.int64]
    shape: tuple[int, int]
    given: str = "float32"


class Scale(Struct, frozen=True, eq=False):
    """new = old * vector.

    Attributes:
        group: its name in the checkpoint.
        vector: float32 or float64; broadcast to the group's shape as NumPy does.
    """

    group: str
    vector: Floats


class Dense(Struct, frozen=True, eq=False):
    """The new values themselves.

    Attributes:
        group: its name in the checkpoint.
        values: dtype `values.held` of the group's dtype, of the group's shape; its bytes are the group's.
    """

    group: str
    values: Array


Change = LowRank | SparseChange | Scale | Dense


class Either(Struct, frozen=True, eq=False):
    """One of two changes of a square matrix, of which the data does not tell for sure whether it is kept transposed.

    Attributes:
        group: its name in the checkpoint.
        likely: what the data says.
        other: what it is if the matrix is kept the other way.
        doubt: what contradicts the data, as a message; "" if nothing does.
    """

    group: str
    likely: Change
    other: Change
    doubt: str = ""


Told = Change | Either
"""What data tells about a group."""

Targets = Mapping[str, tuple[str, tuple[int, ...]]]
"""The groups of the checkpoint that is changed: dtype and shape by name."""


def readings(parts: Sequence[Told]) -> list[list[Change]]:
    """What may be meant by what is told about one group: what the data says, and, where that is one of two, the other.

    Args:
        parts: several changes of a group follow one another.
    """
    likely = [part.likely if isinstance(part, Either) else part for part in parts]
    other = [part.other if isinstance(part, Either) else part for part in parts]
    return [likely, other] if any(isinstance(part, Either) for part in parts) else [likely]


def check(change: Change, dtype: str, shape: tuple[int, ...]) -> None:
    """Make sure that a change fits its group.

    Args:
        change: to check.
        dtype: of the group, a name of `tensors.BLOCKS`.
        shape: of the group.

    Raises:
        UsageError: it does not; says why.
    """
    match change:
        case LowRank():
            problem = _floating(dtype) or _low_rank_problem(change, shape)
        case SparseChange():
            problem = _sparse_problem(change, dtype, shape)
        case Scale():
            problem = _floating(dtype) or _scale_problem(change, shape)
        case Dense():
            problem = _dense_problem(change, dtype, shape)
    if problem:
        raise UsageError(f"the update data does not fit the group {change.group!r}: {problem}")


def replacement(target: str, values: Values, dtype: str, shape: tuple[int, ...]) -> Dense:
    """The change that replaces a group's values.

    Args:
        target: the group's name.
        values: the new ones; of another floating-point dtype they are rounded to the group's.
        dtype: of the group.
        shape: of the group.

    Raises:
        UsageError: they are damaged, or do not fit the group.
    """
    if tuple(values.shape) != shape:
        problem = f"values of shape {list(values.shape)} for a shape of {list(shape)}"
        raise UsageError(f"the update data does not fit the group {target!r}: {problem}")
    if values.dtype == dtype:
        return Dense(target, from_bytes(target, values))
    if dtype not in FLOATS or values.dtype not in FLOATS:
        problem = f"values of dtype {values.dtype} for a dtype of {dtype}"
        raise UsageError(f"the update data does not fit the group {target!r}: {problem}")
    return Dense(target, narrow(floats(target, values), dtype))


def _floating(dtype: str) -> str | None:
    return None if dtype in FLOATS else f"a group of dtype {dtype} can be replaced, but not multiplied or added to"


def _low_rank_problem(change: LowRank, shape: tuple[int, ...]) -> str | None:
    r, c = change.r.shape, change.c.shape
    if len(r) != 2 or len(c) != 2 or r[1] != c[0]:
        return f"R of shape {list(r)} and C of shape {list(c)} cannot be multiplied as matrices"
    if not r[1]:
        return "R and C have rank 0"
    splits = {(math.prod(shape[:axis]), math.prod(shape[axis:])) for axis in range(1, len(shape))}
    return None if (r[0], c[1]) in splits else f"R @ C has shape {[r[0], c[1]]}, the group {list(shape)}"


def _sparse_problem(change: SparseChange, dtype: str, shape: tuple[int, ...]) -> str | None:
    size = math.prod(shape)
    if change.shape != (1, size):
        return f"a difference of shape {list(change.shape)} instead of {[1, size]}"
    if change.data.ndim != 1 or change.data.shape != change.indices.shape:
        return f"data of shape {list(change.data.shape)} and indices of shape {list(change.indices.shape)}"
    if change.indices.size and not 0 <= change.indices.min() <= change.indices.max() < size:
        return f"an index is not below {size}, the number of its elements, or negative"
    if (np.diff(change.indices) <= 0).any():
        return "an index is repeated"
    if dtype not in FLOATS:
        return _integral_problem(change, dtype)
    return None if change.data.dtype.kind == "f" else f"data of dtype {change.data.dtype} for a group of dtype {dtype}"


def _integral_problem(change: SparseChange, dtype: str) -> str | None:
    if dtype not in INTEGERS:
        return _floating(dtype)
    same = change.data.dtype == held(dtype)
    return None if same else f"data of dtype {change.data.dtype}; it must be {dtype} as the group"


def _scale_problem(change: Scale, shape: tuple[int, ...]) -> str | None:
    try:
        fits = np.broadcast_shapes(change.vector.shape, shape) == shape
    except ValueError:
        fits = False
    return None if fits else f"a scale of shape {list(change.vector.shape)} for a group of shape {list(shape)}"


def _dense_problem(change: Dense, dtype: str, shape: tuple[int, ...]) -> str | None:
    wanted = shape if tensors.BLOCKS[dtype][0] == 1 else (tensors.nbytes(dtype, shape),)
    if change.values.shape != wanted:
        return f"values of shape {list(change.values.shape)} for a group of shape {list(wanted)}"
    return None if change.values.dtype == held(dtype) else f"values of dtype {change.values.dtype}, not {dtype}"
