"""How the task-vector methods thin out a delta: by magnitude, at random, or both.

A pruning never holds a thinned copy: it says how to thin any block of the delta, in place.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta.errors import MergeError
from git_theta.kernels import native
from git_theta.merges import Array, Draw
from git_theta.merges.numerics import Floats, Mask, compiled_size, load, pieces, raw, rows
from git_theta.merges.selection import NOTHING, Cut, Ranking, Where, between, key_dtype, largest, magnitudes, ranking

Thin = Callable[[Floats, slice], None]
"""Sets the elements of a block of the delta that are not kept to 0, in place; the slice says where the block lies."""


_CHUNK: Final = 1 << 18


class Rule(Enum):
    """What decides whether an element is kept."""

    NONE = "all are"
    MAGNITUDE = "the largest are"
    RANDOM = "chance alone"
    RANKED = "chance, better for larger ones"
    OUTLIERS = "the largest are, but not the very largest"


class Wish(Struct, frozen=True):
    """How one delta is to be pruned.

    Attributes:
        rule: what decides.
        density: share of the elements that is kept, 0 to 1.
        threshold: magnitude from which on elements are kept, instead of the density (rule MAGNITUDE).
        gamma: share of the elements that is too large to be kept (rule OUTLIERS).
        epsilon: how far the chance of the largest and the smallest is from the density (rule RANKED).
        by_chance: divide what is kept by its chance to be kept (rules RANDOM and RANKED).
    """

    rule: Rule
    density: float = 1.0
    threshold: float | None = None
    gamma: float = 0.0
    epsilon: float = 0.0
    by_chance: bool = False


class Delta:
    """The difference of an input and the base, never kept as a whole.

    Args:
        values: of the input; any shape.
        base: of the same shape.
    """

    def __init__(self, values: Array, base: Array) -> None:
        self.shape = values.shape
        self.size = values.size
        self.dtype = key_dtype(values)
        self._values = np.ascontiguousarray(values).reshape(-1)
        self._base = np.ascontiguousarray(base).reshape(-1)
        self._room = rows(1, values.size)[0]

    def block(self, where: slice, out: Floats | None = None) -> Floats:
        """The difference at these positions, in `out` or in a buffer that the next call overwrites."""
        out = self._room[: where.stop - where.start] if out is None else out
        return load(self._values[where], self._base[where], out)

    def keys(self, where: Where) -> Array:
        """The magnitudes at these positions."""
        if isinstance(where, slice):
            return magnitudes(self.block(where), self.dtype)
        return magnitudes(load(self._values[where], self._base[where], np.empty(len(where))), self.dtype)

    def ranked(self) -> Ranking:
        """The ranking of all magnitudes."""
        return ranking(self.size, self.dtype, self.keys)

    def largest(self, count: int) -> Cut:
        """The cut that leaves so many of the largest magnitudes in."""
        return largest(self.size, self.dtype, self.keys, count, self._between)

    def _between(self, where: slice, low: float, high: float) -> tuple[int, Array]:
        size = compiled_size(self._values)
        if native is None or not size:
            return between(self.keys, where, low, high)
        room = np.empty(where.stop - where.start, np.float32)
        above, count = native.select(raw(self._values[where]), raw(self._base[where]), size, low, high, room)
        return above, room[:count].copy()

    def shrinkage(self, thin: Thin) -> float:
        """The factor that gives what is kept the L1 norm of the whole; 1 if there is nothing to speak of."""
        whole = kept = 0.0
        for where in pieces(self.size):
            block = self.block(where)
            whole += float(np.abs(block).sum())
            thin(block, where)
            kept += float(np.abs(block, out=block).sum())
        return whole / kept if min(whole, kept) >= 1e-7 else 1.0


def keep_all(_block: Floats, _where: slice) -> None:
    """Thin nothing."""


def keep_nothing(block: Floats, _where: slice) -> None:
    """Thin everything."""
    block[...] = 0.0


class Cutting(Struct, frozen=True):
    """Keep what a cut of the magnitudes leaves in."""

    cut: Cut
    dtype: np.dtype[np.floating]

    def __call__(self, block: Floats, where: slice) -> None:
        """Thin a block; see `Thin`."""
        block *= self.cut.mask(magnitudes(block, self.dtype), where)


def cut_of(thin: Thin, size: int) -> Cut | None:
    """The cut that thins out a delta of so many elements; None if none does."""
    if thin is keep_all:
        return Cut(0.0, size - 1)
    if thin is keep_nothing:
        return NOTHING
    return thin.cut if isinstance(thin, Cutting) else None


def thinning(delta: Delta, wish: Wish, draw: Draw) -> Thin:
    """How to thin the blocks of a delta.

    Raises:
        MergeError: the density does not leave room for epsilon, or the draw gave no mask of the right size.
    """
    if wish.threshold is not None:
        return Cutting(Cut(wish.threshold, delta.size - 1), delta.dtype)
    if wish.rule is Rule.NONE or wish.density >= 1:
        return keep_all
    if wish.density <= 0:
        return keep_nothing
    count = max(1, int(wish.density * delta.size))
    match wish.rule:
        case Rule.MAGNITUDE:
            return Cutting(delta.largest(count), delta.dtype)
        case Rule.OUTLIERS:
            return _without_outliers(delta, count, int(wish.gamma * delta.size))
        case Rule.RANDOM:
            chances = np.broadcast_to(np.float64(wish.density), delta.shape)
        case Rule.RANKED:
            chances = _ranked_chances(delta, wish)
    return _drawn(chances, draw, by_chance=wish.by_chance)


def _without_outliers(delta: Delta, count: int, outliers: int) -> Thin:
    # Where both do not fit, the outliers give way, so that the density is reached.
    outliers = min(outliers, delta.size - count)
    outer, inner = delta.largest(outliers + count), delta.largest(outliers)

    def thin(block: Floats, where: slice) -> None:
        keys = magnitudes(block, delta.dtype)
        block *= outer.mask(keys, where) & ~inner.mask(keys, where)

    return thin


def _ranked_chances(delta: Delta, wish: Wish) -> Array:
    """The chance of each element by its rank among those along axis 1 (all, if there is one axis): float32.

    The smallest has density - epsilon, the largest density + epsilon, and those between lie evenly between. An element
    that has no other to be compared with has the density.
    """
    low, high = wish.density - wish.epsilon, wish.density + wish.epsilon
    if low < 0 or high > 1:
        raise MergeError(
            f"density {wish.density:g} plus or minus epsilon {wish.epsilon:g} leaves 0 to 1: give a smaller epsilon"
        )
    shape = delta.shape if len(delta.shape) > 1 else (1, delta.size)
    length = shape[1]
    if length == 1:
        return np.broadcast_to(np.float32(wish.density), delta.shape)
    steps = (low + (high - low) * (np.arange(length) / (length - 1))).astype(np.float32)
    keys = delta.ranked().keys.reshape(shape[0], length, -1).swapaxes(1, 2)
    chances = np.empty(keys.shape, np.float32)
    chunk = max(1, _CHUNK // (length * keys.shape[1]))
    for start in range(0, len(keys), chunk):
        where = slice(start, start + chunk)
        np.put_along_axis(chances[where], _order(keys[where]), steps[None, None], axis=2)
    return chances.swapaxes(1, 2).reshape(delta.shape)


def _order(keys: Array) -> npt.NDArray[np.intp]:
    """The positions along the last axis in the order of their keys; of equal keys the first comes first."""
    if keys.dtype != np.float32:
        return np.argsort(keys, axis=-1, kind="stable")
    # Key and position in one integer: a plain sort of these is several times faster than a stable one.
    packed = np.ascontiguousarray(keys).view(np.uint32).astype(np.uint64) << np.uint64(32)
    packed |= np.arange(keys.shape[-1], dtype=np.uint64)
    packed.sort(axis=-1)
    return (packed & np.uint64(0xFFFFFFFF)).astype(np.intp)


def _drawn(chances: Array, draw: Draw, *, by_chance: bool) -> Thin:
    mask: Mask = np.asarray(draw(chances), dtype=np.bool_)
    if mask.size != chances.size:
        raise MergeError(f"the mask that was drawn has {mask.size} elements for {chances.size} values")
    kept = mask.reshape(-1)
    single = not any(chances.strides)
    each = np.empty(0) if single else chances.reshape(-1)
    only = float(chances.flat[0]) if single else 1.0

    def thin(block: Floats, where: slice) -> None:
        block *= kept[where]
        if by_chance:
            # A chance of 0 belongs to elements that were not kept.
            divisor = only if single else np.where(kept[where], each[where], 1.0)
            block /= divisor

    return thin
