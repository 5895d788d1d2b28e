"""What changed between two versions of a checkpoint, as immutable values that every way of showing it reads."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from git_theta.metadata import Entry, Metadata


class Kind(StrEnum):
    """What happened to a group."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    RETYPED = "retyped"
    RESHAPED = "reshaped"
    MODIFIED = "modified"


class Statistics(Struct, frozen=True):
    """How far the values of a group moved.

    Attributes:
        relative: ||new - old|| / ||old||, Euclidean; infinite if all old values are zero; None if unknown.
        largest: the largest |new - old|; None if unknown.
        changed: the share of values of which any bit changed, 0 to 1; None if unknown.
        cosine: of the angle between old and new; None if unknown, or if one of them has no direction.
        is_exact: computed from the values; else estimated from the signatures.
    """

    relative: float | None
    largest: float | None
    changed: float | None
    cosine: float | None
    is_exact: bool


class GroupChange(Struct, frozen=True):
    """A group that differs.

    Attributes:
        kind: what happened.
        old: the group before; None if it was added. A renamed group has another name here.
        new: the group after; None if it was removed.
        statistics: how far the values moved; None where that has no meaning, or nobody measured it.
    """

    kind: Kind
    old: Entry | None
    new: Entry | None
    statistics: Statistics | None = None

    @property
    def entry(self) -> Entry:
        """The group after the change, or before it if it was removed."""
        entry = self.new or self.old
        if entry is None:
            raise ValueError("a change has at least one side")
        return entry

    @property
    def name(self) -> str:
        """The group's name after the change, or before it if it was removed."""
        return self.entry.name


class ValueChange(Struct, frozen=True):
    """A value of a checkpoint that is no group (`epoch`) and differs; None on the side that has none."""

    name: str
    old: str | None
    new: str | None


class CheckpointDiff(Struct, frozen=True):
    """All that changed in one checkpoint.

    Attributes:
        old_path, new_path: where it was and is.
        old, new: what it was and is; None where there was or is none.
        changes: of groups, in file order of the new version, what was removed at the place where it stood.
        values: changes of values that are no groups.
        left_out: names of groups of the new version that nobody asked about, changed or not.
    """

    old_path: str
    new_path: str
    old: Metadata | None
    new: Metadata | None
    changes: tuple[GroupChange, ...]
    values: tuple[ValueChange, ...] = ()
    left_out: frozenset[str] = frozenset()
