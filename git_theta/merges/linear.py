"""Weighted averages of the values themselves ("model soups", Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

from typing import Final

from git_theta.errors import MergeError
from git_theta.merges import MergeMethod
from git_theta.merges.numerics import normalized
from git_theta.merges.parameters import Kind, Parameter, Params
from git_theta.merges.sums import weighted_sum

WEIGHT: Final = Parameter("weight", Kind.NUMBER, 1.0, "how much the input counts", per_input=True)
_NORMALIZE: Final = Parameter("normalize", Kind.FLAG, True, "divide by the sum of the weights")
_BASE_WEIGHT: Final = Parameter("base_weight", Kind.NUMBER, 0.0, "how much the base counts")
_WITH_BASE: Final = Parameter("with_base", Kind.FLAG, False, "the base is averaged as well")


def linear() -> MergeMethod:
    """The sum of weight times input; over the sum of the weights if `normalize`."""
    return weighted_sum("linear", _linear, (WEIGHT, _NORMALIZE, _BASE_WEIGHT))


def average() -> MergeMethod:
    """The mean of the inputs, and of the base if `with_base`."""
    return weighted_sum("average", _average, (_WITH_BASE,))


def _linear(_count: int, has_base: bool, params: Params) -> tuple[float, ...]:
    base_weight = params.number("base_weight")
    if base_weight and not has_base:
        raise MergeError("base_weight is given but there is no base: leave it out")
    weights = (*params.numbers("weight"), *([base_weight] if has_base else []))
    return normalized(weights, "set normalize to false") if params.flag("normalize") else weights


def _average(count: int, has_base: bool, params: Params) -> tuple[float, ...]:
    with_base = params.flag("with_base")
    if with_base and not has_base:
        raise MergeError("with_base is set but there is no base: leave it out")
    share = 1.0 / (count + with_base)
    return (*(share,) * count, *([share * with_base] if has_base else []))
