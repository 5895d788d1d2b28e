"""Byte planes: split, compressed and put together."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard

from git_theta.store import planes

NBYTES = 1 << 18


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def exponents(count: int) -> np.ndarray:
    """The upper bytes of normal bfloat16 values: few different ones, in no order."""
    return (rng().standard_normal(count).astype(np.float32).view(np.uint32) >> 24).astype(np.uint8)


@pytest.mark.parametrize("itemsize", range(1, 17))
@pytest.mark.parametrize("count", [0, 1, 1001])
def test_planes_are_the_bytes_of_all_elements(count: int, itemsize: int) -> None:
    rows = rng().integers(0, 256, (count, itemsize), np.uint8)
    found = [plane.copy() for plane in planes.split(rows, np.empty(count, np.uint8))]
    assert len(found) == itemsize
    assert all(np.array_equal(plane, rows[:, number]) for number, plane in enumerate(found))


def test_rows_that_do_not_lie_side_by_side_are_split_too() -> None:
    rows = rng().integers(0, 256, (500, 8), np.uint8)[:, 2:6]
    found = [plane.copy() for plane in planes.split(rows, np.empty(500, np.uint8))]
    assert all(np.array_equal(plane, rows[:, number]) for number, plane in enumerate(found))


@pytest.mark.parametrize("nbytes", [1, 1000, 1 << 15, NBYTES])
def test_frame_holds_the_plane_and_says_its_size(nbytes: int) -> None:
    plane = exponents(nbytes)
    frame = planes.Compressor(nbytes).compress(plane)
    assert zstandard.frame_content_size(frame) == nbytes
    assert zstandard.decompress(frame) == plane.tobytes()


def test_bytes_in_no_order_are_not_searched_and_take_less_so() -> None:
    plane = exponents(NBYTES)
    searched = zstandard.ZstdCompressor(level=planes.LEVEL).compress(plane.data)
    assert len(planes.Compressor(NBYTES).compress(plane)) < 0.97 * len(searched)


@pytest.mark.parametrize("period", [768, 4096, 8192])
def test_repetition_far_apart_is_found(period: int) -> None:
    plane = np.tile(rng().integers(0, 256, period, np.uint8), NBYTES // period)
    assert len(planes.Compressor(NBYTES).compress(plane)) < 0.1 * NBYTES


@pytest.mark.parametrize("nbytes", [1, 1000, NBYTES])
def test_zeros_take_next_to_nothing(nbytes: int) -> None:
    assert len(planes.Compressor(nbytes).compress(np.zeros(nbytes, np.uint8))) < 100


def test_small_plane_is_kept_the_smaller_way() -> None:
    few = exponents(1 << 14)
    again = np.tile(rng().integers(0, 256, 2048, np.uint8), 8)
    for plane in (few, again):
        searched = zstandard.ZstdCompressor(level=planes.LEVEL).compress(plane.data)
        assert len(planes.Compressor(len(plane)).compress(plane)) <= len(searched)
