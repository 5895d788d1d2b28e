"""Arcee fusion: only changes that stand out are taken (from mergekit; Arcee AI, 2025)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from git_theta.errors import MergeError
from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, blockwise, flat
from git_theta.merges.pairs import start_and_other, starts_from_base
from git_theta.merges.parameters import Params
from git_theta.merges.selection import key_dtype

_CHUNK: Final = 1 << 18
_FLOOR: Final = 1e-8


def arcee_fusion() -> MergeMethod:
    """Ours (or the base, if there is one input), with those elements of theirs whose change stands out."""
    return Method("arcee_fusion", _merge, inputs=(1, 2), reads_base=starts_from_base)


def _merge(inputs: Sequence[Array], base: Array | None, _params: Params, _draw: Sequence[Draw]) -> Array:
    start, other = start_and_other("arcee_fusion", inputs, base)
    importance = _importance(start, other)
    threshold = _threshold(importance.copy())

    def step(block: Floats, where: slice) -> Floats:
        fused: Floats = np.where(importance[where] >= threshold, block[1], block[0])
        return fused

    return blockwise([flat(start), flat(other)], start, step)


def _importance(start: Array, other: Array) -> Array:
    """How far each element moved, times how much its line's distribution (softmax along the last axis) did; flat."""
    length = start.shape[-1] if start.ndim else 1
    here, there = (np.ascontiguousarray(array).reshape(-1, length) for array in (start, other))
    found = np.empty(here.shape, key_dtype(start))
    step = max(1, _CHUNK // length)
    for first in range(0, len(here), step):
        where = slice(first, first + step)
        old, new = here[where].astype(np.float64), there[where].astype(np.float64)
        before, after = _softmax(old), _softmax(new)
        divergence = (after * np.log(after / before)).sum(axis=1, keepdims=True)
        found[where] = np.abs(new - old) * divergence
    return found.reshape(-1)


def _softmax(lines: Floats) -> Floats:
    powers = np.exp(lines - lines.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True) + _FLOOR)


def _threshold(importance: Array) -> float:
    """The median plus 1.5 times the range between the quartiles, all of them elements; the array is reordered.

    Raises:
        MergeError: they are too large for it.
    """
    last = importance.size - 1
    low, middle, high = (int(share * last) for share in (0.25, 0.5, 0.75))
    importance.partition(sorted({low, middle, high}))
    threshold = float(importance[middle]) + 1.5 * (float(importance[high]) - float(importance[low]))
    if not math.isfinite(threshold):
        raise MergeError("the values are too large to tell which changes stand out: take one side")
    return threshold
