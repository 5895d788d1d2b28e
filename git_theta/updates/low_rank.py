"""The low-rank update: the base, seen as a matrix, plus a product R @ C of two narrow ones, rounded once.

The product is a sum of products of a column of R with a row of C, in their order, elementwise: never a call of BLAS,
whose order of summation differs from machine to machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.store.planes import Rows
from git_theta.updates.floats import WORKING, Floats, narrow, widen
from git_theta.updates.reading import Group, Reader, sequence_nbytes, whole_nbytes
from git_theta.updates.single import base_of, count_parameter

_STEP: Final = 1 << 19
"""Elements that are computed at once. With fewer, threads would wait for each other."""

Factor = npt.NDArray[np.floating[Any]]


class LowRank:
    """The low-rank update."""

    name = "low-rank"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`."""
        rank, kept = _settings(update, group)
        rows, columns = matrix_shape(group.shape)
        nbytes = rank * (rows + columns) * tensors.itemsize(kept)
        flat = widen(reader.whole(update.object, nbytes), kept)
        product = Product.of(flat, rank, group)
        del flat  # It may be twice as large as what is made of it.
        start = 0
        compute = reader.computing(group)
        for base in reader.values(base_of(update), group):
            yield compute(partial(_apply, product, base, start), base.nbytes, tensors.itemsize(group.dtype))
            start += base.nbytes // tensors.itemsize(group.dtype)

    def payload_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of both factors."""
        rank, kept = _settings(update, group)
        return rank * sum(matrix_shape(group.shape)) * tensors.itemsize(kept)

    def memory_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of both factors, and of the values that are in use at once."""
        return whole_nbytes(self.payload_nbytes(update, group)) + sequence_nbytes(group)


@dataclass(frozen=True, slots=True)
class Product:
    """What is added to a group.

    Attributes:
        left: R, of shape (rows, rank), in the dtype that is computed in.
        right: C, of shape (rank, columns), likewise.
        dtype: of the group.
    """

    left: Factor
    right: Factor
    dtype: str

    @classmethod
    def of(cls, factors: Floats, rank: int, group: Group) -> Product:
        """From both factors laid end to end, R first, of any float dtype."""
        rows, columns = matrix_shape(group.shape)
        with np.errstate(over="ignore"):
            flat = factors.astype(WORKING[group.dtype], copy=False)
        left, right = flat[: rows * rank], flat[rows * rank :]
        return cls(left.reshape(rows, rank), right.reshape(rank, columns), group.dtype)

    def add(self, base: Rows, start: int, out: Rows) -> None:
        """The sum of base and product for the elements from `start` on, as many as base has."""
        values = widen(base, self.dtype)
        columns = self.right.shape[1]
        position = 0
        with np.errstate(all="ignore"):
            while position < len(values):
                row, column = divmod(start + position, columns)
                if column or len(values) - position < columns:
                    height, width = 1, min(columns - column, len(values) - position, _STEP)
                else:
                    width = min(columns, _STEP)
                    height = 1 if width < columns else max(1, min(_STEP, len(values) - position) // columns)
                total = self._part(slice(row, row + height), slice(column, column + width)).reshape(-1)
                stop = position + len(total)
                np.add(values[position:stop], total, out=total)
                narrow(total, self.dtype, out[position:stop])
                position = stop

    def _part(self, rows: slice, columns: slice) -> Floats:
        total = self.left[rows, :1] * self.right[:1, columns]
        room = np.empty_like(total)
        for index in range(1, self.left.shape[1]):
            np.multiply(self.left[rows, index : index + 1], self.right[index : index + 1, columns], out=room)
            np.add(total, room, out=total)
        return total


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a group as a matrix: the first extent, and the others multiplied."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def _settings(update: Update, group: Group) -> tuple[int, str]:
    """Rank and dtype of the factors."""
    kept = update.parameter("dtype")
    if not isinstance(kept, str) or kept not in WORKING or group.dtype not in WORKING:
        raise CorruptObjectError(f"a low-rank update cannot give values of dtype {group.dtype}")
    return count_parameter(update, "rank", max(1, min(matrix_shape(group.shape)))), kept


def _apply(product: Product, base: Block, start: int, out: Rows) -> None:
    product.add(base.result(), start, out)
