"""Carry out what was decided about groups: read values, merge them, and keep what comes out.

A side that is taken costs nothing. A weighted sum is computed for its digest and kept as its weights. All else is kept
in the cheapest lossless way, like any other change.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from blake3 import blake3

from git_theta import lsh, tensors
from git_theta.errors import MergeError, PluginError
from git_theta.flows.merging import rows
from git_theta.flows.merging.jobs import Job
from git_theta.flows.merging.values import Array, Inputs, typed
from git_theta.merges.arrays import merge_with
from git_theta.merges.numerics import store as rounded
from git_theta.metadata import Entry, Update
from git_theta.signatures import Signature
from git_theta.store.objects import ObjectStore
from git_theta.store.serialize import Rows
from git_theta.updates import Group, choose, plans
from git_theta.updates.choose import GAIN, MIN_BYTES, Limits
from git_theta.updates.dense import Wanted
from git_theta.updates.floats import widen
from git_theta.updates.linear import weighted_sum
from git_theta.updates.plans import Base, Change

_THREADS: Final = 2
_PORTION_BYTES: Final = 1 << 27
"""Merged values that are held until they are written together, and then let go."""

_BUDGET_BYTES: Final = 3 << 28
"""What the groups that are merged at one time may take in memory; one that takes more is merged alone."""

_SHARE: Final = 2
"""Copies of a group that a method may make beside its inputs, as a rule."""


@dataclass(frozen=True, slots=True)
class Applier:
    """Makes merged groups.

    Attributes:
        inputs: give the values that are merged.
        store: where new objects go.
        limits: of chains of updates.
        checksums: where the CRC-32 of merged values is put, by their digest; None if nobody wants to know it.
    """

    inputs: Inputs
    store: ObjectStore
    limits: Limits
    checksums: dict[str, int] | None = None

    def apply(self, jobs: Sequence[Job]) -> Mapping[str, Entry]:
        """The merged group of each job, by name; its lead is 0.

        Raises:
            MergeError: values have no meaningful merge; names the group.
            PluginError: a merge method is broken.
            StoreError: values cannot be read or kept.
        """
        found: dict[str, Entry] = {}
        # The largest first, so that no thread begins one when the others are done.
        ordered = sorted(jobs, key=lambda job: -job.nbytes)
        with ThreadPoolExecutor(_THREADS) as pool:
            summed = list(pool.map(self._sum, ordered))
            found |= {job.name: entry for job, entry in zip(ordered, summed, strict=True) if entry is not None}
            budget = _Budget(_BUDGET_BYTES)
            kept: dict[tuple[str, Group], tuple[Update, Signature | None]] = {}
            for portion in _portions([job for job in ordered if job.name not in found]):
                found |= self._portion(portion, pool, budget, kept)
        return found

    def _sum(self, job: Job) -> Entry | None:
        """The group as a linear update; None if it is no weighted sum, or is better kept in another way."""
        with _naming(job):
            terms = job.terms()
            if terms is None or job.nbytes < MIN_BYTES:
                return None
            group = Group(job.dtype, job.shape)
            bases = tuple(entry.update for _, entry in terms)
            chain = choose.chain_nbytes(bases, group, self.inputs.readers.types, self.limits)
            if chain is None:
                return None
            hasher, signer, crc = blake3(), lsh.Signer(job.dtype), 0
            for number, block in enumerate(_summed(job, terms, self.inputs)):
                if not number and chain and chain >= GAIN * plans.stored_nbytes(block, job.nbytes):
                    return None
                _check_finite(block, job.dtype)
                hasher.update(block.reshape(-1).data)
                signer.feed(block.reshape(-1))
                crc = zlib.crc32(block.reshape(-1).data, crc) if self.checksums is not None else 0
            update = Update("linear", None, bases, (("weights", tuple(weight for weight, _ in terms)),))
            digest = hasher.hexdigest()
            if self.checksums is not None:
                self.checksums[digest] = crc
            return _version(job, group, digest) or _entry(job, group, digest, update, signer.signature())

    def _portion(
        self,
        jobs: Sequence[Job],
        pool: ThreadPoolExecutor,
        budget: _Budget,
        kept: dict[tuple[str, Group], tuple[Update, Signature | None]],
    ) -> dict[str, Entry]:
        """Make and keep some groups; `kept` remembers, over all portions, how values are kept, and their signature."""
        made = list(pool.map(lambda job: self._values(job, budget), jobs))
        pairs = list(zip(jobs, made, strict=True))
        left = [(job, values) for job, values in pairs if _same(job, values) is None and values.key not in kept]
        while left:
            # Values of one digest are kept one after the other: what gives them may depend on dtype and shape.
            signatures: dict[str, Signature | None] = {}
            batch = {values.key[0]: (job, values) for job, values in reversed(left)}
            changes = [_change(job, values, signatures) for job, values in batch.values()]
            updates = choose.keep(changes, self.store, self.inputs.readers, self.limits)
            kept |= {batch[digest][1].key: (update, signatures.get(digest)) for digest, update in updates.items()}
            left = [(job, values) for job, values in left if values.key not in kept]
        return {
            job.name: _same(job, values) or _entry(job, values.group, values.digest, *kept[values.key])
            for job, values in pairs
        }

    def _values(self, job: Job, budget: _Budget) -> _Made:
        """The merged values."""
        with _naming(job):
            if job.method is None:
                return self._made(*self._by_rows(job, budget))
            group = Group(job.dtype, job.shape)
            out = np.empty((group.nbytes // tensors.itemsize(job.dtype), tensors.itemsize(job.dtype)), np.uint8)
            if job.method.elementwise:
                position = 0
                for parts in zip(*(self.inputs.rows(entry) for entry in job.entries), strict=True):
                    where = slice(position, position + len(parts[0]))
                    position = where.stop
                    arrays = [typed(part, entry.dtype) for part, entry in zip(parts, job.entries, strict=True)]
                    _merge(job, arrays, out[where])
            else:
                with budget.taking(group.nbytes * (len(job.entries) + _SHARE)):
                    _merge(job, [self.inputs.whole(entry) for entry in job.entries], out)
            return self._made(group, out)

    def _made(self, group: Group, values: Rows) -> _Made:
        made = _Made(group, values, tensors.digest(values.reshape(-1).data))
        if self.checksums is not None:
            self.checksums[made.digest] = zlib.crc32(values.reshape(-1).data)
        return made

    def _by_rows(self, job: Job, budget: _Budget) -> tuple[Group, Rows]:
        width = rows.row_nbytes(job.dtype, job.shape)
        with budget.taking(job.nbytes * (len(job.entries) + 1)):
            arrays = [self.inputs.raw(entry).reshape(-1, width) for entry in job.inputs]
            base = None if job.base is None else self.inputs.raw(job.base).reshape(-1, width)
            merged = rows.merge_rows(base, arrays)
        shape = (len(merged), *job.shape[1:])
        return Group(job.dtype, shape), merged.reshape(-1, tensors.itemsize(job.dtype))


@dataclass(frozen=True, eq=False, slots=True)
class _Made:
    """Merged values: rows of bytes, shape (elements, itemsize)."""

    group: Group
    rows: Rows
    digest: str

    @property
    def key(self) -> tuple[str, Group]:
        """What tells them from others."""
        return self.digest, self.group


class _ArraySource:
    """An array as a source: what is read is copied, not the array."""

    def __init__(self, array: Rows) -> None:
        self._view = array.reshape(-1).data
        self.size = array.nbytes

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop."""
        return bytes(self._view[start:stop])


