"""Elections: of the deltas of several inputs, only those count whose sign is that of the sum; a sum of 0 elects +.

Where a loop is compiled for it (`kernels`), one pass makes the merged values; it gives what NumPy's passes give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from git_theta.kernels import MOST_INPUTS, native
from git_theta.merges import Array
from git_theta.merges.numerics import Floats, compiled_size, flat, raw
from git_theta.merges.parameters import Params
from git_theta.merges.selection import Cut

WEIGHTED: Final = "weighted"
"""The election by the sum of weighted deltas."""


Put = Callable[[slice, Array], None]
"""Puts the merged values at some positions into an array of as many."""


def compiled(inputs: Sequence[Array], base: Array, cuts: Sequence[Cut | None], params: Params) -> Put | None:
    """What merges a block in one pass; None if no loop is compiled for these.

    Args:
        inputs: arrays of the base's dtype and shape.
        base: what they came from.
        cuts: tell which elements of each delta are kept.
        params: of the method: weight, normalize, election, lambda.
    """
    size = compiled_size(base)
    found = [cut for cut in cuts if cut is not None]
    if not size or params.choice("election") != WEIGHTED or len(found) < len(cuts) or len(cuts) > MOST_INPUTS:
        return None
    arrays, below = [raw(flat(values)) for values in inputs], raw(flat(base))
    normalize, factor = params.flag("normalize"), params.number("lambda")
    each = list(zip(arrays, params.numbers("weight"), found, strict=True))

    def put(where: slice, out: Array) -> None:
        assert native is not None
        place = slice(where.start * size, where.stop * size)
        described = tuple((array[place], weight, cut.value, cut.last - where.start) for array, weight, cut in each)
        native.elected(described, below[place], size, normalize, factor, raw(out))

    return put


class Tally:
    """Merges blocks of deltas."""

    def __init__(self, weights: Sequence[float], params: Params, room: Floats) -> None:
        """Args: weights: of the deltas; params: of the method: normalize, election; room: for a block of each delta."""
        self._weights = np.array(weights)[:, None]
        self._normalize = params.flag("normalize")
        self._election = params.choice("election")
        self._room = room

    def merge(self, block: Floats) -> Floats:
        """The merged delta; the block is overwritten."""
        votes = self._room[:, : block.shape[1]]
        if self._election == WEIGHTED:
            block *= self._weights
            elected = _signs(np.add.reduce(block))
            block *= elected
            agree = block > 0
            merged: Floats = np.add.reduce(np.maximum(block, 0.0, out=block))
            merged += 0.0  # The larger of 0 and -0 is either, as the processor likes.
            merged *= elected
        else:
            np.copyto(votes, block)
            block *= self._weights
            if self._election == "count":
                np.sign(block, out=votes)
            votes *= _signs(np.add.reduce(votes))
            agree = votes > 0
            block *= agree
            merged = np.add.reduce(block)
        if self._normalize:
            weight = np.add.reduce(np.multiply(agree, self._weights, out=votes))
            weight += weight == 0
            merged /= weight
        return merged


def _signs(sums: Floats) -> Floats:
    """1 or -1; a sum of 0 elects 1, and so does one of -0, which versions of NumPy make of zeros or do not."""
    return np.copysign(1.0, sums + 0.0)
