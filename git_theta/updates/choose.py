"""Choose the smallest lossless way to keep each changed group, and keep it.

The change is looked at block by block: as long as few values differ, it is sparse. As soon as a block differs all over,
no more is read of it, and samples tell whether a merge, a low rank or a scaling explains it, or else whether
differences are smaller than the values themselves. Everything is tried on what it would write, and undone and compared
before it is accepted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np
from blake3 import blake3
from msgspec import Struct

from git_theta.errors import ChangedWhileReadingError, StoreError
from git_theta.metadata import CORRECTING, ObjectRef, Update
from git_theta.metadata_file import MAX_NESTED
from git_theta.store.arrays import READING_BYTES
from git_theta.store.objects import ObjectStore
from git_theta.store.publishing import Publisher, publishing
from git_theta.updates import averages, factors, plans, scales
from git_theta.updates.payloads import (
    SMALL_BYTES,
    Array,
    Payload,
    UnusableBaseError,
    is_large,
    keep_alone,
    keep_payloads,
)
from git_theta.updates.plans import Change, Plan, Prediction
from git_theta.updates.plugged import Plugged
from git_theta.updates.reading import Group, Readers, memory_nbytes, results
from git_theta.updates.residual import Residual, fit_residual
from git_theta.updates.versions import Version, Versions

AUTO: Final = "auto"
"""What is asked for if no type of update is: the cheapest. A type that does not fit a change gives way to it, too."""

MIN_BYTES: Final = 1 << 10
"""Smaller groups are always kept whole: the line that would tell of an update is as long."""

_THREADS: Final = min(4, max(2, os.cpu_count() or 1))
"""The disk is waited for by others."""

_PORTION_BYTES: Final = 1 << 30
_MANY: Final = 500
"""With more changes than this, small groups are not searched for what explains them: keeping them costs less."""

GAIN: Final = 0.92
"""An update must be smaller than dense by this factor to be worth a chain."""

_MEMORY_BYTES: Final = READING_BYTES // 2
"""What reading an update may need. A reader takes more: what is kept can be read, also where objects are shared."""

_TINY: Final = 1 / 16
"""An update this small, in parts of dense, is taken without looking for a smaller one."""


class Limits(Struct, frozen=True):
    """What bounds a chain of updates: versions that it goes back to (theta.maxchain)."""

    length: int = 8


def keep(
    changes: Sequence[Change], store: ObjectStore, readers: Readers, limits: Limits, kind: str = AUTO
) -> Mapping[str, Update]:
    """Keep changed groups; returns the update for each digest.

    Args:
        changes: no two of one digest.
        store: where the objects go.
        readers: give the values of bases.
        limits: of chains.
        kind: a type of update, asked for where it fits, or AUTO.

    Raises:
        ChangedWhileReadingError: a source no longer has the values that were digested.
        StoreError: the store cannot be written.
    """
    kept: dict[str, Update] = {}
    # The largest first, so that no thread begins one when the others are done.
    for portion in _portions(sorted(changes, key=_urgency)):
        makes = [partial(_itself, change) for change in portion]
        updates = keep_made(makes, store, readers, limits, kind)
        found = zip(portion, updates, strict=True)
        kept |= {change.wanted.digest: update for change, update in found if update is not None}
    return kept


def keep_made(
    makes: Sequence[Callable[[], Change | None]],
    store: ObjectStore,
    readers: Readers,
    limits: Limits,
    kind: str = AUTO,
) -> list[Update | None]:
    """Keep changes that are made when their turn comes, in several threads, and let go when they are written.

    Args:
        makes: each makes a change, the same whenever it is called; None if there is nothing to keep.
        store: as in `keep`.
        readers: as in `keep`.
        limits: as in `keep`.
        kind: as in `keep`.

    Returns:
        The update for each, in their order; None where there was nothing to keep.

    Raises:
        ChangedWhileReadingError: as `keep`.
        StoreError: as `keep`.
        ThetaError: what a change is made from cannot be had.
    """
    is_brief = len(makes) > _MANY

    def settled(make: Callable[[], Change | None], publisher: Publisher) -> _Settled | None:
        """What was decided about a change. What is large is written at once, as long as what was read is at hand."""
        change = make()
        if change is None:
            return None
        plan = choose(change, readers, limits, kind, is_brief=is_brief)
        payloads = list(plan.payloads())
        refs = {payload: keep_alone(payload, store, publisher) for payload in payloads if is_large(payload)}
        group, digest = change.group, change.wanted.digest
        if len(refs) == len(payloads):
            # All is written, so nothing that was looked at needs to stay in memory.
            return _Settled(group, digest, plan.update(refs), {})
        return _Settled(group, digest, plan, refs)

    with ThreadPoolExecutor(_THREADS) as pool:
        with publishing() as publisher:
            chosen = list(pool.map(partial(settled, publisher=publisher), makes))
        refs = {payload: ref for one in chosen if one for payload, ref in one.refs.items()}
        small = [payload for one in chosen if one for payload in one.payloads() if payload not in refs]
        refs |= keep_payloads(small, store)
        updates = [None if one is None else one.updated(refs) for one in chosen]
        right = list(
            pool.map(lambda one, update: one is None or _is_right(one, update, store, readers), chosen, updates)
        )
    wrong = {number: change for number, is_right in enumerate(right) if not is_right and (change := makes[number]())}
    dense = keep_payloads([change.wanted for change in wrong.values()], store)
    again = {number: Plan("dense", change.wanted).update(dense) for number, change in wrong.items()}
    return [again.get(number, update) for number, update in enumerate(updates)]


def _itself(change: Change) -> Change:
    return change


def _urgency(change: Change) -> int:
    """Less for larger ones. Small ones keep their order: those that lie side by side in a file share objects."""
    return -change.group.nbytes if change.group.nbytes >= SMALL_BYTES else 0


def _portions(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Changes of so many bytes of values at a time that what is to be written for them can be in memory at once."""
    portion: list[Change] = []
    nbytes = 0
    for change in changes:
        if portion and nbytes + change.group.nbytes > _PORTION_BYTES:
            yield portion
            portion, nbytes = [], 0
        portion.append(change)
        nbytes += change.group.nbytes
    if portion:
        yield portion


