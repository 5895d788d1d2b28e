"""MagMax: at each position the largest change (Marczak, Twardowski, Trzcinski and Cygert 2024, arXiv 2407.06322)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, blockwise, flat
from git_theta.merges.parameters import Kind, Parameter, Params

_FACTOR: Final = Parameter("scaling_factor", Kind.NUMBER, 0.5, "factor of the merged change")


def magmax() -> MergeMethod:
    """The base plus a factor times the change of largest magnitude; of equal ones, that of the later input."""
    return Method("magmax", _merge, (_FACTOR,), needs_base=True, elementwise=True)


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    assert base is not None
    factor = params.number("scaling_factor")

    def step(block: Floats, _: slice) -> Floats:
        below, changes = block[0], block[1:]
        changes -= below
        largest: Floats = changes[0]
        for change in changes[1:]:
            np.copyto(largest, change, where=np.abs(change) >= np.abs(largest))
        largest *= factor
        largest += below
        return largest

    return blockwise([flat(base), *map(flat, inputs)], base, step)
