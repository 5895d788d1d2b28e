"""The task-vector methods: one engine with three switches (how deltas are thinned, elected, and scaled).

A task vector (here: delta) is the difference of an input and the base. The result is the base plus lambda times the
weighted sum of the thinned deltas; with an election, only the deltas that point where the sum does count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
from msgspec import Struct

from git_theta.errors import MergeError
from git_theta.merges import COPIES, Array, Draw, MergeMethod, Method, elections
from git_theta.merges.draws import SEED
from git_theta.merges.linear import WEIGHT
from git_theta.merges.numerics import Floats, flat, pieces, remainder, rows, store
from git_theta.merges.parameters import ANY, POSITIVE, SHARE, Kind, Parameter, Params
from git_theta.merges.pruning import Delta, Rule, Thin, Wish, cut_of, keep_all, thinning
from git_theta.merges.sums import weighted_sum

DENSITY: Final = Parameter("density", Kind.NUMBER, 1.0, "share of the delta that is kept", per_input=True, range=SHARE)
LAMBDA: Final = Parameter("lambda", Kind.NUMBER, 1.0, "factor of the merged delta", range=ANY)
INT8_MASK: Final = Parameter("int8_mask", Kind.FLAG, False, "taken for the sake of old recipes; has no effect")

_GAMMA: Final = Parameter(
    "gamma", Kind.NUMBER, 0.01, "share of the delta that is dropped as too large", per_input=True, range=SHARE
)
_EPSILON: Final = Parameter(
    "epsilon", Kind.NUMBER, 0.15, "how far chances are from the density", per_input=True, range=SHARE
)
_THRESHOLD: Final = Parameter(
    "threshold",
    Kind.NUMBER,
    None,
    "magnitude from which on deltas are kept, instead of a density",
    per_input=True,
    range=POSITIVE,
)
_ELECTION: Final = Parameter(
    "election", Kind.CHOICE, "weighted", "what is summed to elect signs", choices=("weighted", "unweighted", "count")
)
_RESCALE_BY: Final = Parameter(
    "rescale_by", Kind.CHOICE, "norm", "what rescaling restores", choices=("norm", "density")
)


class _Recipe(Struct, frozen=True):
    """The switches of one method."""

    rule: Rule
    elect: bool
    normalize: bool
    rescale: bool

    @property
    def random(self) -> bool:
        return self.rule in (Rule.RANDOM, Rule.RANKED)

    def parameters(self) -> tuple[Parameter, ...]:
        own = {Rule.OUTLIERS: (_GAMMA,), Rule.RANKED: (_EPSILON,), Rule.MAGNITUDE: (_THRESHOLD,)}
        return (
            *(WEIGHT, DENSITY),
            *own.get(self.rule, ()),
            Parameter("normalize", Kind.FLAG, self.normalize, "divide by the sum of the weights that count"),
            Parameter("rescale", Kind.FLAG, self.rescale, "make up for what was thinned out"),
            *((_RESCALE_BY, SEED) if self.random else ()),
            *((_ELECTION,) if self.elect else ()),
            *(LAMBDA, INT8_MASK),
        )


def task_arithmetic() -> MergeMethod:
    """All deltas, summed (Ilharco et al. 2022, arXiv 2212.04089)."""
    recipe = _Recipe(Rule.NONE, elect=False, normalize=False, rescale=False)
    return weighted_sum("task_arithmetic", _factors, recipe.parameters(), needs_base=True, inputs=(0, None))


def ties() -> MergeMethod:
    """The largest deltas, with an election (Yadav et al. 2023, arXiv 2306.01708)."""
    return _method("ties", _Recipe(Rule.MAGNITUDE, elect=True, normalize=True, rescale=False))


def dare_linear() -> MergeMethod:
    """Deltas thinned at random, summed (Yu et al. 2023, arXiv 2311.03099)."""
    return _method("dare_linear", _Recipe(Rule.RANDOM, elect=False, normalize=False, rescale=True))


def dare_ties() -> MergeMethod:
    """Deltas thinned at random, with an election."""
    return _method("dare_ties", _Recipe(Rule.RANDOM, elect=True, normalize=False, rescale=True))


def della_linear() -> MergeMethod:
    """Deltas thinned at random but for their ranks, summed (Deep et al. 2024, arXiv 2406.11617)."""
    return _method("della_linear", _Recipe(Rule.RANKED, elect=False, normalize=False, rescale=True))


def della() -> MergeMethod:
    """Deltas thinned at random but for their ranks, with an election."""
    return _method("della", _Recipe(Rule.RANKED, elect=True, normalize=True, rescale=True))


def breadcrumbs() -> MergeMethod:
    """The largest deltas but not the very largest, summed (Davari and Belilovsky 2023, arXiv 2312.06795)."""
    return _method("breadcrumbs", _Recipe(Rule.OUTLIERS, elect=False, normalize=False, rescale=False))


def breadcrumbs_ties() -> MergeMethod:
    """The largest deltas but not the very largest, with an election."""
    return _method("breadcrumbs_ties", _Recipe(Rule.OUTLIERS, elect=True, normalize=False, rescale=False))


def _factors(_count: int, _has_base: bool, params: Params) -> tuple[float, ...]:
    """Those of deltas that are all kept: neither density nor rescale changes any."""
    weights = params.numbers("weight")
    scale = params.number("lambda") / _total(weights, params)
    factors = tuple(scale * weight for weight in weights)
    return (*factors, remainder(factors))


def _total(weights: Sequence[float], params: Params) -> float:
    """What the sum of weighted deltas is divided by."""
    total = math.fsum(weights) if params.flag("normalize") else 1.0
    if abs(total) < 1e-8:
        raise MergeError("the weights sum to 0, so the deltas cannot be divided by their sum: set normalize to false")
    return total


def _method(name: str, recipe: _Recipe) -> MergeMethod:
    return Method(
        name,
        partial(_merge, recipe),
        recipe.parameters(),
        needs_base=True,
        inputs=(0, None),
        copies=COPIES if recipe.random else 1,
    )


def _merge(recipe: _Recipe, inputs: Sequence[Array], base: Array | None, params: Params, draw: Sequence[Draw]) -> Array:
    assert base is not None
    deltas = [Delta(values, base) for values in inputs]
    wishes = _wishes(recipe, len(inputs), params)
    thins = [thinning(delta, wish, one) for delta, wish, one in zip(deltas, wishes, draw, strict=True)]
    scales = _scales(deltas, thins, params)
    put = None
    if recipe.elect and scales is None:
        put = elections.compiled(inputs, base, [cut_of(thin, base.size) for thin in thins], params)
    put = put or _passes(recipe, deltas, thins, scales, flat(base), params)
    out = np.empty(base.size, base.dtype)
    for where in pieces(base.size):
        put(where, out[where])
    return out.reshape(base.shape)


def _passes(
    recipe: _Recipe,
    deltas: Sequence[Delta],
    thins: Sequence[Thin],
    scales: Floats | None,
    base: Array,
    params: Params,
) -> elections.Put:
    """What merges a block, in one pass of NumPy for each operation."""
    weights, factor = params.numbers("weight"), params.number("lambda")
    total = 1.0 if recipe.elect else _total(weights, params)
    tally = elections.Tally(weights, params, rows(len(deltas), base.size)) if recipe.elect else None
    room = rows(len(deltas), base.size)

    def put(where: slice, out: Array) -> None:
        block = room[:, : where.stop - where.start]
        for row, delta, thin in zip(block, deltas, thins, strict=True):
            thin(delta.block(where, row), where)
        if scales is not None:
            block *= scales
        if tally is None:
            block *= np.array(weights)[:, None]
            merged = np.add.reduce(block)
            merged /= total
        else:
            merged = tally.merge(block)
        if factor != 1.0:
            merged *= factor
        merged += base[where].astype(np.float64)
        store(merged, out)

    return put


def _wishes(recipe: _Recipe, count: int, params: Params) -> list[Wish]:
    """How the delta of each input is to be thinned."""
    own = params.values
    gammas = params.numbers("gamma") if "gamma" in own else (0.0,) * count
    epsilons = params.numbers("epsilon") if "epsilon" in own else (0.0,) * count
    thresholds = params.numbers_or_none("threshold") if "threshold" in own else (None,) * count
    by_chance = _by_chance(params)
    each = zip(params.numbers("density"), thresholds, gammas, epsilons, strict=True)
    return [Wish(recipe.rule, *one, by_chance=by_chance) for one in each]


def _by_chance(params: Params) -> bool:
    return params.flag("rescale") and params.values.get("rescale_by") == "density"


def _scales(deltas: Sequence[Delta], thins: Sequence[Thin], params: Params) -> Floats | None:
    """The factor of what is kept of each delta, of shape (deltas, 1); None if each is 1."""
    if not params.flag("rescale") or _by_chance(params):
        return None
    each = zip(deltas, thins, strict=True)
    return np.array([[1.0 if thin is keep_all else delta.shrinkage(thin)] for delta, thin in each])
