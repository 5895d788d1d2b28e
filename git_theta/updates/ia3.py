"""The ia3 update: the base times a vector, broadcast as NumPy does it (Liu et al. 2022, arXiv 2205.05638)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from msgspec import Struct

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.store.rows import Rows, rows_of
from git_theta.tensors import WORKING
from git_theta.updates.floats import Floats, narrow, widen
from git_theta.updates.reading import Group, Reader, sequence_nbytes, whole_nbytes
from git_theta.updates.single import base_of

_STEP: Final = 1 << 18
"""Elements that are computed at once. With fewer, threads would wait for each other."""


class Ia3:
    """The ia3 update."""

    name = "ia3"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`."""
        shape, kept = _settings(update, group)
        data = reader.whole(update.object, self.payload_nbytes(update, group))
        vector = widen(rows_of(data, tensors.itemsize(kept)), kept)
        scaling = Scaling.of(vector.reshape(shape), group)
        del data, vector  # They may be twice as large as what is made of it.
        start = 0
        compute = reader.computing(group)
        for base in reader.values(base_of(update), group):
            yield compute(partial(_apply, scaling, base, start), base.nbytes)
            start += base.nbytes // tensors.itemsize(group.dtype)

    def payload_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of the vector."""
        shape, kept = _settings(update, group)
        return math.prod(shape) * tensors.itemsize(kept)

    def memory_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of the vector, and of the values that are in use at once."""
        return whole_nbytes(self.payload_nbytes(update, group)) + sequence_nbytes(group)


class Scaling(Struct, frozen=True):
    """What a group is multiplied with: an array of the group's shape, mostly a broadcast one, and the group's dtype."""

    factors: Floats
    dtype: str

    @classmethod
    def of(cls, vector: Floats, group: Group) -> Scaling:
        """From a vector whose shape broadcasts to the group's."""
        with np.errstate(over="ignore"):
            factors = vector.astype(WORKING[group.dtype], copy=False)
        return cls(np.broadcast_to(factors, group.shape), group.dtype)

    def multiply(self, base: Rows, start: int, out: Rows) -> None:
        """Base times factors for the elements from `start` on, as many as base has."""
        values = widen(base, self.dtype)
        with np.errstate(all="ignore"):
            for position in range(0, len(values), _STEP):
                part = values[position : position + _STEP]
                scaled = part * _between(self.factors, start + position, start + position + len(part))
                narrow(scaled, self.dtype, out[position : position + len(part)])


def _between(factors: Floats, start: int, stop: int) -> Floats:
    """The elements of a broadcast array from one place up to another, in C order, without making all of it."""
    if factors.ndim < 2:
        return factors.reshape(-1)[start:stop]
    width = math.prod(factors.shape[1:])
    first, last = start // width, -(-stop // width)
    if width <= _STEP:
        return factors[first:last].reshape(-1)[start - first * width : stop - first * width]
    lines = range(first, last)
    return np.concatenate(
        [_between(factors[line], max(0, start - line * width), min(width, stop - line * width)) for line in lines]
    )


def is_broadcastable(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of a shape can be broadcast to the target."""
    if len(shape) > len(target):
        return False
    return all(mine in (1, theirs) for mine, theirs in zip(reversed(shape), reversed(target), strict=False))


def _settings(update: Update, group: Group) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of the vector."""
    shape, kept = update.parameter("shape"), update.parameter("dtype")
    if not isinstance(kept, str) or kept not in WORKING or group.dtype not in WORKING:
        raise CorruptObjectError(f"an ia3 update cannot give values of dtype {group.dtype}")
    extents = tuple(extent for extent in shape if type(extent) is int) if isinstance(shape, tuple) else None
    if extents is None or extents != shape or not is_broadcastable(extents, group.shape):
        raise CorruptObjectError("the ia3 update's vector does not fit the group")
    return extents, kept


def _apply(scaling: Scaling, base: Block, start: int, out: memoryview) -> None:
    size = tensors.itemsize(scaling.dtype)
    scaling.multiply(rows_of(base.result(), size), start, rows_of(out, size))
