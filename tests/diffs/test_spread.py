"""Figures of values, compared with what NumPy says of all of them at once."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from git_theta.diffs.spread import Spread, spread
from tests.diffs.samples import raw


def of(array: npt.NDArray[Any], pieces: int = 1) -> Spread:
    blocks = (raw(part) for part in np.array_split(array.reshape(-1), pieces))
    return spread(blocks, array.dtype.name)


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "int8", "uint16", "int32", "uint64", "bool"],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_figures_are_those_of_numpy(dtype: str, pieces: int) -> None:
    generator = np.random.default_rng(0)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = (generator.standard_normal(300_000) * 5 + 7).astype(kind)
    wide = array.astype(np.float64)
    found = of(array, pieces)
    assert (found.count, found.nans, found.infinities) == (array.size, 0, 0)
    assert found.zeros == np.count_nonzero(wide == 0)
    assert (found.minimum, found.maximum) == (wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(wide.std(), rel=1e-12)
    assert found.norm == pytest.approx(np.linalg.norm(wide), rel=1e-12)


def test_a_small_deviation_beside_a_large_mean_is_not_lost() -> None:
    array = 1e9 + np.random.default_rng(1).standard_normal(100_000)
    assert of(array, 7).deviation == pytest.approx(array.std(), rel=1e-7)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    array = np.array([1.0, np.nan, -np.inf, 3.0, np.inf, -0.0, 0.0], np.float32)
    found = of(array)
    assert (found.count, found.nans, found.infinities, found.zeros) == (7, 1, 2, 2)
    assert (found.minimum, found.maximum, found.mean) == (0.0, 3.0, 1.0)
    assert found.norm == pytest.approx(math.sqrt(10))


def test_nothing_finite_has_no_figures() -> None:
    found = of(np.array([np.nan, np.inf], np.float16))
    assert (found.minimum, found.maximum, found.mean, found.deviation, found.norm) == (None, None, None, None, 0.0)
    assert of(np.zeros(0, np.float32)) == Spread(0, None, None, None, None, 0.0, 0, 0, 0)


@pytest.mark.parametrize("value", [1.7e308, 5e-324, 1e-200])
def test_squares_neither_overflow_nor_vanish(value: float) -> None:
    found = of(np.array([value, -value, value, -value]), 2)
    assert (found.minimum, found.maximum, found.mean) == (-value, value, 0.0)
    assert found.norm == pytest.approx(2 * value) if value < 1e308 else math.isinf(found.norm)
    assert found.deviation == pytest.approx(value)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_of_64_bits_have_exact_limits(dtype: type[np.integer[Any]]) -> None:
    limits = np.iinfo(dtype)
    found = of(np.array([limits.max - 1, limits.max, limits.min + 1, limits.min], dtype))
    assert (found.minimum, found.maximum) == (limits.min, limits.max)
    assert isinstance(found.minimum, int)


def test_both_parts_of_a_complex_value_count() -> None:
    found = of(np.array([1 + 2j, 0 - 3j], np.complex64))
    assert (found.count, found.minimum, found.maximum, found.zeros) == (4, -3.0, 2.0, 1)
