"""Make the rows of a sparse update, and take them apart again."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from git_theta.kernels import GAP, Array
from git_theta.loops import loops
from git_theta.store.rows import Rows, rows_of
from git_theta.updates.sparse import row_nbytes
from git_theta.updates.words import Numbers, Words

MAX_GAP: Final = (1 << 32) - 1

Places = npt.NDArray[np.int64]


def pack(places: Places, codes: Numbers, words: Words) -> Rows:
    """The rows for changed words: their places, ascending, and their codes.

    Returns:
        An array of shape (count, 4 + size of a word).

    Raises:
        ValueError: two places are further apart than a gap can say.
    """
    gaps = np.diff(places, prepend=-1) - 1
    if gaps.size and gaps.max() > MAX_GAP:
        raise ValueError("two changes are too far apart")
    rows = np.empty((len(places), row_nbytes(words)), np.uint8)
    rows[:, :GAP] = gaps.astype("<u4").view(np.uint8).reshape(-1, GAP)
    rows[:, GAP:] = np.ascontiguousarray(codes, words.dtype).view(np.uint8).reshape(-1, words.size)
    return rows


def unpack(data: Array, words: Words) -> tuple[Places, Numbers]:
    """Undo `pack`."""
    rows = rows_of(data, row_nbytes(words))
    places = np.empty(len(rows), np.int64)
    loops().places(rows, words.size, places)
    return places, np.ascontiguousarray(rows[:, GAP:]).view(words.dtype).reshape(-1)
