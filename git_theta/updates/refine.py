"""Fit the factors of a low-rank change to values that were rounded to 16 bits.

The singular value decomposition takes every value for equally exact. But the smaller a value, the finer the grid that
it was rounded to, and the more exactly it tells what the factors are. So they are fitted again by weighted least
squares, one factor after the other, each weight the inverse of the variance that rounding causes: fewer values are left
that need a correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta.updates.floats import Floats

MAX_RANK: Final = 16
"""With larger ranks fitting takes longer than it is worth: the time grows with the square of the rank."""

DTYPES: Final = ("bfloat16", "float16")
"""What this is for."""

_LEAST: Final = 1e-3
"""Values below this part of their mean square root do not become heavier: zero would weigh infinitely much."""

_ROUNDS: Final = 2
_RIDGE: Final = 1e-9

Matrix = npt.NDArray[np.float64]
Chunks = Callable[[], Iterator[tuple[Floats, Floats]]]
"""Gives the rows of the new matrix and of the old one, in float32, some at a time."""


def refined(left: Matrix, right: Matrix, chunks: Chunks) -> tuple[Matrix, Matrix]:
    """Factors that explain more of a change to the bit; the given ones if there are no better ones.

    Args:
        left: R, of shape (rows, rank).
        right: C, of shape (rank, columns).
        chunks: the values, rounded to one of `DTYPES`.
    """
    fitted = left, right
    with np.errstate(all="ignore"):
        try:
            for _ in range(_ROUNDS):
                fitted = _round(fitted[1], chunks())
        except np.linalg.LinAlgError:
            return left, right
    is_finite = all(np.isfinite(factor).all() for factor in fitted)
    return fitted if is_finite else (left, right)


def _round(right: Matrix, chunks: Iterator[tuple[Floats, Floats]]) -> tuple[Matrix, Matrix]:
    """R, fitted with C as it is, and then C with that R."""
    rank, columns = right.shape
    grams, targets = np.zeros((columns, rank * (rank + 1) // 2)), np.zeros((columns, rank))
    products, transposed = _products(right.T), right.T.astype(np.float32)
    found = []
    for new, old in chunks:
        change = new - old
        weights = _weights(new)
        np.multiply(change, weights, out=change)
        part = _solved(weights @ products, change @ transposed)
        grams += weights.T @ _products(part)
        targets += change.T @ part.astype(np.float32)
        found.append(part)
    return np.concatenate(found), _solved(grams, targets).T


def _weights(new: Floats) -> Floats:
    """The inverse of the variance that rounding causes, but for a factor."""
    scale = float(np.sqrt(np.mean(np.square(new), dtype=np.float64))) or 1.0
    noise: Floats = np.abs(new)
    noise /= scale
    noise += _LEAST
    np.square(noise, out=noise)
    return np.reciprocal(noise, out=noise)


def _products(factor: Matrix) -> Floats:
    """The products of every two columns, each once: an array of shape (n, rank * (rank + 1) / 2) in float32."""
    one, two = np.triu_indices(factor.shape[1])
    narrow = factor.astype(np.float32)
    products: Floats = narrow[:, one] * narrow[:, two]
    return products


def _solved(grams: npt.NDArray[Any], targets: npt.NDArray[Any]) -> Matrix:
    """The solution of a system for each row.

    Args:
        grams: the upper triangle of each matrix, (n, rank * (rank + 1) / 2).
        targets: each right side, (n, rank).

    Raises:
        LinAlgError: a matrix is singular.
    """
    rank = targets.shape[1]
    one, two = np.triu_indices(rank)
    matrices: Matrix = np.empty((len(grams), rank, rank))
    matrices[:, one, two] = grams
    matrices[:, two, one] = grams
    diagonal = np.arange(rank)
    ridge = _RIDGE * matrices[:, diagonal, diagonal].sum(axis=1)
    matrices[:, diagonal, diagonal] += ridge[:, None]
    solved = np.linalg.solve(matrices, targets.astype(np.float64)[:, :, None])
    return solved[:, :, 0].astype(np.float64, copy=False)
