"""Make the values that a merge method gives, and find out which version they are nearest to."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from msgspec import Struct

from git_theta import tensors
from git_theta.errors import MergeError
from git_theta.flows.merging import rows
from git_theta.flows.merging.jobs import Job
from git_theta.flows.merging.values import Array, Inputs, Room, typed
from git_theta.merges import COPIES
from git_theta.merges.arrays import merge_with
from git_theta.merges.numerics import are_finite
from git_theta.merges.numerics import store as rounded
from git_theta.store.rows import Rows
from git_theta.updates import Group, choose, plans
from git_theta.updates.choose import Limits
from git_theta.updates.plans import Base
from git_theta.updates.words import difference, words_of

_BUDGET_BYTES: Final = 3 << 28
"""What the groups that are merged at one time may take in memory; one that takes more is merged alone."""

_HEAD: Final = 1 << 16
"""Elements by which the nearest version is found."""


class Made(Struct, frozen=True, eq=False):
    """Merged values.

    Attributes:
        group: their dtype and shape.
        rows: the values as rows of bytes, shape (elements, itemsize).
        digest: of them.
        bases: the versions that they may be kept as a change of, the one that costs the least first.
    """

    group: Group
    rows: Rows
    digest: str
    bases: tuple[Base, ...]


class Maker:
    """Makes merged values. For several threads."""

    def __init__(self, inputs: Inputs, limits: Limits, checksums: MutableMapping[str, int] | None) -> None:
        """Args: inputs: give the values; limits: of chains; checksums: of results, see `apply.Applier`."""
        self._inputs = inputs
        self._limits = limits
        self._checksums = checksums
        self._budget = _Budget(_BUDGET_BYTES)
        self._room = Room(_BUDGET_BYTES)

    def make(self, job: Job) -> Made:
        """The merged values of a job.

        Raises:
            MergeError: the values have no meaningful merge.
            PluginError: the merge method is broken.
            StoreError: values cannot be read.
        """
        if job.method is None:
            return self._by_rows(job)
        group = Group(job.dtype, job.shape)
        size = tensors.itemsize(job.dtype)
        heads: list[Rows] = []
        if job.method.elementwise:
            out = np.empty((group.nbytes // size, size), np.uint8)
            position = 0
            for parts in self._inputs.side_by_side(job.entries):
                heads = heads or [part[:_HEAD].copy() for part in parts]
                out[position : position + len(parts[0])] = _merged(job, parts, flat=True)
                position += len(parts[0])
        else:
            copies = getattr(job.method, "copies", COPIES)
            needed = self._budget.taking(group.nbytes * (len(job.entries) + copies))
            with needed, self._inputs.all_raw(job.entries, self._room) as whole:
                heads = [part[:_HEAD].copy() for part in whole]
                out = _merged(job, whole, flat=False)
                if any(np.may_share_memory(out, part) for part in whole):
                    out = out.copy()
        return self._made(job, group, out, heads)

    def _by_rows(self, job: Job) -> Made:
        width = rows.row_nbytes(job.dtype, job.shape)
        with self._budget.taking(job.nbytes * (len(job.entries) + 1)):
            whole = [self._inputs.raw(entry) for entry in job.entries]
            heads = [part[:_HEAD].copy() for part in whole]
            lines = [part.reshape(-1, width) for part in whole]
            merged = rows.merge_rows(lines[-1] if job.base is not None else None, lines[: len(job.inputs)])
        group = Group(job.dtype, (len(merged), *job.shape[1:]))
        return self._made(job, group, merged.reshape(-1, tensors.itemsize(job.dtype)), heads)

    def _made(self, job: Job, group: Group, values: Rows, heads: Sequence[Rows]) -> Made:
        digest = tensors.digest(values.reshape(-1).data)
        if self._checksums is not None:
            self._checksums[digest] = zlib.crc32(values.reshape(-1).data)
        return Made(group, values, digest, self._bases(job, group, values[:_HEAD], heads))

    def _bases(self, job: Job, group: Group, new: Rows, heads: Sequence[Rows]) -> tuple[Base, ...]:
        costs: dict[str, tuple[float, Base]] = {}
        for entry, head in zip(job.entries, heads, strict=True):
            if (entry.dtype, entry.shape) == (group.dtype, group.shape) and entry.digest not in costs:
                chain = choose.chain_nbytes([entry.update], group, self._inputs.readers, self._limits)
                cost = np.inf if chain is None else chain + _difference_nbytes(new, head, group)
                costs[entry.digest] = cost, Base(entry.update, entry.digest, entry.signature)
        return tuple(base for _, base in sorted(costs.values(), key=lambda pair: pair[0]))


class _Budget:
    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, count: int) -> Iterator[None]:
        """Use so many bytes, when there are as many; more than there are in all when nobody else uses any."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + count <= self._total)
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


def _merged(job: Job, parts: Sequence[Rows], *, flat: bool) -> Rows:
    """What comes of merging values given as rows of bytes, the base last; it may be a view of one of them."""
    assert job.method is not None
    shape = (-1,) if flat else job.shape
    arrays: list[Array] = [
        typed(part, entry.dtype).reshape(shape) for part, entry in zip(parts, job.entries, strict=True)
    ]
    if any(entry.dtype != job.dtype for entry in job.entries):
        # The ancestor may be of another dtype. Rounded once, to that of the sides.
        arrays = [array.astype(np.float64) for array in arrays]
    inputs, bases = arrays[: len(job.inputs)], arrays[len(job.inputs) :]
    merged = merge_with(job.method, inputs, bases[0] if bases else None, job.given, key=job.name)
    size = tensors.itemsize(job.dtype)
    wanted = typed(np.empty((0, size), np.uint8), job.dtype).dtype
    if merged.dtype == wanted:
        return np.ascontiguousarray(merged).reshape(-1).view(np.uint8).reshape(-1, size)
    target = np.empty(merged.shape, wanted)
    rounded(merged.astype(np.float64), target)
    out = target.reshape(-1).view(np.uint8).reshape(-1, size)
    check_finite(out, job.dtype)
    return out


def check_finite(block: Rows, dtype: str) -> None:
    """Make sure that merged values are numbers.

    Raises:
        MergeError: one is infinite or NaN.
    """
    if not are_finite(typed(block, dtype)):
        raise MergeError(
            f"there are infinite values or NaN among those to be merged, or the result has values that {dtype} cannot "
            "hold: take one side, or give smaller weights"
        )


def _difference_nbytes(new: Rows, old: Rows, group: Group) -> int:
    """About how many bytes a change of all values takes, from the first ones."""
    words = words_of(group.dtype)
    codes = np.empty(new.nbytes // words.size, words.dtype)
    difference(words.view(new), words.view(old), words, codes)
    return plans.stored_nbytes(codes.view(np.uint8).reshape(-1, words.size), group.nbytes)