class _Settled(Struct, frozen=True, eq=False):
    """What was decided about a change: a plan, or the update if all of it is written, and where what was written is."""

    group: Group
    digest: str
    plan: Plan | Update | None
    refs: Mapping[Payload, ObjectRef | None]

    def payloads(self) -> Iterator[Payload]:
        """What the plan has to be written."""
        return self.plan.payloads() if isinstance(self.plan, Plan) else iter(())

    def updated(self, refs: Mapping[Payload, ObjectRef | None]) -> Update | None:
        """The update, when all is written; None if something could not be."""
        return self.plan.update(refs) if isinstance(self.plan, Plan) else self.plan


def _is_right(one: _Settled, update: Update | None, store: ObjectStore, readers: Readers) -> bool:
    """Whether an update that was written is whole, and gives the very values, read back as a checkout does.

    Dense values were digested as they were written. A delta or a sparse update on top of verified values was undone and
    compared, and so was a weighted sum of verified values, which has no object. To read these back would cost as much
    as to write them.
    """
    if update is None or not update.bases:
        return update is not None
    if not all(store.has(ref) for ref in update.objects()):
        return False  # A base may be read to its end while another process removes it.
    if update.type == "linear" or (update.type in CORRECTING and not update.is_correction):
        return True
    hasher = blake3()
    try:
        with readers.mine().reading() as reader:
            for rows in results(reader.values(update, one.group)):
                hasher.update(rows)
    except StoreError:
        return False
    return hasher.hexdigest() == one.digest


def choose(change: Change, readers: Readers, limits: Limits, kind: str = AUTO, *, is_brief: bool = False) -> Plan:
    """The cheapest way to keep one change, of the kind asked for if that fits.

    Args:
        change: to keep.
        readers: give the values of bases.
        limits: of chains.
        kind: a type of update, or AUTO.
        is_brief: do not look for what explains a small group, since there are very many.
    """
    dense = Plan("dense", change.wanted)
    if kind == "dense" or not change.bases or (change.group.nbytes < MIN_BYTES and kind == AUTO):
        return dense
    try:
        return _Choice(change, readers, limits, kind, is_brief=is_brief).best() or dense
    except UnusableBaseError:
        return dense


class _Option(Struct, frozen=True):
    """A way to keep a change: bytes of its own, and the updates that it builds on."""

    plan: Plan
    nbytes: int
    bases: tuple[Update, ...]


