"""Compiled loops: they give what NumPy gives beside them, whatever the bytes are, and refuse what does not fit."""

from __future__ import annotations

import importlib
import shutil
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import kernels, tensors
from git_theta.store import planes
from git_theta.updates import linear, words

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
            for module in (planes, words, linear):
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
def test_planes_are_those_of_numpy(native: Kernels, itemsize: int, count: int, by_numpy: Callable[..., Any]) -> None:
    rows = rows_of(count, itemsize)
    parts = []
    for plane in range(itemsize):
        room = np.empty(count + 1, np.uint8)[1:]
        native.split(rows, itemsize, plane, room)
        assert np.array_equal(room, rows[:, plane])
        parts.append(room)
    joined, expected = np.empty_like(rows), np.empty_like(rows)
    native.join(tuple(parts), joined)
    by_numpy(planes.put_together, parts, expected)
    assert np.array_equal(joined, rows)
    assert np.array_equal(expected, rows)


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_and_words_are_those_of_numpy(
    native: Kernels, dtype: str, count: int, by_numpy: Callable[..., Any]
) -> None:
    kind = words.words_of(dtype)
    new, base = (odd_floats(count, kind.size, seed) for seed in (1, 2))
    codes, expected = np.empty_like(new), np.empty_like(new)
    assert native.difference(new, base, kind.size, kind.is_float, codes)
    assert by_numpy(words.checked_difference, kind.view(new), kind.view(base), kind, kind.view(expected))
    assert np.array_equal(codes, expected)
    found = np.empty_like(new)
    native.add(base, codes, kind.size, kind.is_float, found)
    assert np.array_equal(found, new)
    by_numpy(words.add, kind.view(base), kind.view(codes), kind, kind.view(expected))
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


ROW = np.zeros((4, 2), np.uint8)
PLANE = np.zeros(4, np.uint8)
FROZEN = np.frombuffer(bytes(8), np.uint8)


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
        ("mean", (PLANE, PLANE, 0.5, 8, PLANE), ValueError),
        ("mean", (PLANE, PLANE, 0.5, 4, PLANE[1:]), ValueError),
        ("mean", (PLANE[1:], PLANE[1:], 0.5, 2, PLANE[1:]), ValueError),
    ],
)
def test_what_does_not_fit_is_refused_before_a_byte_is_written(
    native: Kernels, name: str, arguments: tuple[object, ...], error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    with pytest.raises(error):
        getattr(native, name)(*arguments)
    assert not ROW.any()
    assert not PLANE.any()
