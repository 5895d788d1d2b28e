"""Settle the conflicts that a merge left in the index: a checkpoint at a time, from its stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from git_theta.errors import MetadataError, UsageError
from git_theta.flows.merge import Merger
from git_theta.flows.merging.plan import Versions, unmarked
from git_theta.git.repository import FileEntry, Repository
from git_theta.git.stages import ANCESTOR, OURS, THEIRS, Stages
from git_theta.merges.decisions import Clash, Conflict, Settle
from git_theta.merges.fitting import VERSIONS
from git_theta.metadata import Entry, Metadata
from git_theta.metadata_file import is_metadata, parse, serialize

FILE: Final = "(file)"
"""The name of the conflict about a checkpoint that one side removed."""

_STAGES: Final = {"ours": OURS, "theirs": THEIRS, "ancestor": ANCESTOR}


class Found(Struct, frozen=True):
    """A checkpoint in conflict.

    Attributes:
        path: from the top.
        stages: what the index has of it.
        metadata: what that says, by stage.
    """

    path: str
    stages: Stages
    metadata: Mapping[int, Metadata]

    @property
    def versions(self) -> Versions:
        """The ancestor, and the sides that there are."""
        sides = (self.metadata[stage] for stage in (OURS, THEIRS) if stage in self.metadata)
        return Versions(self.metadata.get(ANCESTOR), tuple(sides))


class Resolved(Struct, frozen=True):
    """What a checkpoint shall be.

    Attributes:
        entry: for the index; None if it shall not be there, or is not settled.
        metadata: what it says.
        unsettled: the names of what is still in conflict.
        methods: how many conflicts were settled by each method.
    """

    entry: FileEntry | None
    metadata: Metadata | None
    unsettled: tuple[str, ...]
    methods: Mapping[str, int]


def read(repository: Repository, path: str, stages: Stages) -> Found | None:
    """A path in conflict as a checkpoint; None if no side has one there.

    Raises:
        UsageError: one side has a checkpoint there, and another something else.
        MetadataError: a metadata file cannot be read.
    """
    contents = {stage: repository.read_blob(entry.oid) for stage, entry in stages.items() if entry.is_file}
    known = {stage: data for stage, data in contents.items() if is_metadata(data)}
    if not known:
        return None
    if len(known) < len(stages):
        raise UsageError(
            f"{path} is kept by Git-Theta on one side only: take a side with 'git checkout --ours' or '--theirs'"
        )
    try:
        return Found(path, stages, {stage: parse(data) for stage, data in known.items()})
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error


def resolve(repository: Repository, found: Found, merger: Merger, settle: Settle) -> Resolved:
    """Settle the conflicts of a checkpoint. Nothing is written but objects of git and ours.

    Raises:
        ThetaError: it cannot be read or merged.
    """
    if OURS not in found.stages or THEIRS not in found.stages:
        return _whole(repository, found, settle)
    outcome = merger.merge(found.versions, settle, found.path)
    methods = Counter(decision.method for decision in outcome.decided.values())
    if outcome.metadata is None:
        return Resolved(None, None, tuple(conflict.name for conflict in outcome.unsettled), methods)
    blob = repository.write_blob(serialize(outcome.metadata))
    return Resolved(FileEntry(_mode(found.stages), blob), outcome.metadata, (), methods)


def _whole(repository: Repository, found: Found, settle: Settle) -> Resolved:
    """Settle that one side removed the checkpoint and the other changed it (or both gave it other names)."""
    first = {stage: _first(metadata) for stage, metadata in found.metadata.items()}
    conflict = Conflict(FILE, Clash.REMOVED, first.get(ANCESTOR), (first.get(OURS), first.get(THEIRS)))
    decision = settle([conflict]).get(FILE)
    if decision is None or decision.method not in VERSIONS:
        return Resolved(None, None, (FILE,), {})
    stage = _STAGES[decision.method]
    entry, metadata = found.stages.get(stage), found.metadata.get(stage)
    if entry is not None and metadata is not None and not metadata.is_decided:
        metadata = unmarked(metadata)
        entry = FileEntry(entry.mode, repository.write_blob(serialize(metadata)))
    return Resolved(entry, metadata, (), {decision.method: 1})


def _first(metadata: Metadata) -> Entry | None:
    """A group that stands for the whole checkpoint."""
    return next(iter(metadata.entries), None)


def _mode(stages: Stages) -> str:
    """The mode that a merge gives the file."""
    old, ours, theirs = (stages[stage].mode if stage in stages else "" for stage in (ANCESTOR, OURS, THEIRS))
    return theirs if ours == old else ours
