"""Find the low-rank factors of a change from the weights alone, by a randomized range finder.

After Halko, Martinsson and Tropp (2011, SIAM Review 53): the change D is multiplied with a few random vectors, an
orthonormal basis Q of the result spans what matters of D, and the singular values of the small matrix Q^T D tell the
rank: they fall to the level of rounding noise behind it. All in float64; factors are rounded after.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta import tensors
from git_theta.store.rows import Rows
from git_theta.tensors import WORKING
from git_theta.updates import refine
from git_theta.updates.floats import Floats, narrow, widen
from git_theta.updates.low_rank import Product, matrix_shape
from git_theta.updates.payloads import Array
from git_theta.updates.plans import Change, Plan, Prediction
from git_theta.updates.reading import Group, Reader
from git_theta.updates.versions import Version

MAX_RANK: Final = 128
_SAMPLE: Final = (128, 512)
_SMALL_SAMPLE: Final = (32, 256)
_SPREAD: Final = 6.0
"""Random matrices of the small sample's shape have singular values within a factor of about 2 of each other."""

_OVERSAMPLING: Final = 10
_DROP: Final = 3.0
"""Singular values of noise lie within this factor of their median."""

_NOISE_SHARE: Final = 0.05
_HELD_ELEMENTS: Final = 1 << 23
"""Groups of more are read each time that they are looked at; these take 64 MiB, twice as many in float64."""

_SEED: Final = 20260114

Matrix = npt.NDArray[np.float64]


class LowRankOf(Struct, frozen=True, dict=True):
    """A prediction: another prediction plus a product of factors.

    Attributes:
        base: what the product is added to.
        group: of the values.
        factors: both factors laid end to end, R (rows, rank) first, as they are kept: of dtype `kept`.
        rank: columns of R.
        kept: a name of `floats.WORKING`.
    """

    base: Prediction
    group: Group
    factors: Rows
    rank: int
    kept: str

    @cached_property
    def plan(self) -> Plan:
        """The low-rank update."""
        return Plan("low-rank", Array(self.factors), (self.base.plan,), (("dtype", self.kept), ("rank", self.rank)))

    def rows(self, reader: Reader) -> Iterator[Rows]:
        """The values in blocks; see `plans.Prediction`."""
        product = Product.of(self.factors.reshape(-1).data, self.kept, self.rank, self.group)
        start = 0
        for base in self.base.rows(reader):
            out = np.empty_like(base)
            product.add(base, start, out)
            yield out
            start += len(out)


def predictions(change: Change, base: Version, reader: Reader) -> Iterator[LowRankOf]:
    """The low-rank updates that may explain a change, none if it has no low rank.

    Raises:
        UnusableBaseError: the base cannot be read.
    """
    rows, columns = matrix_shape(change.group.shape)
    if len(change.group.shape) not in (2, 4) or change.group.dtype not in WORKING or min(rows, columns) < 4:
        return
    found = _found(change, base, reader)
    if found is None:
        return
    left, right = found
    for kept in _kept_dtypes(change.group.dtype):
        yield LowRankOf(base, change.group, rounded(left, right, kept), left.shape[1], kept)


def rounded(left: Matrix, right: Matrix, kept: str) -> Rows:
    """Factors as they are kept, laid end to end: an array of shape (elements, itemsize)."""
    flat: Floats = np.concatenate([left.reshape(-1), right.reshape(-1)]).astype(WORKING[kept])
    out = np.empty((len(flat), tensors.itemsize(kept)), np.uint8)
    narrow(flat, kept, out)
    return out


def _kept_dtypes(dtype: str) -> tuple[str, ...]:
    """Rounding the factors to 16 bits leaves more to correct than it saves, unless the values have no more bits."""
    if dtype == "float64":
        return ("float64",)
    return ("float32",) if dtype == "float32" else ("float32", "bfloat16")


def _found(change: Change, base: Version, reader: Reader) -> tuple[Matrix, Matrix] | None:
    """The factors R and C in float64; None if the change has no low rank, or LAPACK cannot tell."""
    with np.errstate(all="ignore"):
        try:
            rank = _sampled_rank(change, base)
            return _factors(change, base, reader, rank + _OVERSAMPLING) if rank else None
        except np.linalg.LinAlgError:
            return None


def _sampled_rank(change: Change, base: Version) -> int:
    """The rank of the change in a part of the first block; 0 if it has no low one."""
    heads = change.wanted.head(), base.head()
    part = _part(*heads, change.group, *_SMALL_SAMPLE)
    if not part.size or not np.isfinite(part).all() or not part.any() or _is_full(part):
        return 0
    part = _part(*heads, change.group, *_SAMPLE)
    if not np.isfinite(part).all():
        return 0
    values = _singular_values(part)
    rank = int(np.count_nonzero(values > _DROP * _median(values)))
    with np.errstate(all="ignore"):
        shares = np.square(values / values[0])  # The squares themselves may be too large for a number, or too small.
    noise = float(shares[rank:].sum() / max(1.0, shares.sum()))
    return rank if rank < len(values) / 2.5 and rank <= MAX_RANK and noise < _NOISE_SHARE else 0


