"""The weighted middle of any number of directions (from mergekit; goddard.blog, 2025)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from git_theta.errors import MergeError
from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.linear import WEIGHT
from git_theta.merges.numerics import around, gram, normalized
from git_theta.merges.nuslerp import FROM_BASE
from git_theta.merges.parameters import POSITIVE, Kind, Parameter, Params

_NORMALIZE: Final = Parameter("normalize_weights", Kind.FLAG, True, "divide the weights by their sum")
_EPS: Final = Parameter("eps", Kind.NUMBER, 1e-8, "lengths below it count as none", range=POSITIVE)


def multislerp() -> MergeMethod:
    """The direction of the weighted sum of the directions, with the weighted sum of the lengths."""
    return Method("multislerp", _merge, (WEIGHT, _NORMALIZE, _EPS, FROM_BASE), reads_base=_reads_base)


def _reads_base(count: int, params: Params) -> bool:
    return count > 1 and params.flag("with_base")


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    if len(inputs) == 1:
        return inputs[0].copy()
    base = base if params.flag("with_base") else None
    weights, eps = params.numbers("weight"), params.number("eps")
    if params.flag("normalize_weights"):
        weights = normalized(weights, "set normalize_weights to false")
    products = gram(inputs, base)
    norms = np.sqrt(np.diag(products))
    if inputs[0].size == 1 or not norms.any():
        # A single number has no direction but its sign, and zeros have none at all.
        return around(base, weights, inputs, inputs[0])
    # Over the length of an input that has none there is eps: a factor so large would leave nothing of the other digits.
    shares = np.where(norms > 0, np.array(weights) / (norms + max(eps, np.finfo(np.float64).tiny)), 0.0)
    length = math.sqrt(max(0.0, float((np.outer(shares, shares) * products).sum())))
    if length <= max(eps, 1e-7 * math.fsum(map(abs, weights))):
        if base is None:
            raise MergeError("the directions of the inputs cancel out, so they have no middle: take one side")
        return around(base, weights, inputs, inputs[0])
    # Mergekit then walks from the middle along the weighted sum of the tangents to the inputs. At this middle that sum
    # is 0, so the step has the length eps, and its cosine is all that is left of it.
    scale = math.cos(eps) * float((np.array(weights) * norms).sum()) / length
    return around(base, [scale * float(share) for share in shares], inputs, inputs[0])
