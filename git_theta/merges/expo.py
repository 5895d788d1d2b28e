"""ExPO: go on past the input, away from the base (Zheng et al. 2024, arXiv 2404.16792)."""

from __future__ import annotations

from typing import Final

from git_theta.merges import MergeMethod
from git_theta.merges.numerics import remainder
from git_theta.merges.parameters import Kind, Parameter, Params
from git_theta.merges.sums import weighted_sum

_FACTOR: Final = Parameter("extrapolation_factor", Kind.NUMBER, 0.1, "how far past the input, in changes")


def expo() -> MergeMethod:
    """The input plus a factor times its change; of several inputs, their mean."""
    return weighted_sum("expo", _factors, (_FACTOR,), needs_base=True)


def _factors(count: int, _has_base: bool, params: Params) -> tuple[float, ...]:
    factors = ((1.0 + params.number("extrapolation_factor")) / count,) * count
    return (*factors, remainder(factors))
