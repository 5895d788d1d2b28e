"""Blocks, sums and the one rounding."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.merges.numerics import BLOCK, around, combine, gram, pieces, store

if TYPE_CHECKING:
    from git_theta.merges import Array

BF16 = ml_dtypes.bfloat16


def rounded(values: Any, dtype: Any) -> Array:
    wide = np.asarray(values, np.float64)
    out = np.empty(wide.shape, dtype)
    store(wide, out)
    return out


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_pieces_cover_everything_once(size: int) -> None:
    assert [i for piece in pieces(size) for i in (piece.start, piece.stop)] == [
        i for start in range(0, size, BLOCK) for i in (start, min(size, start + BLOCK))
    ]


def nearest_bfloat16(value: float) -> float:
    """The nearest bfloat16, of two equally near ones the even: by exact fractions, and a search."""
    near = float(np.float32(value))
    bits = int(np.float32(near).view(np.uint32)) >> 16
    around_it = [np.uint32(max(0, min(0xFFFF, bits + step)) << 16).view(np.float32) for step in (-1, 0, 1)]
    candidates = [float(one) for one in around_it if np.isfinite(one)]
    distances = [abs(Fraction(one) - Fraction(value)) for one in candidates]
    best = [one for one, gap in zip(candidates, distances, strict=True) if gap == min(distances)]
    even = [one for one in best if not int(np.float32(one).view(np.uint32)) >> 16 & 1]
    return best[0] if len(best) == 1 else even[0]


@settings(max_examples=300, deadline=None)
@given(st.integers(0x0100, 0x7F00), st.sampled_from([0, 1, -1]), st.integers(0, 52), st.sampled_from([1.0, -1.0]))
def test_rounding_to_bfloat16_is_to_nearest_even(bits: int, side: int, far: int, sign: float) -> None:
    # Values at, just above and just below the middle of two neighbours, where a second rounding would show.
    low, high = (float(np.uint32(number << 16).view(np.float32)) for number in (bits, bits + 1))
    middle = (low + high) / 2
    value = sign * (middle + side * (high - low) * 2.0**-far / 4)
    assert float(rounded([value], BF16)[0]) == nearest_bfloat16(value)


def test_rounding_keeps_what_needs_none() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(BF16)
    finite = every[(every.view(np.uint16) & 0x7F80) != 0x7F80]
    assert rounded(finite.astype(np.float64), BF16).tobytes() == finite.tobytes()


@pytest.mark.parametrize(("dtype", "large"), [(np.float16, 1e6), (BF16, 1e39), (np.float32, 1e39), (BF16, 1e300)])
def test_what_is_too_large_becomes_infinite(dtype: Any, large: float) -> None:
    assert rounded([large, -large], dtype).astype(float).tolist() == [np.inf, -np.inf]


def test_what_is_too_small_becomes_zero() -> None:
    assert rounded([1e-300, -1e-300], BF16).astype(float).tolist() == [0, 0]


def test_a_single_term_of_factor_1_is_exact() -> None:
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert combine([(0.0, values * 2), (1.0, values)], values).tobytes() == values.tobytes()
    assert around(values * 3, [1.0], [values], values).tobytes() == values.tobytes()
    assert combine([(0.0, values)], values).tolist() == np.zeros((3, 5)).tolist()


def test_inner_products_are_those_of_the_whole_vectors() -> None:
    random = np.random.default_rng(0)
    base, *vectors = random.normal(size=(4, 2 * BLOCK + 5)).astype(np.float32)
    wide = [vector.astype(np.float64) for vector in vectors]
    np.testing.assert_allclose(gram(vectors), np.array(wide) @ np.array(wide).T, rtol=1e-9)
    moved = np.array(wide) - base.astype(np.float64)
    np.testing.assert_allclose(gram(vectors, base), moved @ moved.T, rtol=1e-9)
