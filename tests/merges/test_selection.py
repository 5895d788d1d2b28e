"""The k largest of many: as a stable sort finds them."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.merges import selection
from git_theta.merges.numerics import pieces
from git_theta.merges.selection import largest, ranking


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(-1, 41), st.integers(1, 9))
def test_the_largest_are_those_that_a_stable_sort_finds(values: list[int], count: int, block: int) -> None:
    keys = np.array(values, np.float32)
    wanted = np.zeros(keys.size, bool)
    wanted[np.argsort(-keys, kind="stable")[: max(0, count)]] = True
    with patch("git_theta.merges.numerics.BLOCK", block):
        cut = ranking(keys.size, keys.dtype, lambda where: keys[where]).largest(count)
        found = np.concatenate([cut.mask(keys[where], where) for where in pieces(keys.size)])
    assert found.tolist() == wanted.tolist()


def test_one_ranking_may_be_asked_more_than_once() -> None:
    keys = np.random.default_rng(0).permutation(100).astype(np.float64)
    ranked = ranking(100, keys.dtype, lambda where: keys[where])
    for count in (30, 70, 1, 99):
        assert np.count_nonzero(ranked.largest(count).mask(keys, slice(0, 100))) == count


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 400),
    st.floats(-0.1, 1.1),
    st.sampled_from([2, 30, 100_000]),
    st.sampled_from([0.0, 0.03, 0.3]),
)
def test_cut_by_a_sample_is_that_of_the_ranking(seed: int, size: int, share: float, values: int, margin: float) -> None:
    keys = np.sort(np.random.default_rng(seed).integers(0, values, size)).astype(np.float32)
    count = int(share * size)
    with (
        patch.multiple(selection, _SAMPLED=16, _RUN=2, _MARGIN=margin),
        patch("git_theta.merges.numerics.BLOCK", 50),
    ):
        found = largest(size, keys.dtype, lambda where: keys[where], count)
        wanted = ranking(size, keys.dtype, lambda where: keys[where]).largest(count)
        for where in pieces(size):
            assert found.mask(keys[where], where).tolist() == wanted.mask(keys[where], where).tolist()


def test_cut_of_many_keys_holds_few_of_them() -> None:
    keys = np.abs(np.random.default_rng(0).standard_normal(1 << 18)).astype(np.float32)
    with patch.object(selection, "ranking", side_effect=AssertionError("all keys are ranked")):
        cut = largest(keys.size, keys.dtype, lambda where: keys[where], keys.size // 5)
    assert np.count_nonzero(keys >= cut.value) == keys.size // 5
