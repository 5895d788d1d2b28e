"""SCE: select where the inputs differ most, calculate their weights, erase minority signs.

Wan, Zhong, Yang, Chen and Quan 2024 (FuseChat), arXiv 2408.07990.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, flat, loaded, pieces, rows, store
from git_theta.merges.parameters import POSITIVE, SHARE, Kind, Parameter, Params
from git_theta.merges.selection import NOTHING, Cut, key_dtype, ranking
from git_theta.merges.task_vectors import INT8_MASK

_TOPK: Final = Parameter("select_topk", Kind.NUMBER, 1.0, "share of the positions that vary which is kept", range=SHARE)
_EPS: Final = Parameter(
    "eps", Kind.NUMBER, 1e-6, "changes whose mean squares sum to less have equal weights", range=POSITIVE
)


def sce() -> MergeMethod:
    """The mean of the changes that agree in sign, weighted by their mean squares."""
    return Method("sce", _merge, (_TOPK, _EPS, INT8_MASK), needs_base=True, inputs=(0, None))


class _Selected:
    """The changes of all inputs where they differ most."""

    def __init__(self, inputs: Sequence[Array], base: Array, share: float) -> None:
        self._inputs, self.base = [flat(array) for array in inputs], flat(base)
        self._room = rows(len(inputs), base.size)
        self._dtype = key_dtype(base)
        self._cut = Cut(0.0, base.size - 1) if share >= 1 else self._select(share)

    def block(self, where: slice) -> Floats:
        """The selected changes at these positions, 0 elsewhere: shape (inputs, elements), until the next call."""
        changes = loaded(self._inputs, self.base, where, self._room)
        if self._cut.last < self.base.size - 1 or self._cut.value > 0:
            changes *= self._cut.mask(self._spread(changes), where)
        return changes

    def energies(self) -> Floats:
        """The mean square of each input's changes."""
        total = np.zeros(len(self._inputs))
        for where in pieces(self.base.size):
            total += np.square(self.block(where)).sum(axis=1)
        return total / self.base.size

    def _select(self, share: float) -> Cut:
        ranked = ranking(self.base.size, self._dtype, self._spreads)
        count = int(share * np.count_nonzero(ranked.keys))
        return ranked.largest(count) if count else NOTHING

    def _spreads(self, where: slice) -> Array:
        return self._spread(loaded(self._inputs, self.base, where, self._room))

    def _spread(self, changes: Floats) -> Array:
        """The standard deviation at each position: in the order of the variance, which might leave float32."""
        spread = changes.std(axis=0)
        # Rounding of the mean must not make a position vary at which all inputs are equal.
        spread[changes.max(axis=0) == changes.min(axis=0)] = 0.0
        return np.asarray(spread, self._dtype)


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    assert base is not None
    selected = _Selected(inputs, base, params.number("select_topk"))
    energies = selected.energies()
    total = float(energies.sum())
    even = total < params.number("eps") or not total
    weights = np.full((len(inputs), 1), 1.0 / len(inputs)) if even else energies[:, None] / total
    out = np.empty(base.size, base.dtype)
    for where in pieces(base.size):
        changes = selected.block(where)
        agree = np.where(np.add.reduce(changes) >= 0, changes > 0, changes < 0)
        counted = agree * weights
        merged = np.add.reduce(changes * counted) / np.maximum(np.add.reduce(counted), 1e-6)
        store(merged + selected.base[where], out[where])
    return out.reshape(base.shape)
