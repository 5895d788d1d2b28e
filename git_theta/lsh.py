"""Locality-sensitive signatures: how far two versions of a group moved apart, told without the values of either.

The hash is that of Datar et al. (2004) for Euclidean distance: the values are projected on 16 random directions, and
each projection is told by the number of its bucket, 1e-8 wide. As Van Durme and Lall (2010) propose, the directions
are read from one fixed pool of 10,000 normals, so they need no memory that grows with the group.

A direction is as long as the group, and reads the pool again and again through its own permutation. The values are
taken in blocks of 90,000, which read it nine times. Each place in a block has a seeded sign; each block, and each
ninth of one, is rotated by a seeded offset and has a seeded sign. Eight directions share all of these signs and
offsets. That makes two *folds*, in which the blocks are added up first and projected once, at the end: two additions
for each value, instead of 16 products. The seeds keep structured differences apart (a constant shift, a column of a
matrix, the same change in every block). Two changed values may meet in one place of a fold, and cancel: one chance in
20,000. The other fold still tells them.

Signatures stand in metadata files, so they should be the same on every machine. Hence no BLAS and no reduction whose
order NumPy may choose: all sums are elementwise IEEE operations on doubles, in an order that depends on nothing but
the number of values. The pool is rounded so far that the last bits of a logarithm do not matter. Rounding moves
a projection by some 1e-15 of the norm of the values, which is less than a bucket up to norms of about a million. If a
machine should round in another way after all, little is lost: a signature only estimates. What a group is, and whether
it changed, is the business of its digest.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from blake3 import blake3

from git_theta.kernels import native
from git_theta.signatures import LIMIT, PROJECTIONS, WIDTH, Signature

if TYPE_CHECKING:
    import numpy.typing as npt

POOL: Final = 10_000

_FOLDS: Final = 2
_BLOCK: Final = 9 * POOL
"""So many that threads do not wait for each other: after each operation of NumPy they ask for the interpreter anew."""

_STEP: Final = 500
"""Places that are projected at once: so few that the memory for it need not be asked of the system."""
_POOL_STEP: Final = 2.0**-20
_FLOATS: Final = {
    "float16": ("<u2", "<f2"),
    "bfloat16": ("<u2", "<f4"),
    "float32": ("<u4", "<f4"),
    "float64": ("<u8", "<f8"),
    "complex64": ("<u4", "<f4"),
    "complex128": ("<u8", "<f8"),
}
"""For each dtype the bits of one number, and the float that they are read as. A complex value is two numbers."""


def supports(dtype: str) -> bool:
    """Whether groups of this dtype have signatures: the floats and complex numbers of at least 16 bits."""
    return dtype in _FLOATS


class Signer:
    """Makes the signature of one group from its values, which it takes from the first to the last.

    How the bytes are cut makes no difference. A signer belongs to one thread at a time; several may run at once. It
    holds up to five megabytes.
    """

    def __init__(self, dtype: str) -> None:
        """Begin a group.

        Args:
            dtype: one that `supports` names.

        Raises:
            ValueError: groups of this dtype have no signature.
        """
        if dtype not in _FLOATS:
            raise ValueError(f"groups of dtype {dtype} have no signature")
        bits, floats = _FLOATS[dtype]
        self._narrow = dtype == "bfloat16"
        self._bits = np.dtype(bits)
        self._floats = np.dtype(floats)
        self._signs = _signs(bits)
        self._flipped = np.empty(_BLOCK, self._bits)
        self._widened = np.empty(_BLOCK, "<u4") if self._narrow else self._flipped
        self._values = np.empty(_BLOCK, np.float64)
        self._sums = np.empty((_FOLDS, 0), np.float64)
        self._blocks = 0
        self._rest = np.empty(_BLOCK * self._bits.itemsize, np.uint8)
        self._held = 0

    def feed(self, block: bytes | memoryview | npt.NDArray[np.uint8]) -> None:
        """Take the next bytes of the group.

        Args:
            block: contiguous little-endian C-order bytes, any number of them; an element may go on in the next call.
        """
        data = np.frombuffer(block, np.uint8)
        whole = self._rest.size
        position = 0
        with np.errstate(all="ignore"):
            while position < data.size:
                taken = data[position : position + whole - self._held]
                position += taken.size
                if taken.size == whole:
                    self._add_block(taken)
                    continue
                self._rest[self._held : self._held + taken.size] = taken
                self._held += taken.size
                if self._held == whole:
                    self._add_block(self._rest)
                    self._held = 0

    def signature(self) -> Signature | None:
        """The signature of what was fed so far.

        Returns:
            The numbers of the 16 buckets; None if a value is NaN or infinite, or a number has more than 63
            bits.

        Raises:
            ValueError: the bytes end inside a number.
        """
        count, odd = divmod(self._held, self._bits.itemsize)
        if odd:
            raise ValueError("the values end in the middle of an element")
        with np.errstate(all="ignore"):
            if self._blocks:
                sums = self._sums.copy()
                self._add(self._rest[: self._held].view(self._bits), sums)
                sums = sums[:, :_BLOCK] + sums[:, _BLOCK:]
            else:
                sums = np.zeros((_FOLDS, count), np.float64)
                self._add(self._rest[: self._held].view(self._bits), sums)
            buckets = np.floor(_project(_folded(sums)) / WIDTH + _dither())
            if not bool(np.all(np.abs(buckets) < LIMIT)):
                return None
        return tuple(int(bucket) for bucket in buckets)

    def _add_block(self, data: npt.NDArray[np.uint8]) -> None:
        """Add the bytes of a whole block."""
        if not self._blocks:
            self._sums = np.zeros((_FOLDS, 2 * _BLOCK), np.float64)
        self._add(data.view(self._bits), self._sums)
        self._blocks += 1

    def _add(self, bits: npt.NDArray[np.unsignedinteger], sums: npt.NDArray[np.float64]) -> None:
        """Add a block, of at most 90,000 numbers, to the sums of each fold.

        A rotated block goes beyond the end; what is there is added to the beginning when all is done.
        """
        count = bits.size
        moves = _moves("block", self._blocks, _BLOCK)
        if native is not None and self._floats == np.float32:
            for row, (offset, negative) in zip(sums, moves, strict=True):
                target = row[offset : offset + count]
                native.fold(bits, self._signs[:count], bits.itemsize, negative, target)
            return
        flipped = np.bitwise_xor(bits, self._signs[:count], out=self._flipped[:count])
        widened = self._widened[:count]
        if self._narrow:
            np.left_shift(flipped, 16, out=widened, dtype=np.uint32)
        values = self._values[:count]
        np.copyto(values, widened.view(self._floats))
        for row, (offset, negative) in zip(sums, moves, strict=True):
            target = row[offset : offset + count]
            (np.subtract if negative else np.add)(target, values, out=target)


def _rotated(row: npt.NDArray[np.float64], values: npt.NDArray[np.float64], move: tuple[int, bool]) -> None:
    """Add values to a row, or subtract them, from an offset on; what goes beyond the row's end begins at its start."""
    offset, negative = move
    operation = np.subtract if negative else np.add
    head = min(values.size, row.size - offset)
    target = row[offset : offset + head]
    operation(target, values[:head], out=target)
    if head < values.size:
        target = row[: values.size - head]
        operation(target, values[head:], out=target)


