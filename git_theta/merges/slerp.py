"""Spherical interpolation of two sides (Shoemake 1985)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from git_theta.errors import MergeError
from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import combine, cosine, gram
from git_theta.merges.pairs import start_and_other, starts_from_base
from git_theta.merges.parameters import Kind, Parameter, Params

_T: Final = Parameter("t", Kind.NUMBER, None, "0 is the first side, 1 the second", required=True)
_STRAIGHT: Final = 0.9995
"""Vectors with a larger cosine are so close that the arc between them is a straight line."""


def slerp() -> MergeMethod:
    """From ours (or the base, if there is one input) to theirs, along the arc between them."""
    return Method("slerp", _merge, (_T,), inputs=(1, 2), reads_base=starts_from_base)


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    start, other = start_and_other("slerp", inputs, base)
    t = params.number("t")
    products = gram([start, other])
    angle = cosine(float(products[0, 1]), math.sqrt(products[0, 0]), math.sqrt(products[1, 1]))
    # A single number has no direction but its sign: between two of them there is always a straight line.
    if start.size == 1 or angle > _STRAIGHT or t in (0.0, 1.0):
        return combine([(1 - t, start), (t, other)], start)
    if angle < -_STRAIGHT:
        raise MergeError("the two sides point in opposite directions, so there is no arc between them: take one side")
    theta = math.acos(angle)
    scale = 1 / math.sin(theta)
    return combine([(math.sin((1 - t) * theta) * scale, start), (math.sin(t * theta) * scale, other)], start)
