"""Values as rows of bytes, each the bytes of an element: what is written, and what is computed with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from git_theta.kernels import Array

Rows = npt.NDArray[np.uint8]
"""An array of shape (rows, itemsize)."""


def rows_of(data: Array, itemsize: int) -> Rows:
    """Bytes as rows, without a copy."""
    return np.frombuffer(data, np.uint8).reshape(-1, itemsize)
