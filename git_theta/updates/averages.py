"""Find out whether new values are a weighted sum of the versions that a merge brings together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final

import numpy as np
from msgspec import Struct

from git_theta.store.rows import Rows
from git_theta.tensors import WORKING
from git_theta.updates.floats import widen
from git_theta.updates.linear import weighted_sum
from git_theta.updates.plans import Change, Plan
from git_theta.updates.reading import Reader
from git_theta.updates.versions import Versions

_SAMPLE: Final = 1 << 14
_FEW: Final = 1 << 10
_EXACT_SHARE: Final = 0.5
_LIKELY_SHARE: Final = 0.1
"""As many of the few first values: so few do not tell a weight exactly."""

_DECIMALS: Final = (1, 2, 3)
_NEAR: Final = 8.0
"""Values that are further off, in parts of the median, were changed after the merge, and say nothing of weights."""


class Sum(Struct, frozen=True, dict=True):
    """A prediction: a weighted sum of some of the versions, told by their numbers."""

    versions: Versions
    parts: tuple[int, ...]
    weights: tuple[float, ...]

    @cached_property
    def plan(self) -> Plan:
        """The linear update."""
        bases = tuple(self.versions.bases[part].update for part in self.parts)
        return Plan("linear", None, bases, (("weights", self.weights),))

    def rows(self, reader: Reader) -> Iterator[Rows]:
        """The values in blocks; see `plans.Prediction`."""
        out = np.empty(0, np.uint8)
        for parts in self.versions.rows(reader, *self.parts):
            out = out if out.shape == parts[0].shape else np.empty_like(parts[0])
            weighted_sum(parts, self.weights, self.versions.group.dtype, out)
            yield out


def predictions(change: Change, versions: Versions) -> Iterator[Sum]:
    """Weighted sums of two versions that give the first of the new values, mostly to the bit.

    Raises:
        UnusableBaseError: a version cannot be read.
    """
    dtype = change.group.dtype
    if dtype not in WORKING or len(versions.bases) < 2:
        return
    new = change.wanted.head()[:_SAMPLE]
    heads = [head[:_SAMPLE] for head in versions.heads()]
    for one, two in itertools.combinations(range(len(heads)), 2):
        pair = heads[one], heads[two]
        share, _ = _best(new[:_FEW], [head[:_FEW] for head in pair], dtype, _LIKELY_SHARE)
        share, weight = _best(new, pair, dtype) if share >= _LIKELY_SHARE else (0.0, 0.0)
        if share >= _EXACT_SHARE:
            yield Sum(versions, (one, two), (weight, 1 - weight))
            return


def _best(new: Rows, pair: Sequence[Rows], dtype: str, enough: float = 1.0) -> tuple[float, float]:
    """What share of the new values the likeliest weight of the first of two versions gives, and that weight.

    Those that are left are not tried when one gives enough.
    """
    best = 0.0, 0.0
    for weight in _weights(new, pair[0], pair[1], dtype):
        share = _exact_share(new, pair, (weight, 1 - weight), dtype)
        if share > best[0]:
            best = share, weight
        if share >= enough:
            break
    return best


def _exact_share(new: Rows, parts: Sequence[Rows], weights: Sequence[float], dtype: str) -> float:
    """How many of the new values the weighted sum gives to the bit: of 16-bit values, near weights give many, too."""
    out = np.empty_like(new)
    weighted_sum(parts, weights, dtype, out)
    return np.count_nonzero((out == new).all(axis=1)) / len(new)


def _weights(new: Rows, one: Rows, two: Rows, dtype: str) -> Iterator[float]:
    """Likely weights of the first of two versions: the best fit, rounded to few decimals or not."""
    with np.errstate(all="ignore"):
        values, first, second = (widen(rows, dtype).astype(np.float64) for rows in (new, one, two))
        apart, change = first - second, values - second
        ratios = change / apart
        usual = np.isfinite(ratios)
        if not usual.any():
            return
        off = np.abs(change - np.median(ratios[usual]) * apart)
        near = usual & (off <= _NEAR * np.median(off[usual]))
        fit = float(np.dot(change[near], apart[near]) / np.dot(apart[near], apart[near]))
    if np.isfinite(fit) and abs(fit) < 100:
        yield from dict.fromkeys([*(round(fit, decimals) for decimals in _DECIMALS), round(3 * fit) / 3, fit])
