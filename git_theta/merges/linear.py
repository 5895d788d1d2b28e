"""Weighted averages of the values themselves ("model soups", Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from git_theta.errors import MergeError
from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import combine, normalized
from git_theta.merges.parameters import Kind, Parameter, Params

WEIGHT: Final = Parameter("weight", Kind.NUMBER, 1.0, "how much the input counts", per_input=True)
_NORMALIZE: Final = Parameter("normalize", Kind.FLAG, True, "divide by the sum of the weights")
_BASE_WEIGHT: Final = Parameter("base_weight", Kind.NUMBER, 0.0, "how much the base counts")
_WITH_BASE: Final = Parameter("with_base", Kind.FLAG, False, "the base is averaged as well")


def linear() -> MergeMethod:
    """The sum of weight times input; over the sum of the weights if `normalize`."""
    return Method("linear", _linear, (WEIGHT, _NORMALIZE, _BASE_WEIGHT), elementwise=True)


def average() -> MergeMethod:
    """The mean of the inputs, and of the base if `with_base`."""
    return Method("average", _average, (_WITH_BASE,), elementwise=True)


def _linear(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    weights, arrays = list(params.numbers("weight")), list(inputs)
    if params.number("base_weight"):
        if base is None:
            raise MergeError("base_weight is given but there is no base: leave it out")
        weights.append(params.number("base_weight"))
        arrays.append(base)
    factors = normalized(weights, "set normalize to false") if params.flag("normalize") else tuple(weights)
    return combine(zip(factors, arrays, strict=True), inputs[0])


def _average(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    arrays = list(inputs)
    if params.flag("with_base"):
        if base is None:
            raise MergeError("with_base is set but there is no base: leave it out")
        arrays.append(base)
    return combine([(1.0 / len(arrays), array) for array in arrays], inputs[0])