class _Choice:
    """The search for the cheapest way to keep one change."""

    def __init__(self, change: Change, readers: Readers, limits: Limits, kind: str, *, is_brief: bool) -> None:
        self._change = change
        self._readers = readers
        self._limits = limits
        self._kind = kind
        is_small = kind == AUTO and change.group.nbytes < SMALL_BYTES
        self._is_brief = change.is_merged or (is_brief and is_small)
        self._plugged = readers.types.get(kind) if kind != AUTO else None
        self._versions = Versions(change.group, change.bases, readers.mine())
        self._stored = Version(self._versions, 0)
        first = change.wanted.head()
        if not len(first):
            raise UnusableBaseError("there are no values")
        self._dense_nbytes = plans.stored_nbytes(first, change.group.nbytes)

    def best(self) -> Plan | None:
        """The plan; None if nothing is cheaper than dense."""
        plan = self._best()
        if self._change.group.nbytes < SMALL_BYTES:
            self._versions.forget()  # Small ones are written when all are chosen, each with many others.
        return plan

    def _best(self) -> Plan | None:
        told, enough = self._change.told, self._dense_nbytes * GAIN
        if told is not None:
            option = self._option(told, fit_residual(self._change, told, self._readers, enough))
            if self._is_allowed(option):
                return option.plan
        if isinstance(self._plugged, Plugged):
            plan = self._by_plugin(self._plugged)
            if plan is not None:
                return plan
            self._kind = AUTO
        plain = self._option(self._stored, fit_residual(self._change, self._stored, self._readers, enough))
        if self._is_settled(plain):
            return plain.plan
        options = [plain, *self._predicted()]
        fitting = [option for option in options if self._is_allowed(option)]
        asked = [option for option in fitting if self._kind in (AUTO, _kind_of(option.plan))]
        cheapest = min(asked or fitting, key=lambda option: option.nbytes, default=None)
        return cheapest.plan if cheapest is not None else None

    def _by_plugin(self, plugged: Plugged) -> Plan | None:
        """What a plug-in makes of the change, if it can and the chain stays within its bounds."""
        new = b"".join(rows.tobytes() for rows in self._change.wanted.rows())
        base = b"".join(rows.tobytes() for rows in self._stored.rows(self._readers.mine()))
        found = plugged.fitted(new, base, self._change.group)
        if found is None:
            return None
        settings, payload = found
        kept = Array(np.frombuffer(payload, np.uint8).reshape(-1, 1)) if payload else None
        plan = Plan(plugged.name, kept, (self._stored.plan,), settings)
        option = _Option(plan, len(payload), (self._change.bases[0].update,))
        return plan if self._is_allowed(option) else None

    def _is_settled(self, option: _Option) -> bool:
        is_asked = self._kind in (AUTO, option.plan.type)
        return is_asked and option.nbytes < self._dense_nbytes * _TINY and self._is_allowed(option)

    def _predicted(self) -> Iterator[_Option]:
        """What the other kinds make of the change, the likeliest first, until one leaves next to nothing."""
        enough = self._dense_nbytes * GAIN
        for predictions in self._searches():
            for prediction in predictions():
                residual = fit_residual(self._change, prediction, self._readers, enough)
                option = self._option(prediction, residual)
                yield option
                if option.nbytes < self._dense_nbytes * _TINY:
                    return

    def _searches(self) -> Iterator[Callable[[], Iterator[Prediction]]]:
        reader, change = self._readers.mine(), self._change
        yield lambda: averages.predictions(change, self._versions)
        if self._is_brief:
            return
        yield lambda: factors.predictions(change, self._stored, reader)
        yield lambda: scales.predictions(change, self._stored)

    def _option(self, prediction: Prediction, residual: Residual) -> _Option:
        plan = residual.plan if residual.plan is not None else prediction.plan
        if not isinstance(plan, Plan):
            raise ChangedWhileReadingError("two versions of a group have other digests but the same values")
        own = 0
        if isinstance(prediction.plan, Plan):
            own = sum(payload.nbytes for payload in prediction.plan.payloads())
        return _Option(plan, own + residual.nbytes, _updates_below(plan))

    def _is_allowed(self, option: _Option) -> bool:
        """Whether the chain stays within its bounds, and is smaller than dense by what makes it worth having."""
        if not is_light(option.plan.outline(), self._change.group, self._readers):
            return False
        chain = chain_nbytes(option.bases, self._change.group, self._readers, self._limits)
        return chain is not None and option.nbytes + chain < self._dense_nbytes * GAIN


def is_light(update: Update, group: Group, readers: Readers) -> bool:
    """Whether an update can be read in little memory, and may be kept."""
    return memory_nbytes(update, group, readers.types) <= _MEMORY_BYTES


def chain_nbytes(bases: Sequence[Update], group: Group, readers: Readers, limits: Limits) -> int | None:
    """What the chain below a new update needs in bytes beyond the dense values that it goes back to.

    Args:
        bases: what the update builds on.
        group: whose values they are.
        readers: of the store that they are in.
        limits: of chains.

    Returns:
        The bytes; None if the chain would be too long, or have too many updates.
    """
    length = 1 + max((plans.length(base) for base in bases), default=0)
    nested = 2 + sum(plans.nested_count(base) for base in bases)
    if length > limits.length or nested > MAX_NESTED:
        return None
    # Of several versions each may have a chain of its own: a merge by averaging would else cost a whole group.
    return max((plans.chain_nbytes(base, group, readers) for base in bases), default=0)


def _updates_below(plan: Plan) -> tuple[Update, ...]:
    """The updates that are stored already and that a plan builds on."""
    found: list[Update] = []
    for base in plan.bases:
        found += [base] if isinstance(base, Update) else _updates_below(base)
    return tuple(found)


def _kind_of(plan: Plan) -> str:
    """The type of a plan; of a correction on top of a prediction, the prediction's."""
    base = plan.bases[0] if plan.bases else None
    return base.type if isinstance(base, Plan) else plan.type
