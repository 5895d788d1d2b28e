"""Checksums of pieces laid end to end."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from git_theta.checkpoints.crc import combined, without


@pytest.mark.parametrize("sizes", [(0, 0), (0, 5), (7, 0), (1, 1), (128, 3), (3, 70_000), (64, 1_000_003)])
def test_the_checksum_of_both_is_that_of_the_bytes(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(sum(sizes))
    one, other = (generator.bytes(size) for size in sizes)
    both = zlib.crc32(one + other)
    assert combined(zlib.crc32(one), zlib.crc32(other), len(other)) == both
    assert without(zlib.crc32(one), both, len(other)) == zlib.crc32(other)


def test_pieces_of_many_gigabytes_are_no_longer_than_others() -> None:
    # Appending zeros in one go, or in two.
    size = 5 * 2**33
    once = combined(0x12345678, 0, size)
    assert combined(combined(0x12345678, 0, size - 12345), 0, 12345) == once
