"""What side-loaded changes tell about the way in which new values are kept: a low rank, or a scaling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.metadata import Entry
from git_theta.updates import Group
from git_theta.updates.factors import LowRankOf, rounded
from git_theta.updates.low_rank import matrix_shape
from git_theta.updates.plans import Base, Prediction, Stored
from git_theta.updates.scales import Scaled
from git_theta.updates.sidedata.changes import Change, LowRank, Scale
from git_theta.updates.sidedata.values import shaped, widen


def stored(entry: Entry) -> Stored:
    """The values of a group, as a prediction."""
    return Stored(Group(entry.dtype, entry.shape), Base(entry.update, entry.digest, entry.signature))


def hint(parts: Sequence[Change], entry: Entry) -> Prediction | None:
    """What the new values of a group are said to come from, if an update can say so.

    Args:
        parts: the changes of the group, one after the other.
        entry: the group in the version that is changed.
    """
    if len(parts) != 1 or not entry.nbytes:
        return None
    change, before = parts[0], stored(entry)
    if isinstance(change, LowRank) and (change.r.shape[0], change.c.shape[1]) == matrix_shape(entry.shape):
        rank = change.r.shape[1]
        if rank > min(matrix_shape(entry.shape)):
            return None
        left, right = change.r.astype(np.float64), change.c.astype(np.float64)
        kept = next(kept for kept in ("bfloat16", "float32", "float64") if _holds(kept, left, right))
        return LowRankOf(before, before.group, rounded(left, right, kept), rank, kept)
    if isinstance(change, Scale):
        return Scaled(
            before, before.group, change.vector.astype(np.float64 if entry.dtype == "float64" else np.float32)
        )
    return None


def _holds(kept: str, left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> bool:
    """Whether a dtype can hold both factors as they are; float64 always can."""
    flat = np.concatenate([left.reshape(-1), right.reshape(-1)])
    rows = rounded(left, right, kept)
    size = tensors.itemsize(kept)
    held = widen(shaped(rows.reshape(-1), kept, (rows.size // size,)), kept)
    return kept == "float64" or bool(np.array_equal(held, flat, equal_nan=True))
