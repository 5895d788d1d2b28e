"""Merge groups that differ in their number of rows: an embedding whose vocabulary grew on one side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.errors import MergeError
from git_theta.store.rows import Rows

METHOD: Final = "rows"
"""What this way to settle a conflict is called."""

_STEP: Final = 1 << 22


def check_rows(shapes: Iterable[tuple[int, ...]]) -> None:
    """Make sure that groups differ in nothing but their number of rows.

    Raises:
        MergeError: they do.
    """
    found = set(shapes)
    if () in found or len({shape[1:] for shape in found}) > 1:
        listed = " and ".join(sorted(str(list(shape)) for shape in found)[:3])
        raise MergeError(f"groups of the shapes {listed} differ in more than their rows: take one side")


def row_nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a row of a group.

    Raises:
        MergeError: rows share bytes.
    """
    try:
        return tensors.nbytes(dtype, (1, *shape[1:]))
    except ValueError:
        raise MergeError(f"rows of {dtype} values that share bytes cannot be told apart: take one side") from None


def merge_rows(ancestor: Rows | None, sides: Sequence[Rows]) -> Rows:
    """Merge row by row, by position.

    Of the rows that all sides have, each is taken from the side that changed it; where several did, from the first of
    them, ours before theirs. Rows that a side added at the end are taken from it.

    Args:
        ancestor: shape (rows, bytes of a row); None if there is none, so that all sides count as having changed
            all rows.
        sides: of the same width.

    Returns:
        A new array of that width.

    Raises:
        MergeError: rows of the same number do not mean the same, since one side removed rows and another added some, or
            several added different ones; or one side removed rows that another changed.
    """
    longest = max(sides, key=len)
    shared = min(len(side) for side in sides)
    total = len(longest)
    if ancestor is not None:
        shared = min(shared, len(ancestor))
        added = _check_ends(ancestor, sides, shared)
        total = len(longest) if added else shared
    out = np.empty((total, longest.shape[1]), np.uint8)
    out[shared:] = longest[shared:total]
    step = max(1, _STEP // max(1, longest.shape[1]))
    for start in range(0, shared, step):
        where = slice(start, min(start + step, shared))
        _merge_shared(None if ancestor is None else ancestor[where], [side[where] for side in sides], out[where])
    return out


def _check_ends(ancestor: Rows, sides: Sequence[Rows], shared: int) -> bool:
    """Make sure that what lies behind the shared rows can be merged; returns whether rows were added there."""
    longest = max(sides, key=len)
    added = [side[len(ancestor) :] for side in sides if len(side) > len(ancestor)]
    if added and shared < len(ancestor):
        raise MergeError("rows were removed on one side and added on another: take one side")
    if any(not np.array_equal(rows, longest[len(ancestor) : len(ancestor) + len(rows)]) for rows in added):
        raise MergeError("several sides added different rows in the same place: take one side")
    left = [side[shared : len(ancestor)] for side in sides]
    if any(not np.array_equal(rows, ancestor[shared : shared + len(rows)]) for rows in left):
        raise MergeError("rows were removed on one side and changed on another: take one side")
    return bool(added)


def _merge_shared(old: Rows | None, sides: Sequence[Rows], out: Rows) -> None:
    out[...] = sides[0]
    if old is None:
        return
    unsettled: npt.NDArray[np.bool_] = ~(sides[0] != old).any(axis=1)
    for side in sides[1:]:
        changed = (side != old).any(axis=1) & unsettled
        out[changed] = side[changed]
        unsettled &= ~changed
