"""What a low-rank update adds, in passes of NumPy, where it is not compiled or for dtypes for which it is not."""

from __future__ import annotations

from typing import Final

import numpy as np

from git_theta import tensors
from git_theta.kernels import Array
from git_theta.store.rows import rows_of
from git_theta.tensors import WORKING
from git_theta.updates.floats import Floats, narrow, widen

_STEP: Final = 1 << 19
"""Elements that are computed at once. With fewer, threads would wait for each other."""


def converted(factors: memoryview, kept: str, dtype: str) -> memoryview:
    """Factors of one dtype in the dtype that is computed in for another."""
    flat = widen(rows_of(factors, tensors.itemsize(kept)), kept)
    with np.errstate(over="ignore"):
        return flat.astype(WORKING[dtype], copy=False).view(np.uint8).data


def add(factors: tuple[Array, Array], rank: int, dtype: str, base: Array, start: int, out: Array) -> None:
    """The sum of base and the product of two factors, some elements of it; see `low_rank.Product`."""
    left = np.frombuffer(factors[0], WORKING[dtype]).reshape(-1, rank)
    right = np.frombuffer(factors[1], WORKING[dtype]).reshape(rank, -1)
    size = tensors.itemsize(dtype)
    values, target = widen(rows_of(base, size), dtype), rows_of(out, size)
    columns = right.shape[1]
    position = 0
    with np.errstate(all="ignore"):
        while position < len(values):
            row, column = divmod(start + position, columns)
            if column or len(values) - position < columns:
                height, width = 1, min(columns - column, len(values) - position, _STEP)
            else:
                width = min(columns, _STEP)
                height = 1 if width < columns else max(1, min(_STEP, len(values) - position) // columns)
            total = _part(left[row : row + height], right[:, column : column + width]).reshape(-1)
            stop = position + len(total)
            np.add(values[position:stop], total, out=total)
            narrow(total, dtype, target[position:stop])
            position = stop


def _part(left: Floats, right: Floats) -> Floats:
    total: Floats = left[:, :1] * right[:1]
    room = np.empty_like(total)
    for index in range(1, left.shape[1]):
        np.multiply(left[:, index : index + 1], right[index : index + 1], out=room)
        np.add(total, room, out=total)
    return total
