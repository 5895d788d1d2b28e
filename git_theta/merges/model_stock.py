"""Model stock: how far to go from the base to the mean of the inputs, by the angles between their changes.

Jang, Yun and Han 2024, arXiv 2403.19522.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.lines import by_lines, whole
from git_theta.merges.numerics import Floats
from git_theta.merges.parameters import Kind, Parameter, Params

_FILTER_WISE: Final = Parameter("filter_wise", Kind.FLAG, False, "each line along the last axis on its own")
_CLAMP: Final = Parameter("clamp", Kind.FLAG, False, "never go past the mean, nor away from it")


def model_stock() -> MergeMethod:
    """The base plus t times the mean change, t = N c / (1 + (N - 1) c) for a mean cosine c of N changes."""
    return Method("model_stock", _merge, (_FILTER_WISE, _CLAMP), needs_base=True, inputs=(2, None))


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    factors = partial(_factors, clamp=params.flag("clamp"))
    return (by_lines if params.flag("filter_wise") else whole)(inputs, base, factors)


def _factors(products: Floats, _length: int, *, clamp: bool) -> Floats:
    """The factor of each change. A side that changed nothing has no say; the change of a single side is taken whole."""
    norms = np.sqrt(np.einsum("lii->li", products))
    changed = norms > 0
    count = changed.sum(axis=1)
    safe = np.where(changed, norms, 1.0)
    cosines = np.clip(products / (safe[:, :, None] * safe[:, None, :]), -1.0, 1.0)
    first, second = np.triu_indices(products.shape[1], 1)
    pairs = np.maximum(count * (count - 1) // 2, 1)
    mean = cosines[:, first, second].sum(axis=1) / pairs
    below = 1 + (count - 1) * mean
    sound = np.abs(below) >= 1e-6
    ratio = np.where(sound, count * mean / np.where(sound, below, 1.0), 0.0)
    if clamp:
        ratio = np.clip(ratio, 0.0, 1.0)
    ratio = np.where(count == 1, 1.0, ratio)
    return np.where(changed, (ratio / np.maximum(count, 1))[:, None], 0.0)
