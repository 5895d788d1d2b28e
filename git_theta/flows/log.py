"""Log: the commits that changed a checkpoint's groups, newest first. No checkpoint is put together for it.

A merge counts as git counts it: only the groups that it has from none of its parents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from git_theta.diffs.changes import CheckpointDiff, GroupChange, Kind
from git_theta.diffs.compare import compare
from git_theta.errors import GitError, MetadataError
from git_theta.flows.diff import Differ
from git_theta.flows.versions import Version
from git_theta.git.history import Commit, FileChange, Side
from git_theta.git.repository import Repository
from git_theta.metadata import Entry, Metadata
from git_theta.metadata_file import MAX_BYTES, is_metadata, parse
from git_theta.tensors import is_named

_REMEMBERED: Final = 8
"""Versions of checkpoints that are not parsed again: what a commit has is what the next one began with."""

_MOST_LINES: Final = 1 << 17
"""Lines of metadata files that are not parsed again."""


class Logged(Struct, frozen=True):
    """A commit that changed checkpoints.

    Attributes:
        commit: the commit.
        diffs: what changed in each, compared with the first parent.
        problems: lines about checkpoints of which that cannot be told, or only in part.
    """

    commit: Commit
    diffs: tuple[CheckpointDiff, ...]
    problems: tuple[str, ...] = ()


class Followed:
    """The groups that are wanted: those whose names a pattern fits, and under which names they go further back."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Args: patterns: names or patterns (`h.*.bias`); all groups are wanted if there are none."""
        self._patterns = tuple(patterns)
        self._earlier: set[str] = set()

    @property
    def is_all(self) -> bool:
        """Whether every group is wanted."""
        return not self._patterns

    def choose(self, diff: CheckpointDiff) -> CheckpointDiff:
        """What is wanted of a diff. Where a wanted group got its name, it is known by the one before from then on."""
        if self.is_all:
            return diff
        changes = tuple(change for change in diff.changes if self._wants(change))
        self._earlier |= {change.old.name for change in changes if change.kind is Kind.RENAMED and change.old}
        return replace(diff, changes=changes, values=())

    def _wants(self, change: GroupChange) -> bool:
        names = {entry.name for entry in (change.old, change.new) if entry is not None}
        return bool(names & self._earlier) or any(
            is_named(name, pattern) for name in names for pattern in self._patterns
        )


class Versions:
    """The versions of checkpoints in a repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._passed: set[str] = set()
        self._read = lru_cache(_REMEMBERED)(self._parsed)
        self._lines: dict[str, Entry] = {}

    def differences(self, change: FileChange) -> list[CheckpointDiff]:
        """How a file differs from each parent's; nothing if it is no checkpoint on any side.

        Raises:
            MetadataError: a side that should be a metadata file cannot be read.
        """
        new = self._metadata(change.new)
        olds = [self._metadata(old) for old in change.olds]
        if new is None and not any(olds):
            self._passed |= {side.path for side in (change.new, *change.olds)}
            return []
        return [compare(old, new, side.path, change.new.path) for old, side in zip(olds, change.olds, strict=True)]

    def remark(self, change: FileChange) -> str | None:
        """What to say of groups that seem to come or go, but only begin or cease to be kept."""
        new, old = self._metadata(change.new), self._metadata(change.olds[0])
        if old is not None and new is None and change.new.oid is not None:
            return f"{change.new.path}: git-theta no longer keeps this file; what is in it now is not looked at"
        if new is not None and old is None and change.olds[0].oid is not None:
            return f"{change.new.path}: git-theta did not keep this file before; what was in it is not looked at"
        return None

    def is_passed(self, change: FileChange) -> bool:
        """Whether a newer version of a file at this path was no checkpoint."""
        return change.new.path in self._passed

    def _metadata(self, side: Side) -> Metadata | None:
        return None if side.oid is None else self._read(side.oid, side.path)

    def _parsed(self, oid: str, path: str) -> Metadata | None:
        if self._repository.blob_size(oid) > MAX_BYTES:
            return None
        data = self._repository.read_blob(oid)
        if len(self._lines) > _MOST_LINES:
            self._lines.clear()
        try:
            return parse(data, self._lines) if is_metadata(data) else None
        except MetadataError as error:
            raise MetadataError(f"{path}: {error}") from error


def log(
    repository: Repository,
    commits: Iterable[Commit],
    followed: Followed,
    differ: Differ,
    *,
    all_files: bool,
) -> Iterator[Logged]:
    """The commits that changed wanted groups.

    Args:
        repository: where they are.
        commits: newest first (`history.commits`).
        followed: which groups are wanted.
        differ: measures what changed.
        all_files: look at every file. Else a file that is no checkpoint is not looked at in earlier versions: reading
            all versions of all files of a repository takes long.

    Raises:
        GitError: a blob cannot be read.
    """
    versions = Versions(repository)
    for commit in commits:
        diffs, problems = [], []
        for change in commit.files:
            if change.is_of_mode_only or (not all_files and versions.is_passed(change)):
                continue
            try:
                found = _own(versions.differences(change))
            except (MetadataError, GitError) as error:
                problems.append(str(error))
                continue
            wanted = None if found is None else followed.choose(found)
            if wanted is not None and (wanted.changes or followed.is_all):
                diffs.append(_measured(differ, wanted, whole=followed.is_all and len(commit.parents) < 2))
                problems += [remark for remark in [versions.remark(change)] if remark is not None]
        if diffs or (problems and followed.is_all):
            yield Logged(commit, tuple(diffs), tuple(problems))


def _own(diffs: list[CheckpointDiff]) -> CheckpointDiff | None:
    """What a commit has from none of its parents, as a diff from the first; None if that is nothing."""
    if not diffs:
        return None
    first, *others = diffs
    for other in others:
        changed = {change.name for change in other.changes}
        first = replace(first, changes=tuple(change for change in first.changes if change.name in changed))
    return first if first.changes or not others else None


def _measured(differ: Differ, diff: CheckpointDiff, *, whole: bool) -> CheckpointDiff:
    """A diff with statistics of its changes, and with what changed beside the groups if it is a whole one."""
    names = {entry.name for change in diff.changes for entry in (change.old, change.new) if entry is not None}
    only = None if whole else names.__contains__
    found = differ.diff(Version(diff.old), Version(diff.new), diff.old_path, diff.new_path, only)
    return replace(diff, changes=found.changes, values=found.values)
