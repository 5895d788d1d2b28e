"""The low-rank update: the base, seen as a matrix, plus a product R @ C of two narrow ones, rounded once.

The product is a sum of products of a column of R with a row of C, in their order, elementwise: never a call of BLAS,
whose order of summation differs from machine to machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Final

from msgspec import Struct

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.kernels import Array, native
from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.tensors import WORKING
from git_theta.updates.reading import Group, Reader, sequence_nbytes, whole_nbytes
from git_theta.updates.single import base_of, count_parameter

_COMPILED: Final = ("bfloat16", "float32")


class LowRank:
    """The low-rank update."""

    name = "low-rank"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`."""
        rank, kept = _settings(update, group)
        rows, columns = matrix_shape(group.shape)
        nbytes = rank * (rows + columns) * tensors.itemsize(kept)
        product = Product.of(reader.whole(update.object, nbytes), kept, rank, group)
        start = 0
        compute = reader.computing(group)
        for base in reader.values(base_of(update), group):
            yield compute(partial(_apply, product, base, start), base.nbytes)
            start += base.nbytes // tensors.itemsize(group.dtype)

    def payload_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of both factors."""
        rank, kept = _settings(update, group)
        return rank * sum(matrix_shape(group.shape)) * tensors.itemsize(kept)

    def memory_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of both factors, and of the values that are in use at once."""
        return whole_nbytes(self.payload_nbytes(update, group)) + sequence_nbytes(group)


class Product(Struct, frozen=True):
    """What is added to a group.

    Attributes:
        left: R, of shape (rows, rank), in the dtype that is computed in.
        right: C, of shape (rank, columns), likewise.
        rank: columns of R.
        dtype: of the group.
    """

    left: memoryview
    right: memoryview
    rank: int
    dtype: str

    @classmethod
    def of(cls, factors: memoryview, kept: str, rank: int, group: Group) -> Product:
        """From both factors laid end to end, R first.

        Args:
            factors: their bytes, flat.
            kept: their dtype, one of `tensors.WORKING`.
            rank: columns of R.
            group: that the product is added to.
        """
        if kept == "float32" and WORKING[group.dtype] == "<f4":
            flat = factors
        elif kept == "bfloat16" and WORKING[group.dtype] == "<f4":
            flat = _widened(factors)
        else:
            from git_theta.updates import products

            flat = products.converted(factors, kept, group.dtype)
        rows, columns = matrix_shape(group.shape)
        middle = len(flat) * rows // max(1, rows + columns)
        return cls(flat[:middle], flat[middle:], rank, group.dtype)

    def add(self, base: Array, start: int, out: Array) -> None:
        """The sum of base and product for the elements from `start` on, as many as base has."""
        if native is not None and self.dtype in _COMPILED:
            native.product(base, self.left, self.right, self.rank, start, tensors.itemsize(self.dtype), out)
            return
        from git_theta.updates import products

        products.add((self.left, self.right), self.rank, self.dtype, base, start, out)


def _widened(values: memoryview) -> memoryview:
    """Numbers of bfloat16 as those of float32, of which they are the upper halves."""
    wide = bytearray(2 * len(values))
    wide[2::4], wide[3::4] = values[::2], values[1::2]
    return memoryview(wide)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a group as a matrix: the first extent, and the others multiplied."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def _settings(update: Update, group: Group) -> tuple[int, str]:
    """Rank and dtype of the factors."""
    kept = update.parameter("dtype")
    if not isinstance(kept, str) or kept not in WORKING or group.dtype not in WORKING:
        raise CorruptObjectError(f"a low-rank update cannot give values of dtype {group.dtype}")
    return count_parameter(update, "rank", max(1, min(matrix_shape(group.shape)))), kept


def _apply(product: Product, base: Block, start: int, out: memoryview) -> None:
    product.add(base.result(), start, out)
