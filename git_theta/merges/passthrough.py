"""Passthrough: the one input, or that times a factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import combine
from git_theta.merges.parameters import Kind, Parameter, Params

_SCALE: Final = Parameter("scale", Kind.NUMBER, None, "factor of the values", per_input=True)


def passthrough() -> MergeMethod:
    """The input times scale, if there is a scale."""
    return Method("passthrough", _merge, (_SCALE,), uses_base=False, inputs=(1, 1), elementwise=True)


def _merge(inputs: Sequence[Array], _base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    (scale,) = params.numbers_or_none("scale")
    return inputs[0].copy() if scale is None else combine([(scale, inputs[0])], inputs[0])
