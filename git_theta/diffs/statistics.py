"""How far the values of a group moved: exactly, from the values block by block, or estimated from signatures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta import tensors
from git_theta.diffs.changes import Statistics
from git_theta.diffs.numbers import (
    Floats,
    Rows,
    count_changed,
    distances,
    floats,
    has_own_bits,
    is_numeric,
    parts,
    steps,
)
from git_theta.metadata import Entry
from git_theta.signatures import PROJECTIONS, distance

BINS: Final = 64

_ROUNDING: Final = 2e-15
_TINY: Final = 1e-280
_HUGE: Final = 1e280
_ZEROS: Final = (0,) * PROJECTIONS
"""The signature of zeros, by which a norm is a distance."""


def are_comparable(old: Entry, new: Entry) -> bool:
    """Whether the values of two groups can be compared one by one, in C order."""
    if math.prod(old.shape) != math.prod(new.shape):
        return False
    if not (is_numeric(old.dtype) and is_numeric(new.dtype)):
        return old.dtype == new.dtype
    return parts(old.dtype) == parts(new.dtype)


def measure(old: Iterable[Rows], new: Iterable[Rows], old_dtype: str, new_dtype: str) -> Statistics:
    """Exact statistics of two versions of a group that are comparable; see `Measure`.

    Args:
        old: the bytes of the values, in pieces of any size.
        new: the same of the new version.
        old_dtype: of the old values.
        new_dtype: of the new values.

    Raises:
        ValueError: one has more values.
    """
    measuring = Measure(old_dtype, new_dtype)
    for one, two in zip(steps(old, old_dtype), steps(new, new_dtype), strict=True):
        measuring.add(one, two)
    return measuring.result()


class Measure:
    """Adds up exact statistics in float64, block by block.

    Values that are NaN, or the same infinity, on both sides count as no change but for their bits. Any other value
    that is not finite makes the statistics infinite or NaN, as arithmetic has it.
    """

    def __init__(self, old_dtype: str, new_dtype: str) -> None:
        """Args: old_dtype, new_dtype: of the values, which are comparable."""
        self._dtypes = old_dtype, new_dtype
        self._is_numeric = is_numeric(old_dtype) and is_numeric(new_dtype)
        self._count = self._changed = 0
        self._old = self._new = self._difference = 0.0
        self._product = self._largest = 0.0

    def add(self, old: Rows, new: Rows) -> None:
        """Take the next values.

        Args:
            old: the bytes of some values; of blocks, whole ones.
            new: the bytes of as many values.

        Raises:
            ValueError: they are not as many.
        """
        count, other = (_count(rows, dtype) for rows, dtype in zip((old, new), self._dtypes, strict=True))
        if count != other:
            raise ValueError(f"{count} elements cannot be compared with {other}")
        self._count += count
        if not self._is_numeric:
            self._changed += _count_blocks(old, new, self._dtypes[0])
            return
        with np.errstate(all="ignore"):
            one, two = floats(old, self._dtypes[0]), floats(new, self._dtypes[1])
            is_same_type = self._dtypes[0] == self._dtypes[1]
            if is_same_type and has_own_bits(self._dtypes[0]):
                self._changed += count_changed(old, new, self._dtypes[0])
            else:
                self._changed += self._count_unequal(one, two)
            _quiet(one, two)
            exact = is_same_type and self._dtypes[0] in ("int64", "uint64")
            difference = distances(old, new, self._dtypes[0]) if exact else two - one
            self._sum(one, two, difference)

    def result(self) -> Statistics:
        """The statistics of all that was added."""
        changed = self._changed / self._count if self._count else 0.0
        if not self._is_numeric:
            return Statistics(None, None, changed, None, is_exact=True)
        if self._old:
            relative = self._difference / self._old if math.isfinite(self._old) else math.nan
        else:
            relative = math.inf if self._difference else 0.0
        relative = math.nan if math.isnan(self._largest) else relative
        return Statistics(relative, self._largest, changed, self._cosine(), is_exact=True)

    def _cosine(self) -> float | None:
        lengths = self._old * self._new
        if not (0 < lengths < math.inf and math.isfinite(self._product)):
            return None
        cosine = max(-1.0, min(1.0, self._product / lengths))
        # What was only scaled must not look turned: the sums of 5 million values are off by less than this.
        return math.copysign(1.0, cosine) if 1 - abs(cosine) < _ROUNDING else cosine

    def _sum(self, one: Floats, two: Floats, difference: Floats) -> None:
        largest = _largest(difference, parts(self._dtypes[0]))
        self._largest = largest if math.isnan(largest) else max(self._largest, largest)
        self._difference = math.hypot(self._difference, _norm(difference)) if largest else self._difference
        self._old = math.hypot(self._old, _norm(one))
        self._new = math.hypot(self._new, _norm(two))
        self._product += float(one @ two)

    def _count_unequal(self, one: Floats, two: Floats) -> int:
        differs = (one != two) & ~(np.isnan(one) & np.isnan(two))
        pairs = differs.reshape(-1, parts(self._dtypes[0]))
        return int(np.count_nonzero(pairs.any(axis=1)))


def _count(rows: Rows, dtype: str) -> int:
    elements, size = tensors.BLOCKS[dtype]
    return rows.size * elements // size


def _count_blocks(old: Rows, new: Rows, dtype: str) -> int:
    """The elements of blocks of which any bit differs."""
    elements, size = tensors.BLOCKS[dtype]
    return int((old.reshape(-1, size) != new.reshape(-1, size)).any(axis=1).sum()) * elements


def estimate(old: Entry, new: Entry) -> Statistics | None:
    """What signatures tell of two versions of a group; None if one has none, or the two cannot be compared.

    The norm of a group is its distance to zeros. Relative changes are off by a quarter as a rule, cosines by 0.25 where
    the versions have little in common and by less where they are near each other.
    """
    if old.signature is None or new.signature is None or not are_comparable(old, new):
        return None
    moved, norm = distance(old.signature, new.signature), distance(old.signature, _ZEROS)
    relative = moved / norm if norm else (math.inf if moved else 0.0)
    lengths = math.hypot(*old.signature) * math.hypot(*new.signature)
    product = float(sum(one * two for one, two in zip(old.signature, new.signature, strict=True)))
    cosine = max(-1.0, min(1.0, product / lengths)) if lengths else None
    return Statistics(relative, None, None, cosine, is_exact=False)


class Histogram(Struct, frozen=True):
    """How the values of a group are spread, before and after.

    Attributes:
        edges: limits of the bins, ascending, one more than there are bins; a bin holds its lower limit, and the last
            one its upper limit as well.
        old: values in each bin before; zeros if there was no group.
        new: values in each bin after; zeros if there is none.
    """

    edges: tuple[float, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]


class Values(Struct, frozen=True):
    """A group's values, which can be read several times.

    Attributes:
        dtype: one for which `numbers.is_numeric` holds.
        blocks: begins to read: gives the bytes of the values, block by block.
    """

    dtype: str
    blocks: Callable[[], Iterable[Rows]]


def histogram(old: Values | None, new: Values | None, bins: int = BINS) -> Histogram | None:
    """Histograms over common bins of one width, from the least to the largest value of both versions.

    Each version is read twice. NaNs and infinities are left out; of a complex value, both parts are counted.

    Args:
        old: the version before; None if there was none.
        new: the version after; None if there is none.
        bins: their number, at least 1.

    Returns:
        The histograms; None if there is no finite value.
    """
    sides = [side for side in (old, new) if side is not None]
    limits = [limit for side in sides for limit in _limits(side)]
    if not limits:
        return None
    low, high = min(limits), max(limits)
    # Halves, since the whole range of float64 is wider than its largest number.
    edges = 2 * np.linspace(low / 2, high / 2, bins + 1) if low < high else np.linspace(*_around(low), bins + 1)
    return Histogram(tuple(edges.tolist()), _counts(old, edges), _counts(new, edges))


def _limits(values: Values) -> tuple[float, ...]:
    low, high = math.inf, -math.inf
    for rows in steps(values.blocks(), values.dtype):
        numbers = _finite(rows, values.dtype)
        if numbers.size:
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    return (low, high) if low <= high else ()


def _counts(values: Values | None, edges: Floats) -> tuple[int, ...]:
    counts = np.zeros(len(edges) - 1, np.int64)
    if values is not None:
        for rows in steps(values.blocks(), values.dtype):
            counts += np.bincount(_bins(_finite(rows, values.dtype), edges), minlength=len(counts))
    return tuple(counts.tolist())


def _bins(numbers: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    """The bin of each number; all bins have one width. To guess and to correct is much faster than to search."""
    last = len(edges) - 2
    reach = float(edges[-1] / 2 - edges[0] / 2)
    if reach < _TINY or not (edges[1:] > edges[:-1]).all():
        places: npt.NDArray[np.int64] = np.searchsorted(edges, numbers, side="right") - 1
    else:
        places = ((numbers / 2 - edges[0] / 2) * ((last + 1) / reach)).astype(np.int64)
        np.clip(places, 0, last, out=places)
        places -= numbers < edges[places]
        places += numbers >= edges[places + 1]
    return np.clip(places, 0, last, out=places)


def _around(value: float) -> tuple[float, float]:
    """An interval around a value that all values equal."""
    reach = abs(value) / 2 or 0.5
    return max(value - reach, -1.7e308), min(value + reach, 1.7e308)


def _finite(rows: Rows, dtype: str) -> Floats:
    numbers = floats(rows, dtype)
    return numbers[np.isfinite(numbers)]


def _quiet(one: Floats, two: Floats) -> None:
    """Make zeros of what is NaN on both sides, or the same infinity."""
    if math.isfinite(float(one @ one) + float(two @ two)):
        return
    same = (np.isnan(one) & np.isnan(two)) | (np.isinf(one) & (one == two))
    one[same] = 0.0
    two[same] = 0.0


def _largest(difference: Floats, parts_of_a_value: int) -> float:
    if not difference.size:
        return 0.0
    if parts_of_a_value == 1:
        return max(float(difference.max()), -float(difference.min())) + 0.0
    return float(np.hypot(difference[::2], difference[1::2]).max())


def _norm(numbers: Floats) -> float:
    """The Euclidean norm; squares neither overflow nor vanish. A norm that float64 cannot hold is infinite."""
    square = float(numbers @ numbers)
    if _TINY < square < _HUGE:
        return math.sqrt(square)
    largest = _largest(numbers, 1)
    if largest == 0 or not math.isfinite(largest):
        return abs(largest)
    _, exponent = math.frexp(largest)
    scaled = np.ldexp(numbers, -exponent)
    return float(np.ldexp(math.sqrt(float(scaled @ scaled)), exponent))
