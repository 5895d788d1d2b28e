"""Numbers rounded once to bfloat16."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from git_theta.rounding import bfloat16_bits


def exact(value: float) -> int:
    """The bits of the nearest bfloat16, ties to even, found by comparing exactly with both neighbours."""
    if np.isnan(value):
        return 0x7FC0
    sign = 0x8000 if np.signbit(value) else 0
    if abs(value) >= 2.0**128 * (1 - 2.0**-9):
        return sign | 0x7F80
    low = int(np.float32(abs(value)).view(np.uint32)) >> 16
    candidates = [bits for bits in (low - 1, low, low + 1) if 0 <= bits < 0x7F80]

    def distance(bits: int) -> tuple[Fraction, int]:
        found = float(np.uint32(bits << 16).view(np.float32))
        return abs(Fraction(abs(value)) - Fraction(found)), bits & 1

    return sign | min(candidates, key=distance)


def awkward() -> Any:
    generator = np.random.default_rng(0)
    every = (np.arange(0, 0x7F80, 37, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
    between = (every[:-1] + every[1:]) / 2
    noise = generator.integers(0, 1 << 64, 2000, dtype=np.uint64).view(np.float64)
    values = np.concatenate([every, between, np.nextafter(between, 0), np.nextafter(between, np.inf), noise])
    limits = [0.0, np.inf, np.nan, 2.0**-126, 2.0**-127, 2.0**-134, 2.0**-150, 3.3895e38, 3.4e38, 1e300, 5e-324]
    values = np.concatenate([values, limits])
    return np.concatenate([values, -values])


@pytest.mark.parametrize("is_normal", [True, False])
def test_float64_is_rounded_once_to_the_nearest(is_normal: bool) -> None:
    values = awkward()
    if is_normal:
        values = values[~(np.abs(values) < 2.0**-126) | (values == 0)]
    found = bfloat16_bits(values)
    assert found.tolist() == [exact(float(value)) for value in values]


def test_float32_is_rounded_as_ml_dtypes_does() -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 300_000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    with np.errstate(all="ignore"):
        rounded = values.astype(ml_dtypes.bfloat16)
    wanted = rounded.view(np.uint16).astype(np.uint32)
    wanted[np.isnan(values)] = 0x7FC0
    assert np.array_equal(bfloat16_bits(values), wanted)


def test_arrays_of_any_shape_and_strides_are_taken_and_left_as_they_are() -> None:
    values = np.random.default_rng(0).standard_normal((6, 8))[::2, ::-1]
    before = values.copy()
    found = bfloat16_bits(values)
    assert found.shape == (3, 8)
    assert np.array_equal(found, bfloat16_bits(before.copy()))
    assert np.array_equal(values, before)
