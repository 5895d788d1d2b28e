"""ExPO: go on past the input, away from the base (Zheng et al. 2024, arXiv 2404.16792)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import around
from git_theta.merges.parameters import Kind, Parameter, Params

_FACTOR: Final = Parameter("extrapolation_factor", Kind.NUMBER, 0.1, "how far past the input, in changes")


def expo() -> MergeMethod:
    """The input plus a factor times its change; of several inputs, their mean."""
    return Method("expo", _merge, (_FACTOR,), needs_base=True, elementwise=True)


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    factor = (1.0 + params.number("extrapolation_factor")) / len(inputs)
    return around(base, [factor] * len(inputs), inputs, inputs[0])
