"""How far values moved: against NumPy's own answers, at the edges of every dtype, and as signatures tell it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from msgspec.structs import replace

from git_theta.diffs.numbers import floats, is_numeric
from git_theta.diffs.statistics import Measure, Statistics, Values, are_comparable, estimate, histogram, measure
from git_theta.tensors import BLOCKS
from tests.diffs.samples import entry, raw, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

LARGE = 70_001
"""More elements than are worked on at once."""

NUMERIC = [dtype for dtype in BLOCKS if is_numeric(dtype)]
SINGLE = [dtype for dtype in NUMERIC if BLOCKS[dtype][0] == 1]


def numpy_type(dtype: str) -> Any:
    return getattr(ml_dtypes, dtype, dtype)


def cut(array: npt.NDArray[Any], *places: int) -> Iterator[npt.NDArray[np.uint8]]:
    for piece in np.split(array.reshape(-1), places):
        yield raw(piece)


def moved(old: npt.NDArray[Any], new: npt.NDArray[Any], *places: int) -> Statistics:
    return measure(cut(old, *places), cut(new, *places), old.dtype.name, new.dtype.name)


def normals(seed: int, count: int, dtype: str) -> npt.NDArray[Any]:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(count)
    if dtype.startswith("complex"):
        values = values + 1j * generator.standard_normal(count)
    scale = 40 if "int" in dtype else 1
    unsigned = np.abs(values) if dtype.startswith(("uint", "bool", "float8_e8m0")) else values
    return (unsigned * scale).astype(numpy_type(dtype))


def wide(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


@pytest.mark.parametrize("dtype", SINGLE)
def test_statistics_are_those_that_numpy_computes(dtype: str) -> None:
    old, new = normals(1, LARGE, dtype), normals(2, LARGE, dtype)
    new[::3] = old[::3]
    one, two = wide(old), wide(new)
    found = moved(old, new, 10, 10, 60_000)
    assert found.is_exact
    assert found.relative == pytest.approx(np.linalg.norm(two - one) / np.linalg.norm(one))
    assert found.largest == np.abs(two - one).max()
    size = old.dtype.itemsize
    differs = (raw(old).reshape(-1, size) != raw(new).reshape(-1, size)).any(axis=1)
    assert found.changed == differs.mean()
    assert found.cosine == pytest.approx(np.vdot(one, two).real / np.linalg.norm(one) / np.linalg.norm(two))


@pytest.mark.parametrize("dtype", [dtype for dtype in BLOCKS if dtype.startswith("float8_")])
def test_each_small_float_is_the_number_that_ml_dtypes_says(dtype: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = codes.view(numpy_type(dtype)).astype(np.float64)
    assert np.array_equal(floats(codes, dtype), expected, equal_nan=True)


def test_float4_is_read_by_half_bytes() -> None:
    halves = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float64)
    assert floats(np.array([0x21, 0xF7], np.uint8), "float4_e2m1fn").tolist() == halves[[1, 2, 7, 15]].tolist()
    found = measure([np.array([0x22, 0x22], np.uint8)], [np.array([0x27, 0x22], np.uint8)], *["float4_e2m1fn"] * 2)
    assert (found.changed, found.largest, found.relative) == (0.25, 5.0, 2.5)


@pytest.mark.parametrize("dtype", [dtype for dtype in BLOCKS if not is_numeric(dtype)])
def test_groups_that_are_no_numbers_have_the_share_of_changed_blocks(dtype: str) -> None:
    size = BLOCKS[dtype][1]
    old = np.zeros(size * 8, np.uint8)
    new = old.copy()
    new[[0, size - 1, size * 5]] = 1
    for place in range(1, size * 8, 7):
        found = measure(cut(old, place), cut(new, place), dtype, dtype)
        assert found == Statistics(None, None, 2 / 8, None, is_exact=True)


def test_zeros_of_both_signs_are_changed_bits_and_no_distance() -> None:
    assert moved(np.zeros(4), -np.zeros(4)) == Statistics(0.0, 0.0, 1.0, None, is_exact=True)


def test_from_zeros_the_change_is_infinite() -> None:
    found = moved(np.zeros(4, np.float32), np.ones(4, np.float32))
    assert found == Statistics(math.inf, 1.0, 1.0, None, is_exact=True)


def test_empty_groups_did_not_move() -> None:
    assert moved(np.zeros(0, np.float32), np.zeros(0, np.float16)) == Statistics(0.0, 0.0, 0.0, None, is_exact=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "complex64"])
def test_what_is_not_finite_on_both_sides_alike_is_no_change(dtype: str) -> None:
    old = np.array([math.nan, math.inf, -math.inf, 3.0, 4.0]).astype(numpy_type(dtype))
    new = old.copy()
    new[3] = 6
    found = moved(old, new)
    assert (found.relative, found.largest, found.changed) == (pytest.approx(0.6), 3.0, 0.2)
    assert found.cosine == pytest.approx(34 / 5 / math.sqrt(52))


@pytest.mark.parametrize(
    ("old", "new", "relative", "largest"),
    [
        ([1.0, 2.0], [1.0, math.inf], math.inf, math.inf),
        ([1.0, 2.0], [1.0, math.nan], math.nan, math.nan),
        ([1.0, math.inf], [1.0, 2.0], math.nan, math.inf),
        ([1.0, math.inf], [1.0, -math.inf], math.nan, math.inf),
        ([1.0, math.nan], [1.0, 2.0], math.nan, math.nan),
        ([math.nan, 1.0], [2.0, math.inf], math.nan, math.nan),
    ],
)
@pytest.mark.parametrize("places", [(), (1,)])
def test_what_becomes_not_finite_is_shown_as_it_is(
    old: list[float], new: list[float], relative: float, largest: float, places: tuple[int, ...]
) -> None:
    found = moved(np.array(old), np.array(new), *places)
    assert found.relative == pytest.approx(relative, nan_ok=True)
    assert found.largest == pytest.approx(largest, nan_ok=True)
    assert found.cosine is None


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e300])
def test_squares_neither_overflow_nor_vanish(scale: float) -> None:
    found = moved(np.array([30.0, 40.0]) * scale, np.array([33.0, 44.0]) * scale)
    assert found.relative == pytest.approx(0.1)


def test_a_norm_that_float64_cannot_hold_is_infinite() -> None:
    mask = np.full(4, np.finfo(np.float64).min)
    found = moved(mask, mask * [1, 1, 1, 0])
    assert (found.largest, found.changed, found.cosine) == (-mask[0], 0.25, None)
    assert math.isnan(found.relative)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_integers_have_exact_differences(dtype: str) -> None:
    top = np.iinfo(dtype).max
    found = moved(np.array([top, top - 3], dtype), np.array([top - 1, top], dtype))
    assert (found.largest, found.changed) == (3.0, 1.0)
    lowest = moved(np.array([np.iinfo(dtype).min], dtype), np.array([top], dtype))
    assert lowest.largest == 2.0**64


@pytest.mark.parametrize("factor", [2.0, 0.5, -1.0])
@pytest.mark.parametrize("count", [10, 1000, 16384, 1 << 20])
def test_values_that_were_only_scaled_have_the_same_direction(factor: float, count: int) -> None:
    for seed in range(3):
        values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
        found = measure([raw(values)], [raw(values * np.float32(factor))], *["float32"] * 2)
        assert found.cosine == math.copysign(1, factor)


def test_values_that_were_turned_a_little_have_another_direction() -> None:
    one, two = np.array([1.0, 0.0]), np.array([1.0, 1e-7])
    found = measure([raw(one)], [raw(two)], *["float64"] * 2)
    assert found.cosine is not None
    assert found.cosine < 1


@pytest.mark.parametrize(("old", "new"), [("float32", "bfloat16"), ("float32", "float64"), ("int32", "float16")])
def test_retyped_values_are_compared_as_numbers(old: str, new: str) -> None:
    values = normals(1, 5000, "int8")
    found = moved(values.astype(numpy_type(old)), values.astype(numpy_type(new)))
    assert (found.relative, found.largest, found.changed) == (0.0, 0.0, 0.0)
    halves = values[:100].clip(-2, 2)
    packed = halves.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    found = measure([raw(halves.astype(numpy_type(old)))], [packed[::2] | packed[1::2] << 4], old, "float4_e2m1fn")
    assert (found.relative, found.largest, found.changed) == (0.0, 0.0, 0.0)
    nan = np.array([math.nan, 1.0], np.float32)
    assert moved(nan, nan.astype(np.float16) + np.float16(1)).changed == 0.5


def test_blocks_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="2 elements cannot be compared with 3"):
        Measure("uint8", "uint8").add(np.zeros(2, np.uint8), np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="shorter"):
        measure([np.zeros(2, np.uint8)], [], "uint8", "uint8")


@pytest.mark.parametrize(
    ("old", "new", "comparable"),
    [
        (("float32", (2, 3)), ("float32", (3, 2)), True),
        (("float32", (2, 3)), ("bfloat16", (6,)), True),
        (("float32", (2, 3)), ("float32", (2, 4)), False),
        (("float32", (2,)), ("complex64", (2,)), False),
        (("complex64", (2,)), ("complex128", (2,)), True),
        (("q8_0", (64,)), ("q8_0", (2, 32)), True),
        (("q8_0", (64,)), ("q4_0", (64,)), True),
        (("q8_0", (64,)), ("float32", (64,)), True),
        (("float4_e2m1fn", (64,)), ("float32", (64,)), True),
        (("iq4_nl", (64,)), ("iq4_nl", (2, 32)), True),
        (("iq4_nl", (64,)), ("float32", (64,)), False),
    ],
)
def test_which_groups_can_be_compared_value_by_value(
    old: tuple[str, tuple[int, ...]], new: tuple[str, tuple[int, ...]], comparable: bool
) -> None:
    one, two = (entry("a", "1", shape, dtype) for dtype, shape in (old, new))
    assert are_comparable(one, two) is comparable


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_estimate_is_near_the_truth(dtype: str, size: float) -> None:
    ratios, errors = [], []
    for seed in range(60):
        old = normals(seed, 2000, "float64")
        new = (old + size * normals(seed + 1000, 2000, "float64")).astype(dtype)
        old = old.astype(dtype)
        found, true = estimate(signed("a", old), signed("a", new)), moved(old, new)
        assert found is not None
        assert (found.largest, found.changed, found.is_exact) == (None, None, False)
        assert found.relative is not None
        assert true.relative is not None
        assert found.cosine is not None
        assert true.cosine is not None
        ratios.append(found.relative / true.relative)
        errors.append(abs(found.cosine - true.cosine))
    assert 0.85 < np.median(ratios) < 1.15
    assert np.std(ratios) < 0.35  # 0.27 over many more
    assert np.median(errors) < 0.6 * (1 - true.cosine) + 1e-6


def test_estimate_of_a_retyped_group_is_that_of_rounding() -> None:
    old = normals(1, 4000, "float32")
    found = estimate(signed("a", old), signed("a", old.astype(np.float16)))
    assert found is not None
    assert found.relative is not None
    assert 0.0001 < found.relative < 0.0005


def test_estimate_from_zeros_is_infinite_and_of_the_same_is_nothing() -> None:
    zeros, ones = (signed("a", np.full(10, value, np.float32)) for value in (0, 1))
    assert estimate(zeros, ones) == Statistics(math.inf, None, None, None, is_exact=False)
    assert estimate(zeros, zeros) == Statistics(0.0, None, None, None, is_exact=False)


def test_no_estimate_without_signatures_or_with_nothing_in_common() -> None:
    one, two = signed("a", np.ones(10, np.float32)), signed("a", np.ones(11, np.float32))
    assert estimate(one, replace(one, signature=None)) is None
    assert estimate(replace(one, signature=None), one) is None
    assert estimate(one, two) is None
    assert estimate(one, signed("a", np.ones(10, np.complex64))) is None


# --- histograms -------------------------------------------------------------------------------------------------------


def values(array: npt.NDArray[Any], *places: int) -> Values:
    return Values(array.dtype.name, lambda: cut(array, *places))


def test_histograms_have_common_edges_and_count_every_value() -> None:
    old, new = normals(1, LARGE, "float32"), normals(2, LARGE, "float16")
    found = histogram(values(old, 7, 1000), values(new), bins=10)
    assert found is not None
    both = np.concatenate([wide(old), wide(new)])
    assert (found.edges[0], found.edges[-1], len(found.edges)) == (both.min(), both.max(), 11)
    assert found.old == tuple(np.histogram(wide(old), found.edges)[0].tolist())
    assert found.new == tuple(np.histogram(wide(new), found.edges)[0].tolist())


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.3), (1.0, 1.0 + 2**-46), (-1e308, 1.7e308), (0.0, 1e-310), (5, 9)])
def test_values_at_the_edges_are_in_the_bins_that_a_search_finds(low: float, high: float) -> None:
    edges = np.asarray(histogram(None, values(np.array([low, high]))).edges)  # type: ignore[union-attr]
    beside = [np.nextafter(edges, math.inf)[:-1], np.nextafter(edges, -math.inf)[1:]]
    numbers = np.concatenate([edges, *beside, np.random.default_rng(0).uniform(low / 2, high / 2, 1000) * 2])
    numbers = np.clip(numbers, low, high)
    found = histogram(None, values(numbers))
    assert found is not None
    assert found.edges == tuple(edges)
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, 63)
    assert found.new == tuple(np.bincount(places, minlength=64).tolist())


def test_histogram_of_one_side_leaves_the_other_empty() -> None:
    found = histogram(None, values(np.array([1, 2, 2, 3], np.int8)), bins=2)
    assert found is not None
    assert (found.edges, found.old, found.new) == ((1.0, 2.0, 3.0), (0, 0), (1, 3))


def test_histogram_leaves_out_what_is_not_finite() -> None:
    found = histogram(values(np.array([math.nan, 0.0, 1.0, math.inf])), None, bins=2)
    assert found is not None
    assert (found.edges, found.old) == ((0.0, 0.5, 1.0), (1, 1))
    assert histogram(values(np.full(3, math.nan)), values(np.zeros(0))) is None
    assert histogram(None, None) is None


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-320, 1.79e308, -1.79e308])
def test_histogram_of_one_value_has_it_in_one_bin(value: float) -> None:
    found = histogram(values(np.full(5, value)), values(np.full(2, value)), bins=5)
    assert found is not None
    assert sorted(found.old) == [0, 0, 0, 0, 5]
    assert sorted(found.new) == [0, 0, 0, 0, 2]
    assert list(found.edges) == sorted(set(found.edges)) or value == -1e-320


def test_histogram_spans_the_whole_range_of_a_dtype() -> None:
    found = histogram(values(np.array([-1.79e308, 0.0, 1.79e308])), None, bins=3)
    assert found is not None
    assert found.old == (1, 1, 1)
    assert np.isfinite(found.edges).all()
