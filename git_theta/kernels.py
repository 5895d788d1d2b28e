"""Loops that are compiled where there was a compiler when Git-Theta was installed; elsewhere NumPy does the same.

NumPy makes a pass through memory for each operation. A loop of C makes one for all of them, in a fraction of the time.
Both give the same bytes, which is tested: with every function here, whoever calls it has the operations of NumPy beside
it. So no user needs a compiler, and whoever reads only Python can follow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[Any] | bytes | bytearray | memoryview"
"""A contiguous array in little-endian order, or any bytes: only they count."""

GAP: Final = 4
"""Bytes of the number of unchanged words before a changed one, in a row of a sparse update."""

_REVISION: Final = 4
"""Of the functions. A compiled file that was left from another revision is not used."""


class Loops(Protocol):
    """Those that are also passes of NumPy by the same arguments: see `loops` and `passes`."""

    def join(self, planes: tuple[Array, ...], out: Array, /) -> None:
        """Rows from their 2, 4 or 8 planes."""

    def add(self, base: Array, codes: Array, size: int, is_float: bool, out: Array, /) -> None:
        """Words from those of a base and zigzag codes; see `updates.words`. They may take the place of the base's."""

    def difference(self, new: Array, base: Array, size: int, is_float: bool, out: Array, /) -> bool:
        """Zigzag codes for new words; whether they give these again."""

    def places(self, rows: Array, size: int, out: Array, /) -> None:
        """The places of changed words; see `updates.sparse`.

        Args:
            rows: a gap of 4 bytes and a code each.
            size: of a code: 1, 2, 4 or 8.
            out: int64, as many.
        """

    def change(self, places: Array, rows: Array, start: int, size: int, is_float: bool, out: Array, /) -> None:
        """Change some of the words from `start` on, which are in out, as `add` does.

        Args:
            places: of the changed words, int64.
            rows: a gap and a code for each.
            start: the place of the first word of out.
            size: of a word: 1, 2, 4 or 8.
            is_float: see `add`.
            out: the words.
        """


class Kernels(Loops, Protocol):
    """The functions of `_kernels.c`. Each raises ValueError if lengths do not fit, and BufferError for other arrays."""

    REVISION: int

    def split(self, rows: Array, itemsize: int, plane: int, out: Array, /) -> None:
        """One plane of rows of 2, 4 or 8 bytes."""

    def mean(self, one: Array, other: Array, weight: float, size: int, out: Array, /) -> bool:
        """(one + other) * weight of bfloat16 (size 2) or float32 (4), computed in float32.

        Returns:
            Whether each result is a normal number or 0; if not, what was written is of no use.
        """

    def product(self, base: Array, left: Array, right: Array, rank: int, start: int, size: int, out: Array, /) -> None:
        """Some elements of a matrix plus those of left @ right, computed in float32; see `updates.low_rank`.

        Args:
            base: the elements of the matrix: bfloat16 (size 2) or float32 (4).
            left: (rows, rank) in float32, aligned.
            right: (rank, columns) in float32, aligned.
            rank: columns of left.
            start: the place of the first element in the matrix.
            size: of an element.
            out: gets as many as base has, and may be the base.
        """

    def finite(self, values: Array, size: int, /) -> bool:
        """Whether no number is infinite or NaN: bfloat16 (size 2) or float32 (4)."""

    def select(self, values: Array, base: Array, size: int, low: float, high: float, out: Array, /) -> tuple[int, int]:
        """The magnitudes of values - base in float32 that lie from low to high, at the beginning of out.

        Args:
            values: bfloat16 (size 2) or float32 (4).
            base: as many.
            size: of a number.
            low: the smallest that is wanted.
            high: the largest that is wanted.
            out: float32, with room for all.

        Returns:
            How many are above high, and how many are in out.
        """

    def elected(
        self,
        inputs: tuple[tuple[Array, float, float, int], ...],
        base: Array,
        size: int,
        normalize: bool,
        factor: float,
        out: Array,
        /,
    ) -> None:
        """The base plus what elected deltas sum up to; see `merges.elections`.

        Args:
            inputs: at most `MOST_INPUTS`: values (bfloat16 or float32), weight, and a `Cut`: its value and its last
                position, counted from these values.
            base: as many values.
            size: of a number: 2 or 4.
            normalize: divide by the sum of the weights that count.
            factor: of the merged delta.
            out: gets as many values.
        """

    def fold(self, values: Array, signs: Array, size: int, negative: bool, sums: Array, /) -> None:
        """Add values to sums, or subtract them, after the signs have been turned that signs says; see `lsh`.

        Args:
            values: bfloat16 (size 2) or float32 (4).
            signs: the sign bit or nothing for each.
            size: of a value.
            negative: subtract.
            sums: float64, aligned, as many.
        """


MOST_INPUTS: Final = 7
"""Inputs that `Kernels.elected` takes at the most."""


def _found() -> Kernels | None:
    try:
        module = cast(Kernels, importlib.import_module("git_theta._kernels"))
    except ImportError:
        return None
    return module if module.REVISION == _REVISION else None


native: Final = _found()
"""The compiled functions; None if there are none for this machine."""
