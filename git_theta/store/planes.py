"""Byte planes: the first bytes of all elements, then the second ones, and so on, each compressed by itself with zstd.

The plane that holds the exponents of a weight matrix has few different bytes, in no order. Searched for repetitions, as
zstd does by itself, it yields many short ones by chance, which take more bytes than the bytes' own code, and several
times as long. So it is hardly searched, unless a sample tells that the search pays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import zstandard

from git_theta.kernels import native
from git_theta.store.description import LEVEL
from git_theta.store.rows import Rows

_SAMPLE: Final = 1 << 15
"""Bytes of a plane that tell whether to search it."""

_COMPILED: Final = (2, 4, 8)
_WORDS: Final = (2, 4)
_LEAST_HASH_LOG: Final = 6
_LONGEST_MATCH: Final = 7


class Compressor:
    """Compresses planes of one size."""

    def __init__(self, nbytes: int) -> None:
        """Args: nbytes: of each plane."""
        hardly = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, source_size=nbytes, hash_log=_LEAST_HASH_LOG, min_match=_LONGEST_MATCH, write_content_size=True
        )
        self._hardly = zstandard.ZstdCompressor(compression_params=hardly)
        self._searching = zstandard.ZstdCompressor(level=LEVEL)

    def compress(self, plane: npt.NDArray[np.uint8]) -> bytes:
        """A frame of zstd."""
        start = max(0, (len(plane) - _SAMPLE) // 2)
        sample = plane[start : start + _SAMPLE].data
        unsearched, searched = self._hardly.compress(sample), self._searching.compress(sample)
        if len(plane) <= _SAMPLE:
            return min(unsearched, searched, key=len)
        best = self._searching if len(searched) < len(unsearched) else self._hardly
        return best.compress(plane.data)


def split(rows: Rows, out: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """The planes of rows, one after the other, each in `out`, of which the next takes its place."""
    itemsize = rows.shape[1]
    if native is not None and itemsize in _COMPILED and rows.flags.c_contiguous:
        for plane in range(itemsize):
            native.split(rows, itemsize, plane, out)
            yield out
    elif itemsize in _WORDS and rows.flags.c_contiguous:
        # To shift and narrow whole words is several times faster than to gather single bytes.
        words = rows.reshape(-1).view(f"<u{itemsize}")
        shifted = np.empty_like(words)
        for plane in range(itemsize):
            np.copyto(out, np.right_shift(words, 8 * plane, out=shifted) if plane else words, casting="unsafe")
            yield out
    else:
        for plane in range(itemsize):
            np.copyto(out, rows[:, plane])
            yield out
