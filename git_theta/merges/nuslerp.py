"""Spherical interpolation by weights, of whole groups or line by line, of values or of changes (from mergekit)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from git_theta.errors import MergeError
from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.linear import WEIGHT
from git_theta.merges.lines import by_lines, whole
from git_theta.merges.numerics import Floats
from git_theta.merges.parameters import Kind, Parameter, Params

FROM_BASE: Final = Parameter("with_base", Kind.FLAG, True, "merge the changes since the base, if there is one")

_FLATTEN: Final = Parameter("nuslerp_flatten", Kind.FLAG, True, "the whole group is one vector")
_ROW_WISE: Final = Parameter(
    "nuslerp_row_wise",
    Kind.FLAG,
    False,
    "if not flattened: a vector for each index of the first axis, not along the last",
)


def nuslerp() -> MergeMethod:
    """From one side to the other along the arc between them, as far as their weights say."""
    return Method("nuslerp", _merge, (WEIGHT, _FLATTEN, _ROW_WISE, FROM_BASE), inputs=(2, 2), reads_base=_reads_base)


def _reads_base(_count: int, params: Params) -> bool:
    return params.flag("with_base")


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    base = base if params.flag("with_base") else None
    one, two = params.numbers("weight")
    t = two / (one + two) if abs(one + two) >= 1e-6 else 0.5
    factors = partial(_factors, t, opposite_is_fine=base is not None)
    if params.flag("nuslerp_flatten"):
        return whole(inputs, base, factors)
    if params.flag("nuslerp_row_wise") and inputs[0].ndim > 1:
        turned = [array.swapaxes(0, -1) for array in inputs]
        merged = by_lines(turned, None if base is None else base.swapaxes(0, -1), factors)
        return np.ascontiguousarray(merged.swapaxes(0, -1))
    return by_lines(inputs, base, factors)


def _factors(t: float, products: Floats, length: int, *, opposite_is_fine: bool) -> Floats:
    """The factors of the two sides; along the straight line between vectors that have one direction, or opposite ones.

    Raises:
        MergeError: two lines of values (not of changes, which may well cancel) point in opposite directions.
    """
    norms = np.sqrt(np.einsum("lii->li", products))
    lengths = np.where(norms > 0, norms, 1.0)
    cosines = np.clip(products[:, 0, 1] / lengths[:, 0] / lengths[:, 1], -1.0, 1.0)
    opposite = cosines < -1 + 1e-6
    if opposite.any() and length > 1 and not opposite_is_fine:
        raise MergeError("the two sides point in opposite directions, so there is no arc between them: take one side")
    straight = opposite | (1 - cosines**2 <= 1e-13)
    theta = np.where(straight, 1.0, np.arccos(cosines))
    arc = np.stack([np.sin((1 - t) * theta), np.sin(t * theta)], axis=1) / np.sin(theta)[:, None]
    return np.where(straight[:, None], [1 - t, t], arc)
