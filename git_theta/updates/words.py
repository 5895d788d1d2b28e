"""The bits of values as whole numbers, so that values near each other have small differences, whatever they are.

The bits of a float, read as a signed number and mirrored where the sign is set, are in the order of the floats; the
mapping is its own inverse and takes every pattern of bits to another one, so that NaNs, infinities, zeros of both
signs and subnormals come back as they were. Differences wrap around and are kept as zigzag codes (0, -1, 1, -2, ...).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.store.planes import Rows

Numbers = npt.NDArray[np.signedinteger[Any]]

_STEP: Final = 1 << 17
"""Numbers that are worked on at once, so that what is in between stays in the processor's cache."""

_FLOATS: Final = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 4, "complex128": 8}
"""Bytes of the floats that values of these dtypes are, or are made of."""


@dataclass(frozen=True, slots=True)
class Words:
    """How a dtype's values are read as numbers: their bytes, and whether they are floats."""

    size: int
    is_float: bool

    @property
    def dtype(self) -> np.dtype[np.signedinteger[Any]]:
        """The signed numbers of this size, little-endian."""
        return np.dtype(f"<i{self.size}")

    def view(self, rows: Rows) -> Numbers:
        """Rows of bytes as numbers, flat, without a copy."""
        return rows.reshape(-1).view(self.dtype)


def words_of(dtype: str) -> Words:
    """The numbers for a dtype of `tensors.BLOCKS`; a complex value is two."""
    if dtype in _FLOATS:
        return Words(_FLOATS[dtype], is_float=True)
    return Words(tensors.itemsize(dtype), is_float=False)


def difference(new: Numbers, base: Numbers, words: Words, out: Numbers) -> None:
    """Zigzag codes of new minus base, into `out`; all three have the same length."""
    room = np.empty(min(len(new), _STEP), words.dtype), np.empty(min(len(new), _STEP), words.dtype)
    for start in range(0, len(new), _STEP):
        part = slice(start, start + _STEP)
        code = out[part]
        one, two = room[0][: len(code)], room[1][: len(code)]
        _order(new[part], words, code, two)
        _order(base[part], words, one, two)
        np.subtract(code, one, out=code)
        np.right_shift(code, 8 * words.size - 1, out=one)
        np.left_shift(code, 1, out=code)
        np.bitwise_xor(code, one, out=code)


def add(base: Numbers, codes: Numbers, words: Words, out: Numbers) -> None:
    """Undo `difference`: the new numbers from the base and the codes, into `out`, which may be the base."""
    room = np.empty(min(len(base), _STEP), words.dtype), np.empty(min(len(base), _STEP), words.dtype)
    unsigned = words.dtype.str.replace("i", "u")
    for start in range(0, len(base), _STEP):
        part = slice(start, start + _STEP)
        code = codes[part]
        one, two = room[0][: len(code)], room[1][: len(code)]
        np.bitwise_and(code, 1, out=one)
        np.negative(one, out=one)
        np.right_shift(code.view(unsigned), 1, out=two.view(unsigned))
        np.bitwise_xor(one, two, out=one)
        new = out[part]
        _order(base[part], words, new, two)
        np.add(new, one, out=new)
        _order(new, words, new, two)


def _order(bits: Numbers, words: Words, out: Numbers, room: Numbers) -> None:
    """The ordered numbers for bits, and the bits for ordered numbers."""
    if not words.is_float:
        if out is not bits:
            np.copyto(out, bits)
        return
    np.right_shift(bits, 8 * words.size - 1, out=room)
    np.bitwise_and(room, np.iinfo(words.dtype).max, out=room)
    np.bitwise_xor(bits, room, out=out)
