"""RAM: what one side changed is kept whole, what several changed is averaged.

Yuan, Shi, Zhang, Liu, Yao, Vosoughi and Lee 2026, arXiv 2601.13572.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, flat, loaded, pieces, rows, store
from git_theta.merges.parameters import POSITIVE, Kind, Parameter, Params

_EPSILON: Final = Parameter("epsilon", Kind.NUMBER, 1e-5, "smaller changes count as none", range=POSITIVE)
_R: Final = Parameter("r", Kind.NUMBER, 0.1, "how much unshared changes are strengthened")
_ALPHA: Final = Parameter("alpha", Kind.NUMBER, 0.2, "the ratio of shared to unshared that counts", range=POSITIVE)


def ram() -> MergeMethod:
    """The base plus unshared changes, and the means of shared ones."""
    return Method("ram", _ram, (_EPSILON,), needs_base=True, inputs=(0, None), elementwise=True)


def ramplus_tl() -> MergeMethod:
    """As ram, with the unshared changes of an input strengthened the more, the more of its changes are shared."""
    return Method("ramplus_tl", _ramplus, (_EPSILON, _R, _ALPHA), needs_base=True, inputs=(0, None))


def _ram(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    assert base is not None
    return _merged(inputs, base, params.number("epsilon"), [1.0] * len(inputs))


def _ramplus(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    assert base is not None
    epsilon = params.number("epsilon")
    unique, shared = _counts(inputs, base, epsilon)
    # Without unshared changes nothing is strengthened, so any ratio will do.
    ratios = [many / max(few, 1.0) for few, many in zip(unique, shared, strict=True)]
    strengths = [1.0 + params.number("r") * min(ratio, params.number("alpha")) for ratio in ratios]
    return _merged(inputs, base, epsilon, strengths)


def _counts(inputs: Sequence[Array], base: Array, epsilon: float) -> tuple[list[float], list[float]]:
    """How many positions each input alone changed, and how many it changed with others."""
    sides, below, room = [flat(array) for array in inputs], flat(base), rows(len(inputs), base.size)
    unique, shared = np.zeros(len(inputs)), np.zeros(len(inputs))
    for where in pieces(base.size):
        active = np.abs(loaded(sides, below, where, room)) > epsilon
        alone = active & (np.count_nonzero(active, axis=0) == 1)
        unique += np.count_nonzero(alone, axis=1)
        shared += np.count_nonzero(active & ~alone, axis=1)
    return unique.tolist(), shared.tolist()


def _merged(inputs: Sequence[Array], base: Array, epsilon: float, strengths: Sequence[float]) -> Array:
    sides, below, room = [flat(array) for array in inputs], flat(base), rows(len(inputs), base.size)
    factors = np.array(strengths)[:, None]
    out = np.empty(base.size, base.dtype)
    for where in pieces(base.size):
        changes: Floats = loaded(sides, below, where, room)
        active = np.abs(changes) > epsilon
        count = np.count_nonzero(active, axis=0)
        changes *= active
        mean = np.add.reduce(changes) / np.maximum(count, 1)
        changes *= factors
        merged = np.where(count > 1, mean, np.add.reduce(changes))
        store(merged + below[where], out[where])
    return out.reshape(base.shape)