def _folded(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sums of each fold, (2, n), added up to the length of the pool at most."""
    if sums.shape[1] <= POOL:
        return sums
    folded = np.zeros((_FOLDS, POOL), np.float64)
    for part, start in enumerate(range(0, sums.shape[1], POOL)):
        for row, long, move in zip(folded, sums, _moves("part", part, POOL), strict=True):
            _rotated(row, long[start : start + POOL], move)
    return folded


def _project(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The 16 projections of the sums of each fold, (2, n): products, added up by halves in one order everywhere."""
    used = sums.shape[1]
    if used == 0:
        return np.zeros(PROJECTIONS, np.float64)
    directions = _directions()
    totals = np.zeros((_FOLDS, PROJECTIONS // _FOLDS, min(used, _STEP)), np.float64)
    for start in range(0, used, _STEP):
        stop = min(start + _STEP, used)
        totals[:, :, : stop - start] += directions[:, :, start:stop] * sums[:, None, start:stop]
    width = totals.shape[2]
    while width > 1:
        half = (width + 1) // 2
        totals[:, :, : width - half] += totals[:, :, half:width]
        width = half
    return totals[:, :, 0].ravel()


def _moves(kind: str, number: int, length: int) -> tuple[tuple[int, bool], ...]:
    """For each fold, how far a block or a part of one is rotated, and whether it is subtracted.

    The first stays as it is, so that a small group has few sums.
    """
    if number == 0:
        return ((0, False),) * _FOLDS
    words = struct.unpack(f"<{_FOLDS}Q", _random(f"{kind} {number}", 8 * _FOLDS))
    return tuple(((word >> 1) % length, bool(word & 1)) for word in words)


@cache
def _pool() -> npt.NDArray[np.float64]:
    """The pool: the quantiles of the normal distribution in 10,000 even steps, as multiples of 2**-20."""
    from statistics import NormalDist  # 10 ms to import, and most runs sign nothing

    quantile = NormalDist().inv_cdf
    upper = [round(quantile((POOL + 2 * step + 1) / (2 * POOL)) / _POOL_STEP) for step in range(POOL // 2)]
    return np.array([*upper, *(-value for value in upper)], np.float64) * _POOL_STEP


@cache
def _directions() -> npt.NDArray[np.float64]:
    """What each direction reads from the pool for a block: (2, 8, 10000), by fold and by direction of it."""
    keys = np.frombuffer(_random("directions", 8 * PROJECTIONS * POOL), "<u8").reshape(_FOLDS, -1, POOL)
    # The keys differ from each other, so that every way to sort them gives the same order.
    directions: npt.NDArray[np.float64] = _pool()[keys.argsort(axis=2)]
    directions.flags.writeable = False
    return directions


@cache
def _signs(bits: str) -> npt.NDArray[np.unsignedinteger]:
    """What turns the signs of a block: for each of its places, in bits of this dtype, the sign bit or nothing."""
    dtype = np.dtype(bits)
    chosen = np.unpackbits(np.frombuffer(_random("signs", _BLOCK // 8), np.uint8)).astype(dtype)
    signs: npt.NDArray[np.unsignedinteger] = np.left_shift(chosen, 8 * dtype.itemsize - 1, dtype=dtype)
    signs.flags.writeable = False
    return signs


@cache
def _dither() -> npt.NDArray[np.float64]:
    """Where in its first bucket each direction begins, in [0, 1)."""
    words = np.frombuffer(_random("dither", 4 * PROJECTIONS), "<u4")
    return words.astype(np.float64) / 2.0**32


def _random(purpose: str, size: int) -> bytes:
    """Random bytes, always the same for a purpose."""
    return blake3(b"git-theta signature 1: " + purpose.encode()).digest(length=size)
