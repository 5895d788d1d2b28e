"""Merge: from several versions of a checkpoint to one (`git merge`, by the merge driver).

Plan, settle, apply: what one side changed is taken, what is in conflict is asked for, all at once, and then carried
out, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints import Format, has_checksums, opaque
from git_theta.errors import MergeError, PluginError
from git_theta.flows.checksums import checksum, refitted
from git_theta.flows.keeping import keep_skeleton
from git_theta.flows.merging.apply import Applier
from git_theta.flows.merging.jobs import Job, job_of
from git_theta.flows.merging.outside import Outside
from git_theta.flows.merging.parts import covers, groups_of
from git_theta.flows.merging.plan import OURS, Step, Versions, unmarked
from git_theta.flows.merging.structure import Placed, Structure
from git_theta.flows.merging.values import Inputs
from git_theta.flows.smudge import SKELETON, Fetch, named_updates, provide, read_skeleton
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Conflict, Decision, Settle
from git_theta.merges.fitting import ANCESTOR, SIDES, VERSIONS
from git_theta.metadata import Entry, Metadata, Skeleton, content_key, values_digest
from git_theta.metadata_file import serialize
from git_theta.registry import Family
from git_theta.store.cache import MetadataCache
from git_theta.store.handover import HandOver
from git_theta.store.objects import ObjectStore
from git_theta.updates import UpdateType
from git_theta.updates.choose import Limits
from git_theta.updates.reading import Readers


class Plan(Struct, frozen=True):
    """What a merge would do.

    Attributes:
        steps: one for each group, in the order of our file, but for those of `Outside.wholes`.
        outside: what becomes of all that is no group.
    """

    steps: tuple[Step, ...]
    outside: Outside

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """What has to be decided, in file order, groups first."""
        return (*(step.conflict for step in self.steps if step.conflict is not None), *self.others)

    @property
    def others(self) -> tuple[Conflict, ...]:
        """Conflicts about what is no group."""
        return self.outside.conflicts


class Outcome(Struct, frozen=True):
    """What came of a merge.

    Attributes:
        plan: of the merge.
        decided: what was answered, by the name of the conflict.
        unsettled: the conflicts that were not answered.
        metadata: the merged checkpoint; None if anything is unsettled.
    """

    plan: Plan
    decided: Mapping[str, Decision]
    unsettled: tuple[Conflict, ...]
    metadata: Metadata | None


class Merger(Struct, frozen=True):
    """Merges the checkpoints of one repository.

    Attributes:
        store: where values are read from, and merged ones are kept.
        cache: is told of what was merged, so that it is cleaned to the very same metadata file again.
        update_types: give the values.
        fetch: brings objects that are not in the local store, as far as it can.
        formats: write the skeleton where the structure changed.
        methods: that merge values.
        limits: of chains of updates.
        handover: where merged values are left for a checkout that follows at once; None if none does.
    """

    store: ObjectStore
    cache: MetadataCache
    update_types: Family[UpdateType]
    fetch: Fetch
    formats: Family[Format]
    methods: Family[MergeMethod]
    limits: Limits
    handover: HandOver | None = None

    def plan(self, versions: Versions, path: str) -> Plan:
        """What a merge would do. No group's values are read, unless a skeleton has the checksums of others.

        Args:
            versions: to merge.
            path: of the checkpoint, for messages.

        Raises:
            ThetaError: a skeleton cannot be read.
        """
        return _Merge(self, self._fitted(versions, path), path).plan()

    def merge(self, versions: Versions, settle: Settle, path: str) -> Outcome:
        """Merge; nothing is written but objects, and those only if every conflict is settled.

        Args:
            versions: to merge.
            settle: is asked once, if there is any conflict.
            path: of the checkpoint, for messages.

        Raises:
            MergeError: a decision does not suit its conflict, or has no meaningful result; names path and group.
            PluginError: a merge method or a format is unknown or broken.
            StoreError: values cannot be had or kept; names path, group and object.
        """
        merge = _Merge(self, self._fitted(versions, path), path)
        plan = merge.plan()
        answers = settle(plan.conflicts) if plan.conflicts else {}
        decided = {conflict.name: answers[conflict.name] for conflict in plan.conflicts if conflict.name in answers}
        unsettled = tuple(conflict for conflict in plan.conflicts if conflict.name not in decided)
        metadata = None if unsettled else merge.applied(plan, decided)
        return Outcome(plan, decided, unsettled, metadata)

    def _fitted(self, versions: Versions, path: str) -> Versions:
        """The versions, with the checksums of their own values, since checksums are merged without reading values."""

        def fitted(old: Metadata | None) -> Metadata | None:
            return None if old is None else self._refitted(old, path)

        sides = tuple(self._refitted(side, path) for side in versions.sides)
        pairs = {pair: fitted(old) for pair, old in versions.pairs.items()}
        return Versions(fitted(versions.ancestor), sides, pairs)

    def _refitted(self, metadata: Metadata, path: str) -> Metadata:
        if metadata.is_fitted:
            return metadata
        provide(named_updates(metadata), self.store, self.fetch, path)
        readers = Readers(self.store, self.update_types)
        skeleton = read_skeleton(metadata.skeleton, readers.mine(), self.store, path)
        try:
            skeleton = refitted(metadata, skeleton, Inputs(path, readers), self.formats)
        except PluginError as error:
            raise PluginError(f"{path}: {error}") from error
        kept = keep_skeleton(skeleton, self.store)
        values = values_digest(entry.digest for entry in metadata.entries)
        return replace(metadata, skeleton=replace(kept, values=values, undecided=metadata.skeleton.undecided))


class _Merge:
    """One merge under way."""

    def __init__(self, merger: Merger, versions: Versions, path: str) -> None:
        self._merger = merger
        self._versions = versions
        self._path = path
        self._readers = Readers(merger.store, merger.update_types)
        self._skeletons: dict[str, bytes] = {}
        self._structure = Structure(versions, merger.formats, self._skeleton_of)

    def plan(self) -> Plan:
        """See `Merger.plan`."""
        outside = self._structure.plan()
        if outside.is_whole:
            return Plan((), outside)
        return Plan(tuple(step for step in self._structure.steps if not covers(outside.wholes, step.name)), outside)

    def applied(self, plan: Plan, decided: Mapping[str, Decision]) -> Metadata:
        """The merged checkpoint; the cache knows it afterwards."""
        try:
            outside = self._decided(plan.outside, decided)
            assert outside.version is not None
            if outside.is_whole:
                return self._whole(outside.version)
            checksums: dict[str, int] = {}
            entries = self._entries(plan, decided, checksums if self._structure.has_checksums(outside) else None)
            origins = self._origins(plan, decided)
            wholes = groups_of(outside.wholes, outside.texts, outside.version, self._versions)
            entries += [entry for entry, _ in wholes]
            origins |= {entry.name: number for entry, number in wholes}
            numbers = [origins[entry.name] for entry in entries]
            entries = self._structure.ties.named(outside.version, entries)
            origins = {entry.name: number for entry, number in zip(entries, numbers, strict=True)}
            placed = self._structure.place(outside, entries, origins, lambda entry: self._checksum(entry, checksums))
        except (MergeError, PluginError) as error:
            raise type(error)(f"{self._path}: {error}") from error
        metadata = self._known(self._built(placed, entries))
        self._merger.cache.put(_content_key(metadata), serialize(metadata))
        return metadata

    def _whole(self, version: int) -> Metadata:
        """One version as it is; to take the ancestor is to decide for it."""
        is_ancestor = version >= len(self._versions.sides)
        found = self._versions.all()[version]
        return unmarked(found) if is_ancestor else found

    def _decided(self, outside: Outside, decided: Mapping[str, Decision]) -> Outside:
        """The versions that were chosen where it is not about groups."""
        numbers = {}
        for conflict in outside.conflicts:
            decision = decided[conflict.name]
            names = [*SIDES[: len(self._versions.sides)], *([ANCESTOR] if self._versions.ancestor else [])]
            if decision.method not in names or decision.parameters:
                known = ", ".join(names)
                raise MergeError(f"{conflict.name} cannot be settled by {decision.method}, but by one of {known}")
            numbers[conflict.name] = self._number(decision.method)
        return outside.decided(numbers)

    def _entries(self, plan: Plan, decided: Mapping[str, Decision], checksums: dict[str, int] | None) -> list[Entry]:
        """The merged groups, in the order of the plan."""
        is_opaque = self._versions.sides[OURS].format == opaque.NAME
        found: dict[str, Entry | None] = {step.name: step.entry for step in plan.steps}
        jobs = []
        for step in plan.steps:
            if step.conflict is not None:
                job = self._job(step.conflict, decided[step.name], is_opaque=is_opaque)
                if isinstance(job, Job):
                    jobs.append(job)
                else:
                    found[step.name] = job
        if jobs:
            read = ((entry.name, entry.update) for job in jobs for entry in job.entries)
            provide(read, self._merger.store, self._merger.fetch, self._path)
            merger = self._merger
            applier = Applier(self._inputs, merger.store, merger.limits, checksums, merger.handover)
            found |= applier.apply(jobs)
        return [entry for entry in found.values() if entry is not None]

    def _origins(self, plan: Plan, decided: Mapping[str, Decision]) -> dict[str, int]:
        """For each merged group, the version that it is of; where it is of several, the first of these."""
        found = {}
        for step in plan.steps:
            method = decided[step.name].method if step.conflict is not None else ""
            if step.side is not None:
                found[step.name] = step.side
            elif step.conflict is not None:
                sides = (number for number, side in enumerate(step.conflict.sides) if side is not None)
                found[step.name] = self._number(method) if method in VERSIONS else next(sides, OURS)
        return found

    def _number(self, name: str) -> int:
        """The version that is called so in a decision, by its number in `Versions.all`."""
        return len(self._versions.sides) if name == ANCESTOR else SIDES.index(name)

    def _job(self, conflict: Conflict, decision: Decision, *, is_opaque: bool) -> Job | Entry | None:
        try:
            return job_of(conflict, decision, self._merger.methods, is_opaque=is_opaque)
        except (MergeError, PluginError) as error:
            raise type(error)(f"group {conflict.name!r}: {error}") from error

    def _built(self, placed: Placed, entries: Sequence[Entry]) -> Metadata:
        by_name = {entry.name: entry for entry in entries}
        layout = placed.layout
        groups = tuple(
            replace(by_name[span.name], lead=lead) for span, lead in zip(layout.spans, layout.leads(), strict=True)
        )
        skeleton = self._skeleton(placed)
        if skeleton.values is not None or has_checksums(self._merger.formats, layout.format):
            skeleton = replace(skeleton, values=values_digest(entry.digest for entry in groups))
        return Metadata(layout.format, layout.size, skeleton, groups)

    def _skeleton(self, placed: Placed) -> Skeleton:
        """How a skeleton is kept: as a version has it, or anew."""
        if placed.skeleton is None:
            assert placed.like is not None
            digest = placed.like.skeleton.digest
        else:
            digest = tensors.digest(placed.skeleton)
        for metadata in self._versions.all():
            if metadata.skeleton.digest == digest:
                return replace(metadata.skeleton, undecided=())
        assert placed.skeleton is not None
        return keep_skeleton(placed.skeleton, self._merger.store)

    def _known(self, metadata: Metadata) -> Metadata:
        """The version that stands for the same bytes, if there is one, for one file has one metadata file."""
        key = _content_key(metadata)
        found = (version for version in self._versions.all() if version.is_decided and _content_key(version) == key)
        return next(found, metadata)

    def _skeleton_of(self, metadata: Metadata) -> bytes:
        kept = metadata.skeleton
        if kept.digest not in self._skeletons:
            if kept.update is not None:
                provide([(SKELETON, kept.update)], self._merger.store, self._merger.fetch, self._path)
            self._skeletons[kept.digest] = read_skeleton(kept, self._readers.mine(), self._merger.store, self._path)
        return self._skeletons[kept.digest]

    @property
    def _inputs(self) -> Inputs:
        return Inputs(self._path, self._readers)

    def _checksum(self, entry: Entry, known: Mapping[str, int]) -> int:
        """The CRC-32 of a group's values, which are read if no one knows it."""
        if entry.digest in known:
            return known[entry.digest]
        provide([(entry.name, entry.update)], self._merger.store, self._merger.fetch, self._path)
        return checksum(entry, self._inputs)


def _content_key(metadata: Metadata) -> str:
    digests = tuple(entry.digest for entry in metadata.entries)
    return content_key(metadata.layout(), metadata.skeleton.digest, digests)
