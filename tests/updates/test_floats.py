"""Values as floats to compute with: widened exactly, rounded as the libraries round, every NaN alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.tensors import WORKING
from git_theta.updates.floats import narrow, widen
from tests.updates.scene import NUMPY

NAN_BITS = {"float16": 0x7E00, "bfloat16": 0x7FC0, "float32": 0x7FC00000, "float64": 0x7FF8000000000000}


def is_number(bits: Any, dtype: str) -> Any:
    """Which 16-bit patterns are not NaNs."""
    return (bits & 0x7FFF) <= (0x7C00 if dtype == "float16" else 0x7F80)


def rows_of(array: Any) -> Any:
    return np.ascontiguousarray(array).view(np.uint8).reshape(array.size, -1)


def narrowed(values: Any, dtype: str) -> Any:
    out = np.empty((len(values), tensors.itemsize(dtype)), np.uint8)
    narrow(values.copy(), dtype, out)
    return out.view(f"<u{tensors.itemsize(dtype)}").reshape(-1)


def reference(values: Any, dtype: str) -> Any:
    """The bits that NumPy's or ml_dtypes' own rounding gives, every NaN made the quiet one."""
    with np.errstate(all="ignore"):
        found = values.astype(NUMPY.get(dtype, dtype)).view(f"<u{tensors.itemsize(dtype)}").copy()
    found[np.isnan(values)] = NAN_BITS[dtype]
    return found


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_value_is_widened_exactly(dtype: str) -> None:
    every = np.arange(1 << 16).astype("<u2")
    wide = widen(rows_of(every), dtype)
    assert wide.dtype == np.float32
    values = every.view(NUMPY.get(dtype, dtype))
    numbers = is_number(every, dtype)
    np.testing.assert_array_equal(wide[numbers].view("<u4"), values[numbers].astype(np.float32).view("<u4"))
    assert np.isnan(wide[~numbers]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_number_comes_back(dtype: str) -> None:
    every = np.arange(1 << 16).astype("<u2")
    numbers = is_number(every, dtype)
    back = narrowed(widen(rows_of(every), dtype), dtype)
    np.testing.assert_array_equal(back[numbers], every[numbers])
    assert set(back[~numbers].tolist()) == {NAN_BITS[dtype]}


@pytest.mark.parametrize("dtype", WORKING)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(data=st.data())
def test_rounding_is_that_of_the_libraries_for_any_bits(dtype: str, data: st.DataObject) -> None:
    working = np.dtype(WORKING[dtype])
    raw = data.draw(st.binary(min_size=working.itemsize, max_size=40 * working.itemsize))
    values = np.frombuffer(raw[: len(raw) // working.itemsize * working.itemsize], working)
    np.testing.assert_array_equal(narrowed(values, dtype), reference(values, dtype))


@pytest.mark.parametrize("dtype", WORKING)
def test_rounding_is_that_of_the_libraries_at_ties_limits_and_by_the_million(dtype: str) -> None:
    working = np.dtype(WORKING[dtype])
    bits = np.frombuffer(np.random.default_rng(0).bytes(working.itemsize * 300_000), working)
    whole = bits.view(f"<u{working.itemsize}").copy()
    whole[:100_000] &= np.array(0xFFFF8000, "<u4") if working.itemsize == 4 else np.array(2**64 - 2**29, "<u8")
    limits = [0.0, -0.0, np.inf, -np.inf, 65504, 65519.99, 65520, -65520, 6e-8, 2.98e-8, 2.99e-8, 1e-45, 3.3895e38]
    values = np.concatenate([whole.view(working), np.array(limits, working)])
    np.testing.assert_array_equal(narrowed(values, dtype), reference(values, dtype))


@pytest.mark.parametrize("dtype", WORKING)
def test_every_nan_becomes_the_one_quiet_nan(dtype: str) -> None:
    if WORKING[dtype] == "<f4":
        nans = np.array([0x7F800001, 0x7FC00000, 0xFFC00000, 0xFFFFFFFF, 0x7FFFFFFF, 0xFF800001], "<u4").view("<f4")
    else:
        nans = np.array([0x7FF0000000000001, 0xFFF8000000000000, 2**64 - 1, 0x7FF8000000000000], "<u8").view("<f8")
    assert set(narrowed(nans, dtype).tolist()) == {NAN_BITS[dtype]}


def test_float32_is_widened_without_a_copy() -> None:
    rows = np.zeros((3, 4), np.uint8)
    assert np.shares_memory(widen(rows, "float32"), rows)
