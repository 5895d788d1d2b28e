"""Values become arrays exactly, and are rounded once."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from git_theta.checkpoints import Values
from git_theta.errors import UsageError
from git_theta.updates.sidedata.values import floats, from_bytes, held, integers, narrow, shaped, widen
from tests.updates.sidedata.data import BFLOAT16, DTYPES, values

EVERY = np.arange(1 << 16, dtype=np.uint16)


def test_every_bfloat16_is_widened_exactly_and_comes_back() -> None:
    wide = widen(EVERY, "bfloat16")
    np.testing.assert_array_equal(wide, EVERY.view(ml_dtypes.bfloat16).astype(np.float32))
    same = ~np.isnan(wide)
    np.testing.assert_array_equal(narrow(wide, "bfloat16")[same], EVERY[same])
    assert np.isnan(widen(narrow(wide[~same], "bfloat16"), "bfloat16")).all()


def test_numbers_between_two_bfloat16_are_rounded_to_the_nearest_and_halves_to_even() -> None:
    halfway = (EVERY.astype(np.uint32) << 16) + 0x8000
    numbers = np.concatenate([halfway - 1, halfway, halfway + 1, np.random.default_rng(0).integers(0, 2**32, 1 << 18)])
    numbers = numbers.astype(np.uint32).view(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    expected = numbers.astype(BFLOAT16).view(np.uint16)
    np.testing.assert_array_equal(narrow(numbers, "bfloat16"), expected)


def test_a_float64_is_rounded_to_bfloat16_once_and_not_over_float32() -> None:
    for sign in (1.0, -1.0):
        for beside, nearest in ((2.0**-40, 1 + 2.0**-7), (-(2.0**-40), 1.0)):
            number = sign * (1 + 2.0**-8 + beside)
            assert np.float32(number) == sign * (1 + 2.0**-8)
            assert widen(narrow(np.array([number]), "bfloat16"), "bfloat16") == sign * nearest


def test_no_nan_becomes_a_number() -> None:
    nans = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF80FFFF, 0x7FC00000], np.uint32).view(np.float32)
    assert np.isnan(widen(narrow(nans, "bfloat16"), "bfloat16")).all()
    assert np.isnan(widen(narrow(nans, "float16"), "float16")).all()
    assert np.isnan(widen(nans, "float32")).all()
    assert np.isnan(widen(np.array([0x7C01, 0xFFFF], np.uint16).view(np.float16), "float16")).all()
    assert np.isnan(widen(narrow(np.array([np.nan, -np.nan]), "bfloat16"), "bfloat16")).all()


def test_float64_numbers_become_the_nearest_bfloat16() -> None:
    generator = np.random.default_rng(1)
    numbers = generator.standard_normal(2000) * 10.0 ** generator.integers(-42, 38, 2000)
    rounded = narrow(numbers, "bfloat16")
    for number, bits in zip(numbers, rounded, strict=True):
        near = widen(np.arange(int(bits) - 1, int(bits) + 2).astype(np.uint16), "bfloat16")
        distances = [abs(Fraction(float(other)) - Fraction(number)) for other in near if np.isfinite(other)]
        assert abs(Fraction(float(near[1])) - Fraction(number)) == min(distances)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_numbers_beyond_the_largest_become_infinite_and_nan_stays(dtype: str) -> None:
    wide = np.array([1e300, -1e300, np.inf, np.nan, -0.0])
    back = widen(narrow(wide, dtype), dtype)
    np.testing.assert_array_equal(back, [np.inf, -np.inf, np.inf, np.nan, -0.0])
    assert np.signbit(back[-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_widened_and_narrowed_is_the_same(dtype: str) -> None:
    array = np.random.default_rng(2).standard_normal((3, 5)).astype(DTYPES[dtype])
    back = narrow(widen(shaped(array, dtype, (3, 5)), dtype), dtype)
    assert back.shape == (3, 5)
    assert back.dtype == held(dtype)
    assert back.tobytes() == array.tobytes()


def test_bytes_become_arrays_of_any_dtype() -> None:
    assert from_bytes("a", Values("int64", (), b"\1" + bytes(7))) == 1
    assert from_bytes("a", Values("float8_e5m2", (2, 1), b"ab")).tolist() == [[97], [98]]
    assert from_bytes("a", Values("float4_e2m1fn", (2, 2), b"ab")).tolist() == [97, 98]
    assert from_bytes("a", Values("bool", (2,), memoryview(b"\1\0"))).tolist() == [True, False]
    assert from_bytes("a", Values("float32", (0, 3), b"")).shape == (0, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Values("float32", (2,), b"abc"), "'a' is damaged: 3 bytes instead of 8"),
        (Values("float33", (2,), b"abc"), "'a' cannot be read: unknown dtype"),
        (Values("float32", (-1,), b""), "'a' cannot be read: impossible shape"),
    ],
)
def test_damaged_values_are_refused(wrong: Values, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_bytes("a", wrong)


def test_numbers_are_read_only_as_what_they_are() -> None:
    assert floats("a", values([1.5], "float16")).dtype == np.float32
    assert floats("a", values([1.5], "float64")).dtype == np.float64
    assert integers("a", values([200], "uint8")).tolist() == [200]
    with pytest.raises(UsageError, match="'a' has dtype int8; it must be one of float16"):
        floats("a", values([1], "int8"))
    with pytest.raises(UsageError, match="'a' has dtype float32; it must be an integer one"):
        integers("a", values([1], "float32"))
