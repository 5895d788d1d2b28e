"""The bits of values as whole numbers, so that values near each other have small differences, whatever they are.

The bits of a float, read as a signed number and mirrored where the sign is set, are in the order of the floats; the
mapping is its own inverse and takes every pattern of bits to another one, so that NaNs, infinities, zeros of both
signs and subnormals come back as they were. Differences wrap around and are kept as zigzag codes (0, -1, 1, -2, ...).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.kernels import native
from git_theta.store.planes import Rows

Numbers = npt.NDArray[np.signedinteger[Any]]

_STEP: Final = 1 << 19
"""Numbers that are worked on at once. With fewer, threads would wait for each other more than for the memory."""

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
    if native is not None:
        native.difference(new, base, words.size, words.is_float, out)
        return
    for part, rooms in _parts(len(new), words, 3):
        _encode(new[part], base[part], words, out[part], rooms)


def checked_difference(new: Numbers, base: Numbers, words: Words, out: Numbers) -> bool:
    """`difference`, undone and compared; False if the codes do not give the new numbers.

    What is compared are the ordered numbers, which are as good as the bits, for one stands for the other.
    """
    if native is not None:
        return native.difference(new, base, words.size, words.is_float, out)
    is_right = True
    for part, (after, before, one, two) in _parts(len(new), words, 4):
        code = out[part]
        _encode(new[part], base[part], words, code, (after, before, one))
        _decode(code, words, one, two)
        np.add(before, one, out=one)
        is_right &= np.array_equal(one, after)
    return is_right


def add(base: Numbers, codes: Numbers, words: Words, out: Numbers) -> None:
    """Undo `difference`: the new numbers from the base and the codes, into `out`, which may be the base."""
    if native is not None:
        native.add(base, codes, words.size, words.is_float, out)
        return
    for part, (one, two) in _parts(len(base), words, 2):
        _decode(codes[part], words, one, two)
        new = out[part]
        _order(base[part], words, new, two)
        np.add(new, one, out=new)
        _order(new, words, new, two)


def _parts(count: int, words: Words, rooms: int) -> Iterator[tuple[slice, tuple[Numbers, ...]]]:
    """Parts of so many numbers, with rooms of the size of each for what is in between."""
    whole = [np.empty(min(count, _STEP), words.dtype) for _ in range(rooms)]
    for start in range(0, count, _STEP):
        part = slice(start, min(start + _STEP, count))
        yield part, tuple(room[: part.stop - start] for room in whole)


def _encode(new: Numbers, base: Numbers, words: Words, code: Numbers, rooms: Sequence[Numbers]) -> None:
    """Codes of a part. The first two rooms have the ordered new numbers and those of the base then."""
    after, before, room = rooms
    _order(new, words, after, room)
    _order(base, words, before, room)
    np.subtract(after, before, out=code)
    np.right_shift(code, 8 * words.size - 1, out=room)
    np.left_shift(code, 1, out=code)
    np.bitwise_xor(code, room, out=code)


def _decode(code: Numbers, words: Words, out: Numbers, room: Numbers) -> None:
    """The differences that codes stand for."""
    unsigned = words.dtype.str.replace("i", "u")
    np.bitwise_and(code, 1, out=out)
    np.negative(out, out=out)
    np.right_shift(code.view(unsigned), 1, out=room.view(unsigned))
    np.bitwise_xor(out, room, out=out)


def _order(bits: Numbers, words: Words, out: Numbers, room: Numbers) -> None:
    """The ordered numbers for bits, and the bits for ordered numbers."""
    if not words.is_float:
        if out is not bits:
            np.copyto(out, bits)
        return
    np.right_shift(bits, 8 * words.size - 1, out=room)
    np.bitwise_and(room, np.iinfo(words.dtype).max, out=room)
    np.bitwise_xor(bits, room, out=out)
