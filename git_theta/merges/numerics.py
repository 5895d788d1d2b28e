"""Arithmetic on whole groups, block by block in float64, with one rounding at the end.

A few blocks fit the processor's cache, and no temporary of a group's size is made. Sums run in a fixed order over
float64 blocks, never through BLAS, whose results depend on the processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from git_theta.errors import MergeError
from git_theta.kernels import native
from git_theta.merges import Array
from git_theta.rounding import bfloat16_bits

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BLOCK: Final = 1 << 17
"""Elements of a block: 1 MiB of float64. The few blocks of one step nearly stay in the cache; with less at a time,
threads would wait for each other, since they ask for the interpreter anew after each operation of NumPy."""

_COMPILED: Final[Mapping[str, int]] = {"bfloat16": 2, "float32": 4}


def pieces(size: int) -> Iterator[slice]:
    """The blocks of so many elements."""
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def flat(array: Array) -> Array:
    """The values in C order, one after the other; a view where possible."""
    return np.ascontiguousarray(array).reshape(-1)


def compiled_size(array: Array) -> int:
    """Bytes of a number in an array that the compiled loops take (`kernels`); 0 of another, or where there are none."""
    return _COMPILED.get(array.dtype.name, 0) if native is not None and array.dtype.isnative else 0


def raw(array: Array) -> npt.NDArray[np.uint8]:
    """The bytes of a flat array, for the compiled loops; a view."""
    return array.view(np.uint8)


def are_finite(array: Array) -> bool:
    """Whether no value is infinite or NaN."""
    values, size = array.reshape(-1), compiled_size(array)
    if native is not None and size and array.flags.c_contiguous:
        return native.finite(raw(values), size)
    with np.errstate(invalid="ignore"):  # a signalling NaN is not to be signalled
        return all(bool(np.isfinite(values[where]).all()) for where in pieces(values.size))


def rows(count: int, size: int) -> Floats:
    """Room for a block of each of so many inputs."""
    return np.empty((count, min(BLOCK, size)))


def load(array: Array, base: Array | None, out: Floats) -> Floats:
    """The values of a block as float64, less those of the base if there is one; returns `out`."""
    if base is None:
        np.copyto(out, array, casting="same_kind")
        return out
    return np.subtract(array, base, out=out, dtype=np.float64)


def loaded(vectors: Sequence[Array], base: Array | None, where: slice, room: Floats) -> Floats:
    """One block of every vector (flat arrays), as `load` makes it: an array of shape (vectors, elements)."""
    block = room[:, : where.stop - where.start]
    below = None if base is None else base[where]
    for vector, row in zip(vectors, block, strict=True):
        load(vector[where], below, row)
    return block


def store(values: Floats, out: Array) -> None:
    """Round a block to the dtype of `out`, once; what is too large becomes infinite."""
    with np.errstate(over="ignore", under="ignore"):
        if out.dtype.name == "bfloat16":
            out.view(np.uint16)[...] = bfloat16_bits(values)
        else:
            out[...] = values


def blockwise(sources: Sequence[Array], like: Array, step: Callable[[Floats, slice], Floats]) -> Array:
    """A new array of the shape and dtype of `like`, made block by block.

    Args:
        sources: flat arrays of one length.
        like: an array of as many elements.
        step: from the block of each source, shape (sources, elements), which it may overwrite, and its place, to the
            values there.
    """
    room = rows(len(sources), like.size)
    out = np.empty(like.size, like.dtype)
    for where in pieces(like.size):
        store(step(loaded(sources, None, where, room), where), out[where])
    return out.reshape(like.shape)


def combine(terms: Iterable[tuple[float, Array]], like: Array) -> Array:
    """The sum of arrays, each times a factor: terms of factor 0 are left out, and what has factor 1 is exact alone.

    Returns:
        A new array of the shape and dtype of `like`, rounded once.
    """
    used = [(factor, flat(array)) for factor, array in terms if factor != 0]

    factors = np.array([factor for factor, _ in used])[:, None]

    def step(block: Floats, where: slice) -> Floats:
        if not used:
            return np.zeros(where.stop - where.start)
        block *= factors
        total: Floats = block[0]
        # From the first term on, as the linear update sums: a sum that began with 0 would make 0 of -0.
        for term in block[1:]:
            total += term
        return total

    return blockwise([array for _, array in used], like, step)


def around(base: Array | None, factors: Sequence[float], inputs: Sequence[Array], like: Array) -> Array:
    """The base plus the sum of factor times (input - base); without a base, the sum of factor times input."""
    terms = list(zip(factors, inputs, strict=True))
    if base is None:
        return combine(terms, like)
    return combine([*terms, (remainder(factors), base)], like)


def remainder(factors: Iterable[float]) -> float:
    """The factor of a base that inputs with these factors are added to as changes of it."""
    return 1.0 - math.fsum(factors)


def gram(vectors: Sequence[Array], base: Array | None = None) -> Floats:
    """The inner products of all pairs of vectors, less the base if there is one: shape (vectors, vectors).

    Raises:
        MergeError: one is too large for float64.
    """
    count, size = len(vectors), vectors[0].size
    vectors = [flat(vector) for vector in vectors]
    base = None if base is None else flat(base)
    room, product = rows(count, size), rows(1, size)[0]
    total = np.zeros((count, count))
    for where in pieces(size):
        block = loaded(vectors, base, where, room)
        for i in range(count):
            for j in range(i, count):
                total[i, j] += np.multiply(block[i], block[j], out=product[: block.shape[1]]).sum()
    check_products(total)
    return np.triu(total) + np.triu(total, 1).T


def check_products(products: Floats) -> None:
    """Make sure that inner products are numbers.

    Raises:
        MergeError: one is not: what overflowed has no angle, or a wrong one.
    """
    if not np.isfinite(products).all():
        raise MergeError("the values are too large for the angles between them to be computed: take one side")


def cosine(product: float, one: float, other: float) -> float:
    """The cosine of an angle from the inner product and the two norms; 0 if a norm is."""
    return min(1.0, max(-1.0, product / one / other)) if one and other else 0.0


def normalized(weights: Sequence[float], hint: str) -> tuple[float, ...]:
    """The weights over their sum.

    Raises:
        MergeError: the sum is 0.
    """
    total = math.fsum(weights)
    if abs(total) < 1e-8:
        raise MergeError(f"the weights sum to 0, so nothing can be divided by their sum: {hint}")
    return tuple(weight / total for weight in weights)
