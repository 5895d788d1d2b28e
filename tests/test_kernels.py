"""Compiled loops: they give what NumPy gives beside them, whatever the bytes are, and refuse what does not fit."""

from __future__ import annotations

import importlib
import shutil
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from git_theta import kernels, lsh, merge_arrays, passes, tensors
from git_theta.merges import numerics, selection
from git_theta.updates import linear, low_rank, products, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from git_theta.kernels import Kernels

COUNTS = [0, 1, 31, 511, 512, 513, 5000]
"""The loops take 512 elements at once, and as many at a time as a processor likes."""

DTYPES = ["bool", "int8", "uint16", "int32", "uint64", "bfloat16", "float16", "float32", "float64", "complex64"]

NATIVE = [] if kernels.native is None else [kernels.native]
"""The compiled functions, if there are any: without a compiler there is nothing to compare."""


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def rows_of(count: int, itemsize: int, seed: int = 0) -> np.ndarray:
    """Any bytes, which begin at an odd address."""
    room = np.random.default_rng(seed).integers(0, 256, count * itemsize + 1, np.uint8)
    return room[1:].reshape(count, itemsize)


def odd_floats(count: int, itemsize: int, seed: int = 0) -> np.ndarray:
    """Bytes of floats that are mostly NaNs, infinities, subnormal or very large."""
    found = rows_of(count, itemsize, seed)
    found[:, -1] = np.random.default_rng(seed).choice(np.array([0, 0x7F, 0x80, 0xFF, 0x3F], np.uint8), count)
    return found


