"""Methods whose result is a weighted sum of the inputs and the base: it can be kept as the weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from git_theta.merges import Array, Draw, Factors, MergeMethod, Method
from git_theta.merges.numerics import combine
from git_theta.merges.parameters import Parameter, Params


def weighted_sum(
    name: str,
    factors: Factors,
    parameters: tuple[Parameter, ...],
    *,
    needs_base: bool = False,
    uses_base: bool = True,
    inputs: tuple[int, int | None] = (1, None),
) -> MergeMethod:
    """A merge method whose result is a weighted sum; see `merges.Method`."""
    return Method(
        name=name,
        compute=partial(_sum, factors),
        parameters=parameters,
        needs_base=needs_base,
        uses_base=uses_base,
        inputs=inputs,
        elementwise=True,
        factors=factors,
    )


def _sum(factors: Factors, inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    arrays = [*inputs, *([] if base is None else [base])]
    return combine(zip(factors(len(inputs), base is not None, params), arrays, strict=True), arrays[0])
