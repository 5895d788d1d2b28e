"""What the compiled loops do in passes of NumPy, by the same arguments; see `kernels.Kernels`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta.kernels import GAP, Array

_STEP: Final = 1 << 19
"""Numbers that are worked on at once. With fewer, threads would wait for each other more than for the memory."""

Numbers = npt.NDArray[np.signedinteger[Any]]
Unsigned = npt.NDArray[np.unsignedinteger[Any]]


def join(planes: tuple[Array, ...], out: Array, /) -> None:
    """Shifting whole words is faster than to write single bytes, each into another row."""
    _join([np.frombuffer(plane, np.uint8) for plane in planes], np.frombuffer(out, f"<u{len(planes)}"))


def _join(planes: Sequence[Unsigned], out: Unsigned | None = None) -> Unsigned:
    """The numbers that planes make, from their lower and upper halves."""
    if len(planes) == 1:
        return planes[0]
    half = len(planes) // 2
    words = np.empty(len(planes[0]), f"<u{len(planes)}") if out is None else out
    np.copyto(words, _join(planes[half:]))
    np.left_shift(words, 8 * half, out=words)
    np.bitwise_or(words, _join(planes[:half]), out=words)
    return words


def difference(new: Array, base: Array, size: int, is_float: bool, out: Array, /) -> bool:
    """The codes are undone and compared.

    What is compared are the ordered numbers, which are as good as the bits, for one stands for the other.
    """
    all_new, all_old, codes = (_numbers(array, size) for array in (new, base, out))
    is_right = True
    for part, (after, before, one, two) in _parts(len(all_new), size, 4):
        code = codes[part]
        _encode(all_new[part], all_old[part], is_float, code, (after, before, one))
        _decode(code, one, two)
        np.add(before, one, out=one)
        is_right &= np.array_equal(one, after)
    return is_right


def add(base: Array, codes: Array, size: int, is_float: bool, out: Array, /) -> None:
    """The codes are decoded, and added to the ordered numbers of the base."""
    old, code, new = (_numbers(array, size) for array in (base, codes, out))
    for part, (one, two) in _parts(len(old), size, 2):
        _decode(code[part], one, two)
        target = new[part]
        _order(old[part], is_float, target, two)
        np.add(target, one, out=target)
        _order(target, is_float, target, two)


def places(rows: Array, size: int, out: Array, /) -> None:
    """Gaps are added up."""
    gaps = np.ascontiguousarray(np.frombuffer(rows, np.uint8).reshape(-1, GAP + size)[:, :GAP]).view("<u4").reshape(-1)
    np.frombuffer(out, np.int64)[:] = np.cumsum(gaps.astype(np.int64) + 1) - 1


def change(places: Array, rows: Array, start: int, size: int, is_float: bool, out: Array, /) -> None:
    """The words are taken out, changed, and put back."""
    numbers, here = _numbers(out, size), np.frombuffer(places, np.int64) - start
    changed = numbers[here]
    codes = np.ascontiguousarray(np.frombuffer(rows, np.uint8).reshape(-1, GAP + size)[:, GAP:])
    add(changed, codes, size, is_float, changed)
    numbers[here] = changed


def _numbers(array: Array, size: int) -> Numbers:
    return np.frombuffer(array, f"<i{size}")


def _parts(count: int, size: int, rooms: int) -> Iterator[tuple[slice, tuple[Numbers, ...]]]:
    """Parts of so many numbers, with rooms of the size of each for what is in between."""
    whole = [np.empty(min(count, _STEP), f"<i{size}") for _ in range(rooms)]
    for start in range(0, count, _STEP):
        part = slice(start, min(start + _STEP, count))
        yield part, tuple(room[: part.stop - start] for room in whole)


def _encode(new: Numbers, base: Numbers, is_float: bool, code: Numbers, rooms: Sequence[Numbers]) -> None:
    """Codes of a part. The first two rooms have the ordered new numbers and those of the base then."""
    after, before, room = rooms
    _order(new, is_float, after, room)
    _order(base, is_float, before, room)
    np.subtract(after, before, out=code)
    np.right_shift(code, 8 * code.itemsize - 1, out=room)
    np.left_shift(code, 1, out=code)
    np.bitwise_xor(code, room, out=code)


def _decode(code: Numbers, out: Numbers, room: Numbers) -> None:
    """The differences that codes stand for."""
    unsigned = f"<u{code.itemsize}"
    np.bitwise_and(code, 1, out=out)
    np.negative(out, out=out)
    np.right_shift(code.view(unsigned), 1, out=room.view(unsigned))
    np.bitwise_xor(out, room, out=out)


def _order(bits: Numbers, is_float: bool, out: Numbers, room: Numbers) -> None:
    """The ordered numbers for bits, and the bits for ordered numbers."""
    if not is_float:
        if out is not bits:
            np.copyto(out, bits)
        return
    np.right_shift(bits, 8 * bits.itemsize - 1, out=room)
    np.bitwise_and(room, np.iinfo(bits.dtype).max, out=room)
    np.bitwise_xor(bits, room, out=out)
