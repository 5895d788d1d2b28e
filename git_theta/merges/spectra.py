"""Methods on the singular values of matrices. Groups that are no matrices get the mean change.

The decompositions are LAPACK's, so last bits may differ from one machine to another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np

from git_theta.errors import MergeError
from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, around
from git_theta.merges.parameters import Kind, Parameter, Params

_ALPHA: Final = Parameter("alpha", Kind.NUMBER, 1.0, "factor of the merged change")
_FACTOR: Final = Parameter("scaling_factor", Kind.NUMBER, 1.0, "factor of the merged change")


def tsv_m() -> MergeMethod:
    """Leading singular vectors of all changes, made orthogonal (Gargiulo et al. 2024, arXiv 2412.00081)."""
    return Method("tsv_m", partial(_merge, _leading, "alpha"), (_ALPHA,), needs_base=True)


def iso_c() -> MergeMethod:
    """The sum of the changes with all singular values equal (Marczak et al. 2025, arXiv 2502.04959)."""
    return Method("iso_c", partial(_merge, _even, "scaling_factor"), (_FACTOR,), needs_base=True)


def _merge(
    change: Callable[[Sequence[Array], Array], Array],
    factor: str,
    inputs: Sequence[Array],
    base: Array | None,
    params: Params,
    _draw: Sequence[Draw],
) -> Array:
    assert base is not None
    scale, count = params.number(factor), len(inputs)
    if base.ndim != 2 or min(base.shape) < count:
        return around(base, [scale / count] * count, inputs, base)
    merged = change(inputs, base).astype(np.float64)
    merged *= scale
    merged += base.astype(np.float64)
    return merged


def _changes(values: Array, base: Array) -> Array:
    """The change of one input, in float32 at least."""
    change: Floats = values.astype(np.float64) - base.astype(np.float64)
    return change if base.dtype == np.float64 else change.astype(np.float32)


def _decomposed(matrix: Array) -> tuple[Array, Array, Array]:
    """Left vectors, singular values and right vectors.

    Raises:
        MergeError: there is no end to it, as where a change is larger than its dtype can say.
    """
    with suppress(np.linalg.LinAlgError):
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        if np.isfinite(values).all():
            return left, values, right
    raise MergeError("the changes are too large for a singular value decomposition: take one side")


def _leading(inputs: Sequence[Array], base: Array) -> Array:
    rank = min(base.shape) // len(inputs)
    lefts, values, rights = [], [], []
    for side in inputs:
        left, value, right = _decomposed(_changes(side, base))
        lefts.append(left[:, :rank])
        values.append(value[:rank])
        rights.append(right[:rank])
    left, right = _orthogonal(np.hstack(lefts)), _orthogonal(np.vstack(rights))
    return np.asarray((left * np.concatenate(values)) @ right)


def _orthogonal(matrix: Array) -> Array:
    """The nearest matrix with orthogonal columns or rows."""
    left, _, right = _decomposed(matrix)
    return np.asarray(left @ right)


def _even(inputs: Sequence[Array], base: Array) -> Array:
    total = _changes(inputs[0], base)
    for side in inputs[1:]:
        total = total + _changes(side, base)
    left, values, right = _decomposed(total)
    # What is 0 but for rounding has no direction, so it cannot be raised to the mean.
    rank = int(np.count_nonzero(values > values[0] * (max(total.shape) * np.finfo(total.dtype).eps)))
    if not rank:
        return total
    return np.asarray(left[:, :rank] @ right[:rank] * values[:rank].mean())
