"""The bits of values as whole numbers, so that values near each other have small differences, whatever they are.

The bits of a float, read as a signed number and mirrored where the sign is set, are in the order of the floats; the
mapping is its own inverse and takes every pattern of bits to another one, so that NaNs, infinities, zeros of both
signs and subnormals come back as they were. Differences wrap around and are kept as zigzag codes (0, -1, 1, -2, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import Struct

from git_theta import tensors
from git_theta.kernels import Array
from git_theta.loops import loops

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from git_theta.store.rows import Rows

Numbers: TypeAlias = "npt.NDArray[np.signedinteger[Any]]"

_FLOATS: Final = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 4, "complex128": 8}
"""Bytes of the floats that values of these dtypes are, or are made of."""


class Words(Struct, frozen=True):
    """How a dtype's values are read as numbers: their bytes, and whether they are floats."""

    size: int
    is_float: bool

    @property
    def dtype(self) -> str:
        """The signed numbers of this size, little-endian, as NumPy calls them."""
        return f"<i{self.size}"

    def view(self, rows: Rows) -> Numbers:
        """Rows of bytes as numbers, flat, without a copy."""
        return rows.reshape(-1).view(self.dtype)


def words_of(dtype: str) -> Words:
    """The numbers for a dtype of `tensors.BLOCKS`; a complex value is two."""
    if dtype in _FLOATS:
        return Words(_FLOATS[dtype], is_float=True)
    return Words(tensors.itemsize(dtype), is_float=False)


def difference(new: Array, base: Array, words: Words, out: Array) -> bool:
    """Zigzag codes of new minus base, into `out`; all three have the same length.

    Returns:
        Whether the codes give the new numbers again, which has been tried.
    """
    return loops().difference(new, base, words.size, words.is_float, out)


def add(base: Array, codes: Array, words: Words, out: Array) -> None:
    """Undo `difference`: the new numbers from the base and the codes, into `out`, which may be the base."""
    loops().add(base, codes, words.size, words.is_float, out)