def _part(new: Rows, old: Rows, group: Group, height: int, width: int) -> Matrix:
    """New values minus old ones, in so many rows and columns of the matrix at the most, evenly spread."""
    columns = matrix_shape(group.shape)[1]
    rows = len(new) // columns
    if not rows:
        return np.empty((0, 0))
    down = np.linspace(0, rows - 1, min(height, rows)).astype(int)
    across = np.linspace(0, columns - 1, min(width, columns)).astype(int)

    def thinned(block: Rows) -> Floats:
        whole = block[: rows * columns].reshape(rows, columns, -1)
        return widen(np.ascontiguousarray(whole[down][:, across]), group.dtype).reshape(len(down), len(across))

    return np.subtract(thinned(new), thinned(old), dtype=np.float64)


def _is_full(part: Matrix) -> bool:
    """Whether all singular values of a wide matrix are of one size, so that no low rank can be in it: quick to tell."""
    if part.shape[0] * 2 > part.shape[1]:
        return False
    values = _singular_values(part)
    return bool(values[0] < _SPREAD * values[-1])


def _singular_values(wide: Matrix) -> Matrix:
    """The singular values of a matrix, the largest first, but for a factor.

    As roots of the eigenvalues of a product, those below 1e-8 of the largest are noise. They are found in a tenth of
    the time, and rounding leaves larger ones wherever values have fewer than 64 bits.
    """
    # Of numbers near 1: squares of very large or small ones would leave the range of floats.
    scaled = wide / np.abs(wide).max()
    values: Matrix = np.sqrt(np.abs(np.linalg.eigvalsh(scaled @ scaled.T)))
    return np.sort(values)[::-1]


def _median(ordered: Matrix) -> float:
    """The median of ordered values. NumPy's own imports all of its masked arrays first, for 15 ms."""
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _factors(change: Change, base: Prediction, reader: Reader, width: int) -> tuple[Matrix, Matrix] | None:
    """R and C in float64; None if the change has no low rank after all."""
    dtype = change.group.dtype
    rows, columns = matrix_shape(change.group.shape)

    def read() -> Iterator[tuple[Floats, Floats]]:
        return _chunks(zip(change.wanted.rows(), base.rows(reader), strict=True), columns, dtype)

    chunks = _held(read, rows * columns)
    # What was rounded to 16 bits tells no more in float64 than in float32.
    exact = "<f4" if dtype in refine.DTYPES else "<f8"
    test = np.random.default_rng(_SEED).standard_normal((columns, min(width, rows, columns))).astype(exact)
    sketch = np.concatenate([np.subtract(*chunk, dtype=exact) @ test for chunk in chunks()]).astype(np.float64)
    if len(sketch) != rows or not np.isfinite(sketch).all():
        return None
    basis, _ = np.linalg.qr(sketch)
    small = np.zeros((basis.shape[1], columns))
    narrow_basis = basis.astype(exact)
    start = 0
    for new, old in chunks():
        small += narrow_basis[start : start + len(new)].T @ np.subtract(new, old, dtype=exact)
        start += len(new)
    if not np.isfinite(small).all():
        return None
    left, values, right = np.linalg.svd(small, full_matrices=False)
    # Behind the rank come singular values of noise: as many as were sampled in excess.
    noise = _median(values[-_OVERSAMPLING // 2 :])
    rank = int(np.count_nonzero(values > _DROP * noise))
    if not 0 < rank < min(rows, columns):
        return None
    root = np.sqrt(values[:rank])
    found = (basis @ left[:, :rank]) * root, root[:, None] * right[:rank]
    if rank <= refine.MAX_RANK and dtype in refine.DTYPES:
        return refine.refined(*found, chunks)
    return found


def _held(begin: refine.Chunks, elements: int) -> refine.Chunks:
    """The same chunks, in memory unless they are too large for that: they are looked at several times."""
    if elements > _HELD_ELEMENTS:
        return begin
    held = [(new.copy(), old.copy()) for new, old in begin()]
    return lambda: iter(held)


def _chunks(pairs: Iterator[tuple[Rows, Rows]], columns: int, dtype: str) -> Iterator[tuple[Floats, Floats]]:
    """Some rows of the matrices at a time, from the blocks of new and old values."""
    rest = np.empty(0, WORKING[dtype]), np.empty(0, WORKING[dtype])
    with np.errstate(all="ignore"):
        for pair in pairs:
            new, old = (
                np.concatenate([left, widen(rows, dtype)]) if len(left) else widen(rows, dtype)
                for left, rows in zip(rest, pair, strict=True)
            )
            whole = len(new) // columns * columns
            rest = new[whole:].copy(), old[whole:].copy()
            if whole:
                yield new[:whole].reshape(-1, columns), old[:whole].reshape(-1, columns)