class _Budget:
    """Memory that several threads share."""

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


def _portions(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs whose results can be held in memory at one time; one that is larger is alone."""
    portion: list[Job] = []
    nbytes = 0
    for job in jobs:
        if portion and nbytes + job.nbytes > _PORTION_BYTES:
            yield portion
            portion, nbytes = [], 0
        portion.append(job)
        nbytes += job.nbytes
    if portion:
        yield portion


def _summed(job: Job, terms: Sequence[tuple[float, Entry]], inputs: Inputs) -> Iterator[Rows]:
    """The weighted sum in blocks, each gone when the next comes."""
    weights = [weight for weight, _ in terms]
    room = np.empty((0, 0), np.uint8)
    for parts in zip(*(inputs.rows(entry) for _, entry in terms), strict=True):
        if len(room) < len(parts[0]):
            room = np.empty_like(parts[0])
        out = room[: len(parts[0])]
        weighted_sum(parts, weights, job.dtype, out)
        yield out


def _merge(job: Job, arrays: Sequence[Array], out: Rows) -> None:
    """Merge arrays of one shape, the base last, into rows of bytes."""
    assert job.method is not None
    if any(entry.dtype != job.dtype for entry in job.entries):
        # The ancestor may be of another dtype. Rounded once, to that of the sides.
        arrays = [array.astype(np.float64) for array in arrays]
    inputs, bases = arrays[: len(job.inputs)], arrays[len(job.inputs) :]
    merged = merge_with(job.method, inputs, bases[0] if bases else None, job.given, key=job.name)
    target = typed(out, job.dtype).reshape(merged.shape)
    if merged.dtype == target.dtype:
        target[...] = merged
    else:
        rounded(merged.astype(np.float64), target)
        _check_finite(out, job.dtype)


def _check_finite(block: Rows, dtype: str) -> None:
    if not np.isfinite(widen(block, dtype)).all():
        raise MergeError(
            f"there are infinite values or NaN among those to be merged, or the result has values that {dtype} cannot "
            "hold: take one side, or give smaller weights"
        )


def _same(job: Job, made: _Made) -> Entry | None:
    """The version that has the merged values already, ours before others."""
    return _version(job, made.group, made.digest)


def _version(job: Job, group: Group, digest: str) -> Entry | None:
    versions = [*job.conflict.sides, job.conflict.ancestor]
    wanted = (group.dtype, group.shape, digest)
    return next((entry for entry in versions if entry and (entry.dtype, entry.shape, entry.digest) == wanted), None)


def _change(job: Job, made: _Made, signatures: dict[str, Signature | None]) -> Change:
    """Merged values as a change of the versions that they come from."""
    group = made.group
    bases = {
        entry.digest: Base(entry.update, entry.digest, entry.signature)
        for entry in reversed(job.entries)
        if (entry.dtype, entry.shape) == (group.dtype, group.shape)
    }
    sign = group.dtype if lsh.supports(group.dtype) else None
    source, size = _ArraySource(made.rows), tensors.itemsize(group.dtype)
    wanted = Wanted(source, 0, group.nbytes, size, made.digest, sign, signatures)
    return Change(group, wanted, tuple(bases.values())[::-1])


def _entry(job: Job, group: Group, digest: str, update: Update, signature: Signature | None) -> Entry:
    return Entry(job.name, group.dtype, group.shape, digest, 0, update, signature, job.record)


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Say of what is wrong in which group."""
    try:
        yield
    except (MergeError, PluginError) as error:
        raise type(error)(f"group {job.name!r}: {error}") from error