@pytest.fixture
def by_numpy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Calls a function where nothing is compiled."""

    def call(function: Callable[..., Any], *arguments: object) -> Any:
        with monkeypatch.context() as patch:
            for module in (linear, low_rank, numerics, lsh):
                patch.setattr(module, "native", None)
            return function(*arguments)

    return call


def test_they_are_compiled_where_there_is_a_compiler() -> None:
    compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])
    has_headers = (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()
    assert kernels.native is not None or compiler is None or not has_headers or sys.byteorder == "big"


def test_compiled_file_of_another_revision_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (SimpleNamespace(REVISION=-1), SimpleNamespace(REVISION=kernels._REVISION)):
        monkeypatch.setitem(sys.modules, "git_theta._kernels", found)
        expected = found if found.REVISION == kernels._REVISION else None
        assert kernels._found() is expected


def test_without_a_compiled_file_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert kernels._found() is None


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_planes_are_those_of_numpy(native: Kernels, itemsize: int, count: int) -> None:
    rows = rows_of(count, itemsize)
    parts = []
    for plane in range(itemsize):
        room = np.empty(count + 1, np.uint8)[1:]
        native.split(rows, itemsize, plane, room)
        assert np.array_equal(room, rows[:, plane])
        parts.append(room)
    joined, expected = np.empty_like(rows), np.empty_like(rows)
    native.join(tuple(parts), joined)
    passes.join(tuple(parts), expected.reshape(-1))
    assert np.array_equal(joined, rows)
    assert np.array_equal(expected, rows)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_and_words_are_those_of_numpy(native: Kernels, dtype: str, count: int) -> None:
    kind = words.words_of(dtype)
    new, base = (odd_floats(count, kind.size, seed) for seed in (1, 2))
    codes, expected = np.empty_like(new), np.empty_like(new)
    assert native.difference(new, base, kind.size, kind.is_float, codes)
    assert passes.difference(new, base, kind.size, kind.is_float, expected)
    assert np.array_equal(codes, expected)
    found = np.empty_like(new)
    native.add(base, codes, kind.size, kind.is_float, found)
    assert np.array_equal(found, new)
    passes.add(base, codes, kind.size, kind.is_float, expected)
    assert np.array_equal(expected, new)
    native.add(base, codes, kind.size, kind.is_float, base)
    assert np.array_equal(base, new)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("weight", [1.0, 0.5, 2.0**-16])
def test_means_are_those_of_numpy(
    native: Kernels, weight: float, dtype: str, count: int, by_numpy: Callable[..., Any]
) -> None:
    size = tensors.itemsize(dtype)
    one, other = (rng().standard_normal((2, count)) * 10.0 ** rng().integers(-20, 20, count)).astype(np.float32)
    parts = [part.view(np.uint8).reshape(-1, 4)[:, 4 - size :].copy() for part in (one, other)]
    found, expected = np.empty_like(parts[0]), np.empty_like(parts[0])
    assert native.mean(parts[0], parts[1], weight, size, found)
    by_numpy(linear.weighted_sum, parts, (weight, weight), dtype, expected)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("pair", [(np.nan, 0), (np.inf, 1), (-np.inf, np.inf), (1e-40, 0), (3e38, 3e38), (-1e-38, 0)])
def test_mean_that_is_no_normal_number_is_left_to_others(
    native: Kernels, pair: tuple[float, float], dtype: str, by_numpy: Callable[..., Any]
) -> None:
    size = tensors.itemsize(dtype)
    one, other = (np.full(700, 1, np.float32), np.full(700, 2, np.float32))
    one[600], other[600] = pair
    parts = [part.view(np.uint8).reshape(-1, 4)[:, 4 - size :].copy() for part in (one, other)]
    found, expected = np.empty_like(parts[0]), np.empty_like(parts[0])
    assert not native.mean(parts[0], parts[1], 0.5, size, found)
    linear.weighted_sum(parts, (0.5, 0.5), dtype, found)
    by_numpy(linear.weighted_sum, parts, (0.5, 0.5), dtype, expected)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("is_float", [True, False])
def test_changed_words_are_those_of_numpy(native: Kernels, is_float: bool, size: int, count: int) -> None:
    rows = rows_of(count, kernels.GAP + size)
    rows[:, 1 : kernels.GAP] = 0
    found, expected = np.empty(count, np.int64), np.empty(count, np.int64)
    native.places(rows, size, found)
    passes.places(rows, size, expected)
    assert np.array_equal(found, expected)
    words = rows_of(int(found.max(initial=0)) + 3, size, 1)
    changed = words.copy()
    passes.change(found, rows, 0, size, is_float, changed)
    assert np.array_equal((changed != words).any(axis=1).nonzero()[0], found[rows[:, kernels.GAP :].any(axis=1)])
    middle = int(found[count // 2]) if count else 0
    for part, start, stop in ((slice(None, count // 2), 0, middle), (slice(count // 2, None), middle, len(words))):
        native.change(found[part], rows[part], start, size, is_float, words[start:stop])
    assert np.array_equal(words, changed)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 600, 3), (600, 7, 8), (3, 512, 2), (40, 1, 1), (1, 1500, 17)], ids=str
)
def test_products_are_those_of_numpy(native: Kernels, shape: tuple[int, int, int], dtype: str) -> None:
    height, width, rank = shape
    size = tensors.itemsize(dtype)
    left, right = odd_floats(height * rank, 4, 1), odd_floats(rank * width, 4, 2)
    for factor in (left, right):
        ordinary = rng().random(len(factor)) < 0.7
        factor[ordinary] = rng().standard_normal(np.count_nonzero(ordinary)).astype("<f4").view(np.uint8).reshape(-1, 4)
    base = odd_floats(height * width, size)
    factors = left.tobytes(), right.tobytes()
    expected = np.empty_like(base)
    products.add(factors, rank, dtype, base, 0, expected)
    for start, stop in ((0, len(base)), (len(base) // 3, len(base)), (0, 1), (len(base) // 2, len(base) // 2)):
        found = base[start:stop].copy()
        native.product(found, *factors, rank, start, size, found)
        assert np.array_equal(found, expected[start:stop])


MERGED = [np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)]


def deltas_of(count: int, dtype: np.dtype[Any], number: int = 2) -> tuple[list[np.ndarray], np.ndarray]:
    """Inputs and a base: zeros of both signs, equal and subnormal values, and all sizes that give no infinite sums."""
    values = rng().standard_normal((number + 1, count)) * 10.0 ** rng().integers(-45, 30, (number + 1, count))
    values[rng().random(values.shape) < 0.2] = -0.0
    values[rng().random(values.shape) < 0.2] = 0.25
    *inputs, base = values.astype(dtype)
    inputs[0][: count // 3] = base[: count // 3]
    return inputs, base


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", [1, 31, 512, 513, 5000])
@pytest.mark.parametrize("dtype", MERGED, ids=str)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"density": 0.4},
        {"density": [0.0, 1.0, 0.5], "weight": [0.3, -0.7, 1.1]},
        {"density": 0.2, "weight": [1, -1, 0], "normalize": False, "lambda": 0.3},
        {"threshold": [0.25, 0.1, 1e-30], "lambda": -2.0},
        {"density": 0.5, "weight": 1e-300},
    ],
)
def test_elections_are_those_of_numpy(
    native: Kernels, params: dict[str, Any], dtype: np.dtype[Any], count: int, by_numpy: Callable[..., Any]
) -> None:
    assert native is kernels.native
    inputs, base = deltas_of(count, dtype, 3)
    with np.errstate(all="raise"):
        found = merge_arrays("ties", inputs, base, **params)
    expected = by_numpy(lambda: merge_arrays("ties", inputs, base, **params))
    assert found.dtype == expected.dtype == dtype
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("number", [1, 2, kernels.MOST_INPUTS, kernels.MOST_INPUTS + 1])
def test_elections_of_any_number_are_those_of_numpy(native: Kernels, number: int, by_numpy: Callable[..., Any]) -> None:
    assert native is kernels.native
    inputs, base = deltas_of(2000, MERGED[0], number)
    found = merge_arrays("ties", inputs, base, density=0.3)
    assert found.tobytes() == by_numpy(lambda: merge_arrays("ties", inputs, base, density=0.3)).tobytes()


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("last", [-(1 << 40), -1, 0, 511, 512, 1299, 1 << 40])
def test_equal_magnitudes_are_kept_up_to_a_position(native: Kernels, last: int) -> None:
    values, base, out = np.full(1300, 2, np.float32), np.ones(1300, np.float32), np.empty(1300, np.float32)
    native.elected(((numerics.raw(values), 1.0, 1.0, last),), numerics.raw(base), 4, True, 1.0, numerics.raw(out))
    assert np.array_equal(out, np.where(np.arange(1300) <= last, 2, 1))


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("value", [1e39, -1e39, 3.3961e38, 1e-41, -1e-45, 2.0**-133 * 1.5, 2.0**-134, np.nan])
def test_merged_values_are_rounded_once(native: Kernels, value: float) -> None:
    """Also those that bfloat16 holds only as infinite, or not in full."""
    base = np.ones(700, ml_dtypes.bfloat16)
    inputs = ((numerics.raw(np.zeros_like(base)), 1.0, 0.0, 699),)
    found, expected = np.empty_like(base), np.empty_like(base)
    native.elected(inputs, numerics.raw(base), 2, False, 1 - value, numerics.raw(found))
    numerics.store(np.full(700, 1.0) - (1 - value), expected)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", MERGED, ids=str)
@pytest.mark.parametrize("bounds", [(0.0, np.inf), (0.25, 0.25), (1e-40, 1e-3), (3.0, np.inf)])
def test_magnitudes_between_two_are_those_of_numpy(
    native: Kernels, bounds: tuple[float, float], dtype: np.dtype[Any], count: int
) -> None:
    (values, _), base = deltas_of(count, dtype)
    room = np.empty(count, np.float32)
    above, number = native.select(numerics.raw(values), numerics.raw(base), dtype.itemsize, *bounds, room)
    keys = selection.magnitudes(numerics.load(values, base, np.empty(count)), np.dtype(np.float32))
    expected, between = selection.between(lambda where: keys[where], slice(0, count), *bounds)
    assert (above, room[:number].tobytes()) == (expected, between.tobytes())


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("dtype", MERGED, ids=str)
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, -np.nan])
def test_what_is_not_finite_is_found_wherever_it_is(native: Kernels, odd: float, dtype: np.dtype[Any]) -> None:
    values = np.full(77, ml_dtypes.finfo(dtype).max)
    for place in range(77):
        assert native.finite(numerics.raw(values), dtype.itemsize)
        assert numerics.are_finite(values[::-1])
        kept, values[place] = values[place], odd
        assert not native.finite(numerics.raw(values), dtype.itemsize)
        assert not numerics.are_finite(values[::-1])
        values[place] = kept
    assert native.finite(numerics.raw(values[:0]), dtype.itemsize)


def test_numbers_in_the_other_order_of_bytes_are_left_to_numpy() -> None:
    values = np.array([1, 2], np.dtype(np.float32).newbyteorder())
    assert numerics.compiled_size(values) == 0
    assert numerics.are_finite(values)
    values[1] = np.inf
    assert not numerics.are_finite(values)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", [0, 1, 513, 90_000, 90_001, 400_000])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "complex64"])
def test_signatures_are_those_of_numpy(
    native: Kernels, dtype: str, count: int, by_numpy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(count).standard_normal(2 * count, np.float32).view(np.uint8).reshape(-1, 4)
    data = (values[:count, 2:] if dtype == "bfloat16" else values).tobytes()

    assert native is lsh.native

    def signed() -> tuple[Any, ...]:
        signer = lsh.Signer(dtype)
        signer.feed(data)
        return signer.signature(), signer._sums.tobytes()

    found = signed()
    assert found[0] is not None
    assert found == by_numpy(signed)
    monkeypatch.setattr(lsh, "native", SimpleNamespace(fold=lambda *_: None))
    assert count == 0 or signed() != found


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("dtype", MERGED, ids=str)
@pytest.mark.parametrize("negative", [False, True])
def test_folded_values_are_added_with_the_signs_that_are_asked_for(
    native: Kernels, negative: bool, dtype: np.dtype[Any]
) -> None:
    (values, _), sums = deltas_of(1300, dtype)[0], rng().standard_normal(1300)
    turned = rng().random(1300) < 0.5
    words = np.dtype(f"u{dtype.itemsize}")
    signs = turned.astype(words) << words.type(8 * dtype.itemsize - 1)
    wide = np.where(turned != negative, -values.astype(np.float64), values.astype(np.float64))
    expected = sums + wide
    native.fold(numerics.raw(values), numerics.raw(signs), dtype.itemsize, negative, sums)
    assert np.array_equal(sums, expected)


ROW = np.zeros((4, 2), np.uint8)
PLANE = np.zeros(4, np.uint8)
FROZEN = np.frombuffer(bytes(8), np.uint8)
ROWS = bytes(2 * (kernels.GAP + 2))
PLACES = np.arange(2)
ONE = bytes(4)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("join", ((PLANE, PLANE[1:]), ROW), ValueError),
        ("join", ((PLANE, PLANE), ROW[1:]), ValueError),
        ("join", ((PLANE, PLANE), np.zeros(9, np.uint8)), ValueError),
        ("join", ((PLANE,), PLANE), ValueError),
        ("join", ((PLANE,) * 9, np.zeros((4, 9), np.uint8)), ValueError),
        ("join", ([PLANE, PLANE], ROW), TypeError),
        ("join", ((PLANE, None), ROW), TypeError),
        ("join", ((PLANE, PLANE), FROZEN), (BufferError, ValueError)),
        ("join", ((ROW[:, 0], PLANE), ROW), (BufferError, ValueError)),
        ("split", (ROW, 2, 2, PLANE), ValueError),
        ("split", (ROW, 2, -1, PLANE), ValueError),
        ("split", (ROW, 3, 0, PLANE), ValueError),
        ("split", (ROW, 0, 0, PLANE), ValueError),
        ("split", (ROW, 2, 0, PLANE[1:]), ValueError),
        ("split", (ROW.reshape(-1)[1:], 2, 0, PLANE[1:]), ValueError),
        ("split", (ROW, 2, 0, FROZEN[:4]), (BufferError, ValueError)),
        ("add", (PLANE, PLANE, 4, True, PLANE[1:]), ValueError),
        ("add", (PLANE, PLANE[1:], 1, True, PLANE), ValueError),
        ("add", (PLANE, PLANE, 3, True, PLANE), ValueError),
        ("add", (PLANE[1:], PLANE[1:], 2, True, PLANE[1:]), ValueError),
        ("add", (PLANE, PLANE, 4, True, FROZEN[:4]), (BufferError, ValueError)),
        ("difference", (PLANE, PLANE, 0, False, PLANE), ValueError),
        ("difference", (PLANE, PLANE, 16, False, PLANE), ValueError),
        ("places", (ROWS, 3, PLACES), ValueError),
        ("places", (ROWS[:-1], 2, PLACES), ValueError),
        ("places", (ROWS, 2, PLACES[1:]), ValueError),
        ("places", (ROWS, 2, FROZEN), (BufferError, ValueError)),
        ("change", (PLACES, ROWS, 0, 3, True, ROW), ValueError),
        ("change", (PLACES, ROWS[:-1], 0, 2, True, ROW), ValueError),
        ("change", (PLACES[1:], ROWS, 0, 2, True, ROW), ValueError),
        ("change", (PLACES, ROWS, 1, 2, True, ROW), ValueError),
        ("change", (PLACES, ROWS, -1, 2, True, ROW), ValueError),
        ("change", (PLACES + 3, ROWS, 0, 2, True, ROW), ValueError),
        ("change", (np.array([-(2**63), 1]), ROWS, 1 << 62, 2, True, ROW), ValueError),
        ("change", (PLACES, ROWS, 0, 2, True, FROZEN), (BufferError, ValueError)),
        ("mean", (PLANE, PLANE, 0.5, 8, PLANE), ValueError),
        ("mean", (PLANE, PLANE, 0.5, 4, PLANE[1:]), ValueError),
        ("mean", (PLANE[1:], PLANE[1:], 0.5, 2, PLANE[1:]), ValueError),
        ("product", (PLANE, ONE, ONE, 1, 0, 4, PLANE[1:]), ValueError),
        ("product", (PLANE, ONE, ONE, 1, 0, 8, PLANE), ValueError),
        ("product", (PLANE[1:], ONE, ONE, 1, 0, 2, PLANE[1:]), ValueError),
        ("product", (PLANE, ONE, ONE, 0, 0, 4, PLANE), ValueError),
        ("product", (PLANE, ONE, ONE, 2, 0, 4, PLANE), ValueError),
        ("product", (PLANE, ONE, ONE, 1 << 62, 0, 4, PLANE), ValueError),
        ("product", (PLANE, ONE, ONE, 1, 1, 4, PLANE), ValueError),
        ("product", (PLANE, ONE, ONE, 1, -1, 4, PLANE), ValueError),
        ("product", (PLANE, ONE, ONE, 1, (1 << 63) - 1, 4, PLANE), ValueError),
        ("product", (PLANE, ONE, b"", 1, 0, 4, PLANE), ValueError),
        ("product", (PLANE, b"", ONE, 1, 0, 4, PLANE), ValueError),
        ("product", (PLANE, np.zeros(5, np.uint8)[1:], ONE, 1, 0, 4, PLANE), ValueError),
        ("product", (PLANE, ONE, ONE, 1, 0, 4, FROZEN[:4]), (BufferError, ValueError)),
        ("finite", (PLANE, 8), ValueError),
        ("finite", (PLANE[1:], 2), ValueError),
        ("finite", (ROW[:, 0], 2), (BufferError, ValueError)),
        ("select", (PLANE, PLANE, 4, 0.0, 1.0, PLANE[1:]), ValueError),
        ("select", (PLANE, PLANE, 2, 0.0, 1.0, PLANE), ValueError),
        ("select", (PLANE, PLANE, 1, 0.0, 1.0, PLANE), ValueError),
        ("select", (PLANE[1:], PLANE[1:], 2, 0.0, 1.0, PLANE), ValueError),
        ("select", (PLANE, PLANE, 4, 0.0, 1.0, FROZEN[:4]), (BufferError, ValueError)),
        ("fold", (PLANE, PLANE, 4, True, PLANE), ValueError),
        ("fold", (PLANE, PLANE[1:], 4, True, ROW), ValueError),
        ("fold", (PLANE, PLANE, 1, True, np.zeros(4)), ValueError),
        ("fold", (PLANE[1:], PLANE[1:], 2, True, ROW), ValueError),
        ("fold", (PLANE, PLANE, 4, True, np.zeros(9, np.uint8)[1:]), ValueError),
        ("fold", (PLANE, PLANE, 4, True, FROZEN), (BufferError, ValueError)),
        ("elected", ((), PLANE, 4, True, 1.0, PLANE), ValueError),
        ("elected", (((PLANE, 1.0, 0.0, 9),) * 8, PLANE, 4, True, 1.0, PLANE), ValueError),
        ("elected", (((PLANE, 1.0, 0.0, 9),), PLANE, 4, True, 1.0, PLANE[1:]), ValueError),
        ("elected", (((PLANE, 1.0, 0.0, 9),), PLANE[1:], 4, True, 1.0, PLANE), ValueError),
        ("elected", (((PLANE[1:], 1.0, 0.0, 9),), PLANE, 4, True, 1.0, PLANE), ValueError),
        ("elected", (((PLANE, 1.0, 0.0, 9),), PLANE, 8, True, 1.0, PLANE), ValueError),
        ("elected", (((PLANE[1:], 1.0, 0.0, 9),), PLANE[1:], 2, True, 1.0, PLANE[1:]), ValueError),
        ("elected", (((PLANE, 1.0, 0.0),), PLANE, 4, True, 1.0, PLANE), TypeError),
        ("elected", (([PLANE, 1.0, 0.0, 9],), PLANE, 4, True, 1.0, PLANE), TypeError),
        ("elected", (((None, 1.0, 0.0, 9),), PLANE, 4, True, 1.0, PLANE), TypeError),
        ("elected", (((PLANE, 1.0, 0.0, 9),), PLANE, 4, True, 1.0, FROZEN[:4]), (BufferError, ValueError)),
    ],
)
def test_what_does_not_fit_is_refused_before_a_byte_is_written(
    native: Kernels, name: str, arguments: tuple[object, ...], error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    with pytest.raises(error):
        getattr(native, name)(*arguments)
    assert not ROW.any()
    assert not PLANE.any()
