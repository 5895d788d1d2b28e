"""Sums of inputs whose factors follow from the angles between them: for a whole group, or line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from git_theta.merges import Array
from git_theta.merges.numerics import Floats, around, check_products, gram, store

Factors = Callable[[Floats, int], Floats]
"""From inner products of shape (lines, inputs, inputs) and the length of a line to factors of shape (lines, inputs)."""

_CHUNK: Final = 1 << 18


def whole(inputs: Sequence[Array], base: Array | None, factors: Factors) -> Array:
    """The base (if any) plus the sum of factor times delta; the group is one line."""
    found = factors(gram(inputs, base)[None], inputs[0].size)
    return around(base, [float(factor) for factor in found[0]], inputs, inputs[0])


def by_lines(inputs: Sequence[Array], base: Array | None, factors: Factors) -> Array:
    """As `whole`, for each line along the last axis on its own."""
    like = inputs[0]
    length = like.shape[-1] if like.ndim else 1
    sides = [np.ascontiguousarray(array).reshape(-1, length) for array in inputs]
    below = None if base is None else np.ascontiguousarray(base).reshape(-1, length)
    out = np.empty(sides[0].shape, like.dtype)
    step = max(1, _CHUNK // length)
    for start in range(0, len(out), step):
        where = slice(start, start + step)
        ground = None if below is None else below[where].astype(np.float64)
        deltas = [side[where].astype(np.float64) for side in sides]
        if ground is not None:
            deltas = [delta - ground for delta in deltas]
        found = factors(_products(deltas), length)
        merged = np.zeros(deltas[0].shape) if ground is None else ground
        for number, delta in enumerate(deltas):
            merged += found[:, number, None] * delta
        store(merged, out[where])
    return out.reshape(like.shape)


def _products(deltas: Sequence[Floats]) -> Floats:
    """Inner products of the lines: shape (lines, inputs, inputs)."""
    count = len(deltas)
    products = np.empty((len(deltas[0]), count, count))
    for i in range(count):
        for j in range(i, count):
            products[:, i, j] = products[:, j, i] = (deltas[i] * deltas[j]).sum(axis=1)
    check_products(products)
    return products
