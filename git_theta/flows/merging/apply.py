"""Carry out what was decided about groups: read values, merge them, and keep what comes out.

A side that is taken costs nothing. A weighted sum is computed for its digest and kept as its weights. All else is kept
in the cheapest lossless way, like any other change.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Final

import numpy as np
from blake3 import blake3
from msgspec import Struct

from git_theta import lsh, tensors
from git_theta.errors import MergeError, PluginError
from git_theta.flows.merging.jobs import Job
from git_theta.flows.merging.making import Made, Maker, check_finite
from git_theta.flows.merging.values import Inputs
from git_theta.metadata import Entry, Update
from git_theta.signatures import Signature
from git_theta.store.handover import Gift, HandOver
from git_theta.store.objects import ObjectStore
from git_theta.store.rows import Rows
from git_theta.updates import Group, choose, plans
from git_theta.updates.choose import GAIN, MIN_BYTES, Limits
from git_theta.updates.linear import weighted_sum
from git_theta.updates.payloads import SMALL_BYTES
from git_theta.updates.plans import Change
from git_theta.updates.wanted import Wanted

_THREADS: Final = 2
_PORTION_BYTES: Final = 1 << 27


class Applier(Struct, frozen=True):
    """Makes merged groups.

    Attributes:
        inputs: give the values that are merged.
        store: where new objects go.
        limits: of chains of updates.
        checksums: where the CRC-32 of merged values is put, by their digest; None if nobody wants to know it.
        handover: where weighted sums are left for a checkout that follows at once; None if none does.
    """

    inputs: Inputs
    store: ObjectStore
    limits: Limits
    checksums: dict[str, int] | None = None
    handover: HandOver | None = None

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
        maker = Maker(self.inputs, self.limits, self.checksums)
        for portion in _portions([job for job in ordered if job.name not in found]):
            found |= self._made(portion, maker)
        return found

    def _sum(self, job: Job) -> Entry | None:
        """The group as a linear update; None if it is no weighted sum, or is better kept in another way."""
        with _naming(job):
            terms = job.terms()
            if terms is None or job.nbytes < MIN_BYTES:
                return None
            group = Group(job.dtype, job.shape)
            bases = tuple(entry.update for _, entry in terms)
            update = Update("linear", None, bases, (("weights", tuple(weight for weight, _ in terms)),))
            chain = choose.chain_nbytes(bases, group, self.inputs.readers, self.limits)
            if chain is None or not choose.is_light(update, group, self.inputs.readers):
                return None
            with self._giving(job.nbytes) as gift:
                signed = self._signed(job, terms, chain, gift)
                if signed is None:
                    return None
                digest, signature = signed
                version = _version(job, group, digest)
                if version is None and gift is not None:
                    gift.complete(digest)
            return version or _entry(job, group, digest, update, signature)

    def _signed(
        self, job: Job, terms: Sequence[tuple[float, Entry]], chain: int, gift: Gift | None
    ) -> tuple[str, Signature | None] | None:
        """Digest and signature of a weighted sum; None if it is better kept in another way than as one.

        Args:
            job: that asks for it.
            terms: weights, and what they are the weights of.
            chain: bytes that the terms need beyond their dense values.
            gift: gets the values.
        """
        hasher, signer, crc = blake3(), lsh.Signer(job.dtype), 0
        for number, block in enumerate(_summed(job, terms, self.inputs)):
            if not number and chain and chain >= GAIN * plans.stored_nbytes(block, job.nbytes):
                return None
            check_finite(block, job.dtype)
            hasher.update(block.reshape(-1).data)
            signer.feed(block.reshape(-1))
            crc = zlib.crc32(block.reshape(-1).data, crc) if self.checksums is not None else 0
            if gift is not None:
                gift.write(block.reshape(-1).data)
        digest = hasher.hexdigest()
        if self.checksums is not None:
            self.checksums[digest] = crc
        return digest, signer.signature()

    def _giving(self, nbytes: int) -> AbstractContextManager[Gift | None]:
        return nullcontext() if self.handover is None else self.handover.giving(nbytes)

    def _made(self, jobs: Sequence[Job], maker: Maker) -> dict[str, Entry]:
        """The groups whose values have to be made, each made and kept before the next of its thread."""
        found: dict[str, Entry] = {}
        kept: dict[str, tuple[Group, str, dict[str, Signature | None]]] = {}

        def make(job: Job) -> Change | None:
            with _naming(job):
                made = maker.make(job)
            version = _version(job, made.group, made.digest)
            if version is not None:
                found[job.name] = version
                return None
            kept[job.name] = made.group, made.digest, {}
            return _change(made, kept[job.name][2])

        updates = choose.keep_made([partial(make, job) for job in jobs], self.store, self.inputs.readers, self.limits)
        for job, update in zip(jobs, updates, strict=True):
            if update is not None:
                group, digest, signatures = kept[job.name]
                found[job.name] = _entry(job, group, digest, update, signatures.get(digest))
        return found


class _ArraySource:
    """An array as a source: what is read is copied, not the array."""

    def __init__(self, array: Rows) -> None:
        self._view = array.reshape(-1).data
        self.size = array.nbytes

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop."""
        return bytes(self._view[start:stop])


def _portions(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs whose small results can be held in memory until they are written together; large ones are not held."""
    portion: list[Job] = []
    nbytes = 0
    for job in jobs:
        nbytes += job.nbytes if job.nbytes < SMALL_BYTES else 0
        portion.append(job)
        if nbytes > _PORTION_BYTES:
            yield portion
            portion, nbytes = [], 0
    if portion:
        yield portion


def _summed(job: Job, terms: Sequence[tuple[float, Entry]], inputs: Inputs) -> Iterator[Rows]:
    """The weighted sum in blocks, each gone when the next comes."""
    weights = [weight for weight, _ in terms]
    room = np.empty((0, 0), np.uint8)
    for parts in inputs.side_by_side([entry for _, entry in terms]):
        if len(room) < len(parts[0]):
            room = np.empty_like(parts[0])
        out = room[: len(parts[0])]
        weighted_sum(parts, weights, job.dtype, out)
        yield out


def _version(job: Job, group: Group, digest: str) -> Entry | None:
    versions = [*job.conflict.sides, job.conflict.ancestor]
    wanted = (group.dtype, group.shape, digest)
    return next((entry for entry in versions if entry and entry.identity == wanted), None)


def _change(made: Made, signatures: dict[str, Signature | None]) -> Change:
    """Merged values as a change of the versions that they come from."""
    group = made.group
    sign = group.dtype if lsh.supports(group.dtype) else None
    source, size = _ArraySource(made.rows), tensors.itemsize(group.dtype)
    wanted = Wanted(source, 0, group.nbytes, size, made.digest, sign, signatures)
    return Change(group, wanted, made.bases, is_merged=True)


def _entry(job: Job, group: Group, digest: str, update: Update, signature: Signature | None) -> Entry:
    return Entry(job.name, group.dtype, group.shape, digest, 0, update, signature, job.record)


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Say of what is wrong in which group."""
    try:
        yield
    except (MergeError, PluginError) as error:
        raise type(error)(f"group {job.name!r}: {error}") from error
    except MemoryError as error:
        raise MergeError(f"group {job.name!r}: there is not enough memory to merge it: take one side") from error
