"""The numbers of GGUF's quantized blocks, against the gguf package's own."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from git_theta.diffs import quantized
from git_theta.diffs.numbers import floats, is_numeric
from git_theta.diffs.spread import spread
from git_theta.diffs.statistics import Values, histogram, measure
from git_theta.tensors import BLOCKS
from tests.diffs.samples import raw

KNOWN = [dtype for dtype in BLOCKS if quantized.is_known(dtype)]
MADE = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]
"""Those that the package can also make."""

LARGE = 70_016
"""More numbers than are worked on at once, in whole blocks of 32."""


def kind(dtype: str) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType[dtype.upper()]


def normals(seed: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def test_the_known_types_are_those_without_tables() -> None:
    assert KNOWN == ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]
    assert all(is_numeric(dtype) for dtype in KNOWN)
    assert not is_numeric("iq4_nl")


@pytest.mark.parametrize("dtype", KNOWN)
def test_any_bytes_are_the_numbers_that_the_library_says(dtype: str) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (500, BLOCKS[dtype][1]), np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(blocks, kind(dtype)).reshape(-1).astype(np.float64)
        found = floats(blocks.reshape(-1), dtype)
    assert np.array_equal(found, expected, equal_nan=True)
    assert floats(blocks[:0], dtype).shape == (0,)


@pytest.mark.parametrize("dtype", MADE)
@pytest.mark.parametrize("places", [(), (1, 1000, 1001), (33_333,)])
def test_statistics_are_those_of_the_numbers_wherever_the_bytes_are_cut(dtype: str, places: tuple[int, ...]) -> None:
    old = gguf.quants.quantize(normals(1, LARGE), kind(dtype))
    new = gguf.quants.quantize(normals(2, LARGE), kind(dtype))
    same = BLOCKS[dtype][1] * 700
    new[:same] = old[:same]
    one, two = (gguf.quants.dequantize(side, kind(dtype)).astype(np.float64) for side in (old, new))
    found = measure(np.split(raw(old), places), np.split(raw(new), [7]), dtype, dtype)
    assert found.is_exact
    assert found.relative == pytest.approx(np.linalg.norm(two - one) / np.linalg.norm(one))
    assert found.largest == np.abs(two - one).max()
    assert found.changed == (one != two).mean()
    assert found.cosine == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


@pytest.mark.parametrize("dtype", MADE)
def test_what_quantizing_changed_is_told(dtype: str) -> None:
    values = normals(1, LARGE)
    blocks = gguf.quants.quantize(values, kind(dtype))
    numbers = gguf.quants.dequantize(blocks, kind(dtype))
    found = measure([raw(values)], [raw(blocks)], "float32", dtype)
    assert found.largest == np.abs(numbers.astype(np.float64) - values).max()
    assert found.relative is not None
    assert 0.001 < found.relative < 0.15


def test_figures_and_histogram_are_those_of_the_numbers() -> None:
    blocks = gguf.quants.quantize(normals(1, LARGE), kind("q8_0"))
    numbers = gguf.quants.dequantize(blocks, kind("q8_0")).astype(np.float64)
    figures = spread(np.split(raw(blocks), [5, 40_000]), "q8_0")
    assert (figures.count, figures.minimum, figures.maximum) == (LARGE, numbers.min(), numbers.max())
    assert figures.mean == pytest.approx(numbers.mean())
    assert figures.norm == pytest.approx(np.linalg.norm(numbers))
    found = histogram(None, Values("q8_0", lambda: np.split(raw(blocks), [5, 40_000])), bins=10)
    assert found is not None
    assert found.new == tuple(np.histogram(numbers, found.edges)[0].tolist())
