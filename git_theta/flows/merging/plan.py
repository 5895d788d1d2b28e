"""Plan a merge from metadata alone: for each group, the side that it is taken from, or a conflict.

What only one side changed, or all that changed it changed alike, is taken. Where there is no ancestor, everything
counts as added. Of equal values ours are taken, however the other sides keep them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from git_theta.merges.decisions import Clash, Conflict
from git_theta.metadata import UNDECIDED_METHOD, Entry, MergeRecord, Metadata

STRUCTURE: Final = "(structure)"
"""The name of a conflict about all that is neither a group nor a value with a name."""

UNDECIDED: Final = MergeRecord(UNDECIDED_METHOD)
"""Marks a group of an ancestor that is itself a merge, in which it was in conflict: every side has changed it."""

ADDED: Final = MergeRecord(UNDECIDED_METHOD, (("added", True),))
"""The same of a group that was added differently on both sides of that merge: it has no values before."""

OURS: Final = 0
"""The number of our side; theirs is 1, and so on."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What a merge brings together.

    Attributes:
        ancestor: what the sides come from; None if they have nothing in common.
        sides: ours, theirs, and further ones.
    """

    ancestor: Metadata | None
    sides: tuple[Metadata, ...]

    def all(self) -> tuple[Metadata, ...]:
        """Ours first, the ancestor last."""
        return self.sides if self.ancestor is None else (*self.sides, self.ancestor)


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one group.

    Attributes:
        name: of the group.
        changed: the sides that changed, added or removed it, by number.
        side: the one whose group is taken, by number; None for a conflict.
        entry: the group that is taken; None where it is removed, or in conflict.
        conflict: what has to be decided.
    """

    name: str
    changed: tuple[int, ...]
    side: int | None
    entry: Entry | None
    conflict: Conflict | None = None


def unmarked(metadata: Metadata) -> Metadata:
    """An ancestor that somebody decided for: nothing of it is undecided any more."""
    if metadata.is_decided:
        return metadata
    entries = (replace(entry, merge=None) if _mark(entry) else entry for entry in metadata.entries)
    return replace(metadata, skeleton=replace(metadata.skeleton, undecided=()), entries=tuple(entries))


def plan_groups(versions: Versions) -> tuple[Step, ...]:
    """What becomes of every group that a side has, and of those that only the ancestor has.

    Returns:
        One step for each, in the order of our file; groups that others added stand behind those that they stand behind
        there.
    """
    old = {} if versions.ancestor is None else versions.ancestor.by_name()
    sides = [side.by_name() for side in versions.sides]
    return tuple(_step(name, old.get(name), [side.get(name) for side in sides]) for name in _order([*sides, old]))


def choose(old: Hashable, sides: Sequence[Hashable]) -> int | None:
    """The side that a merge takes something from, by number; None for a conflict.

    Args:
        old: what it is in the ancestor; None if it is not there.
        sides: what it is on each side.
    """
    changed = changes(old, sides)
    if not changed:
        return OURS
    return changed[0] if all(sides[side] == sides[changed[0]] for side in changed) else None


def changes(old: Hashable, sides: Sequence[Hashable]) -> tuple[int, ...]:
    """The sides that differ from the ancestor, by number."""
    return tuple(number for number, side in enumerate(sides) if side != old)


def identity(entry: Entry | None) -> Hashable:
    """What two groups share if, and only if, they have the same values; None if there is none."""
    return None if entry is None else (entry.dtype, entry.shape, entry.digest)


def _step(name: str, old: Entry | None, sides: Sequence[Entry | None]) -> Step:
    identities = [_seen(side, number) for number, side in enumerate(sides)]
    mark = None if old is None else _mark(old)
    before = identity(old) if mark is None else mark
    changed = changes(before, identities)
    side = choose(before, identities)
    if side is not None:
        return Step(name, changed, side, sides[side])
    ancestor = old if mark is None else _before(old, mark, identities)
    return Step(name, changed, None, None, Conflict(name, _clash(old, sides), ancestor, tuple(sides)))


def _seen(side: Entry | None, number: int) -> Hashable:
    """What a side's group is: like nothing else if nobody decided about it, as on a side that is itself an ancestor."""
    return identity(side) if side is None or _mark(side) is None else number


def _before(old: Entry | None, mark: MergeRecord, sides: Sequence[Hashable]) -> Entry | None:
    """What a group that is marked has as its ancestor: nothing if a side would seem to have left that alone."""
    return None if old is None or mark == ADDED or identity(old) in sides else replace(old, merge=None)


def _mark(entry: Entry) -> MergeRecord | None:
    return entry.merge if entry.merge in (UNDECIDED, ADDED) else None


def _clash(old: Entry | None, sides: Iterable[Entry | None]) -> Clash:
    """Why a group does not merge by itself."""
    sides = list(sides)
    present = [side for side in sides if side is not None]
    if old is not None and len(present) < len(sides):
        return Clash.REMOVED
    if len({side.dtype for side in present}) > 1:
        return Clash.DTYPE
    if len({side.shape for side in present}) > 1:
        return Clash.SHAPE
    return Clash.VALUES


def _order(versions: Sequence[Mapping[str, Entry]]) -> list[str]:
    """All names: those of the first version in its order, then those of each other behind what they follow there."""
    order = list(versions[0])
    known = set(order)
    for version in versions[1:]:
        behind: dict[str | None, list[str]] = {}
        last: str | None = None
        for name in version:
            if name in known:
                last = name
            else:
                behind.setdefault(last, []).append(name)
        order = [*behind.get(None, ()), *(new for name in order for new in (name, *behind.get(name, ())))]
        known.update(version)
    return order
