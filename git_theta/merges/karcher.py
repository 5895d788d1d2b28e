"""The Karcher mean of the directions: the point of the sphere that is nearest to all of them (Karcher 1977)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from git_theta.errors import MergeError
from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, combine, gram
from git_theta.merges.parameters import POSITIVE, Kind, Parameter, Params

_MAX_ITER: Final = Parameter("max_iter", Kind.COUNT, 10, "steps at most", range=(1, 10_000))
_TOL: Final = Parameter("tol", Kind.NUMBER, 1e-5, "steps and lengths below it count as none", range=POSITIVE)
_WITH_BASE: Final = Parameter("with_base", Kind.FLAG, False, "the base is one more input")
_OPPOSITE: Final = -1 + 1e-9
_TINY: Final = 1e-12


def karcher() -> MergeMethod:
    """The mean direction of the inputs, with their mean length."""
    return Method("karcher", _merge, (_MAX_ITER, _TOL, _WITH_BASE), reads_base=_reads_base)


def _reads_base(_count: int, params: Params) -> bool:
    return params.flag("with_base")


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    arrays = [*inputs, *([base] if base is not None and params.flag("with_base") else [])]
    if len(arrays) == 1:
        return inputs[0].copy()
    if inputs[0].size == 1:
        # A single number has no direction but its sign, so the numbers themselves are averaged.
        return combine([(1.0 / len(arrays), array) for array in arrays], inputs[0])
    products = gram(arrays)
    norms = np.sqrt(np.diag(products))
    used = np.flatnonzero(norms > params.number("tol"))
    if not used.size:
        return np.zeros_like(inputs[0])
    cosines = products[np.ix_(used, used)] / np.outer(norms[used], norms[used])
    np.fill_diagonal(cosines, 1.0)
    mean = _mean(np.clip(cosines, -1.0, 1.0), params.count("max_iter"), params.number("tol"))
    factors = mean / norms[used] * norms.mean()
    return combine([(float(factor), arrays[i]) for factor, i in zip(factors, used, strict=True)], inputs[0])


def _mean(cosines: Floats, steps: int, tolerance: float) -> Floats:
    """The mean of unit vectors, as factors of them.

    Args:
        cosines: their inner products.
        steps: at most so many are taken.
        tolerance: stop when a step is shorter (radians).

    Raises:
        MergeError: the vectors cancel out, or one is opposite to the mean.
    """
    count, tolerance = len(cosines), max(tolerance, _TINY)
    mean = np.full(count, 1.0 / count)
    for _ in range(steps):
        mean = _unit(mean, cosines)
        towards = np.clip(cosines @ mean, -1.0, 1.0)
        if (towards <= _OPPOSITE).any():
            raise _no_mean()
        angles = np.arccos(towards)
        pulls = np.where(angles < tolerance, 0.0, angles / np.maximum(np.sin(angles), 1e-12)) / count
        step = pulls - float(pulls @ towards) * mean
        length = _length(step, cosines)
        if length < tolerance:
            break
        mean = math.cos(length) * mean + math.sin(length) / length * step
    return _unit(mean, cosines)


def _length(factors: Floats, cosines: Floats) -> float:
    return math.sqrt(max(0.0, float(factors @ cosines @ factors)))


def _unit(factors: Floats, cosines: Floats) -> Floats:
    length = _length(factors, cosines)
    if length < 1e-7:
        raise _no_mean()
    return factors / length


def _no_mean() -> MergeError:
    return MergeError("the directions of the inputs cancel out, so they have no mean: take one side")
