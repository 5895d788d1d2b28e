"""Values as floats to compute with, and back, the same on every machine.

Only elementwise operations of IEEE 754 are used on them, in float32 (float64 for float64 values, and for sums of
several groups), and results are rounded once, to nearest, ties to even. NaNs that come out are made the one quiet NaN:
which one a processor makes differs.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta.rounding import bfloat16_bits
from git_theta.store.rows import Rows
from git_theta.tensors import WORKING

Floats = npt.NDArray[np.floating[Any]]

_HELD: Final = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}


def widen(rows: Rows, dtype: str) -> Floats:
    """Values given as rows of bytes, as a flat array to compute with; exact. It may be a view of the rows."""
    flat = rows.reshape(-1)
    if dtype == "bfloat16":
        bits = flat.view("<u2").astype("<u4")
        np.left_shift(bits, 16, out=bits)
        return bits.view("<f4")
    if dtype == "float16":
        return flat.view("<f2").astype("<f4")
    return flat.view(WORKING[dtype])


def narrow(values: Floats, dtype: str, out: Rows) -> None:
    """Round values (flat, float32 or float64, lost by this) to a dtype, into rows of bytes."""
    flat = out.reshape(-1)
    if dtype == "bfloat16":
        flat.view("<u2")[...] = bfloat16_bits(values)
        return
    nans = np.isnan(values)
    if nans.any():
        np.copyto(values, np.nan, where=nans)
    with np.errstate(over="ignore", under="ignore"):
        flat.view(_HELD[dtype])[...] = values
