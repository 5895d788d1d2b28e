"""Merge: what only one side changed, or both changed alike, is taken; all else is a conflict.

A pure function decides group by group; nothing is read but metadata.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from git_theta.metadata import Entry, Metadata

T = TypeVar("T")

STRUCTURE: Final = "(structure)"


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a merge.

    Attributes:
        metadata: the merged checkpoint; where there are conflicts, ours.
        conflicts: the names of the groups that both sides changed differently; "(structure)" where it is the set of
            groups, their dtypes or shapes, or the skeleton.
    """

    metadata: Metadata
    conflicts: tuple[str, ...]


def merge(ancestor: Metadata | None, ours: Metadata, theirs: Metadata) -> Merged:
    """Merge three versions of a checkpoint; without an ancestor, everything counts as added by both sides."""
    frame = _choose(_frame(ancestor), _frame(ours), _frame(theirs))
    if frame is None:
        return Merged(ours, (STRUCTURE,))
    template, other = (ours, theirs) if frame == _frame(ours) else (theirs, ours)
    old, mine, yours = _groups(ancestor), _groups(ours), _groups(theirs)
    entries, conflicts = [], _removed_but_changed(old, template, other)
    for entry in template.entries:
        name = entry.name
        chosen = _choose(_identity(old.get(name)), _identity(mine.get(name)), _identity(yours.get(name)))
        if chosen is None:
            conflicts.append(name)
        else:
            side = mine if chosen == _identity(mine.get(name)) else yours
            entries.append(replace(side[name], lead=entry.lead))
    if conflicts:
        return Merged(ours, tuple(conflicts))
    return Merged(replace(template, entries=tuple(entries)), ())


def _choose(old: T | None, mine: T | None, yours: T | None) -> T | None:
    """The value that a three-way merge takes; None for a conflict."""
    if mine in (yours, None) or yours == old:
        return mine if mine is not None else yours
    return yours if mine == old else None


def _removed_but_changed(old: Mapping[str, Entry], template: Metadata, other: Metadata) -> list[str]:
    """Groups that one side removed and the other changed."""
    kept = _groups(template)
    return [
        entry.name
        for entry in other.entries
        if entry.name not in kept and _identity(old.get(entry.name)) != _identity(entry)
    ]


def _groups(metadata: Metadata | None) -> dict[str, Entry]:
    return {} if metadata is None else {entry.name: entry for entry in metadata.entries}


def _frame(metadata: Metadata | None) -> Hashable:
    """All of a checkpoint but the values of its groups."""
    if metadata is None:
        return None
    groups = tuple((entry.name, entry.dtype, entry.shape, entry.lead) for entry in metadata.entries)
    return metadata.format, metadata.skeleton.digest, groups


def _identity(entry: Entry | None) -> Hashable:
    return None if entry is None else (entry.dtype, entry.shape, entry.digest)
