"""The unified model of EMR: elect a sign, then take the largest change of that sign (Huang et al. 2024, 2405.17461)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, blockwise, flat
from git_theta.merges.parameters import Params


def emr() -> MergeMethod:
    """The base plus, at each position, the largest change of the sign of the sum; a sum of 0 elects minus."""
    return Method("emr", _merge, needs_base=True, elementwise=True)


def _merge(inputs: Sequence[Array], base: Array | None, _params: Params, _draw: Sequence[Draw]) -> Array:
    assert base is not None

    def step(block: Floats, _: slice) -> Floats:
        below, changes = block[0], block[1:]
        changes -= below
        positive = np.add.reduce(changes) > 0
        up = np.maximum(changes.max(axis=0), 0.0)
        down = np.minimum(changes.min(axis=0), 0.0)
        merged: Floats = np.where(positive, up, down)
        merged += below
        return merged

    return blockwise([flat(base), *map(flat, inputs)], base, step)
