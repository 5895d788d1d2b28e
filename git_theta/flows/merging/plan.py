"""Plan a merge from metadata alone: for each group, the side that it is taken from, or a conflict.

What only one side changed, or all that changed it changed alike, is taken. Where there is no ancestor, everything
counts as added. Of equal values ours are taken, however the other sides keep them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from git_theta import tensors
from git_theta.flows.merging.bundles import Places, bundles
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

Labels = Mapping[str, str]
"""What a version says more about its groups, by name; nothing of those that are plain. See `checkpoints.Labelled`."""

T = TypeVar("T")


class Versions(Struct, frozen=True):
    """What a merge brings together.

    Attributes:
        ancestor: what the sides come from; None if they have nothing in common.
        sides: ours, theirs, and further ones.
        pairs: what two of three or more sides come from (None if it was not there), where that is something else: by
            their numbers, the smaller one first.
    """

    ancestor: Metadata | None
    sides: tuple[Metadata, ...]
    pairs: Mapping[tuple[int, int], Metadata | None] = field(default_factory=dict)

    def all(self) -> tuple[Metadata, ...]:
        """Ours first, behind the sides the ancestor, then those of pairs."""
        ancestor = () if self.ancestor is None else (self.ancestor,)
        return (*self.sides, *ancestor, *(old for old in self.pairs.values() if old is not None))

    @property
    def lineage(self) -> Lineage:
        """What comes from what."""
        count = len(self.sides)
        ancestor = None if self.ancestor is None else count
        following = itertools.count(count if ancestor is None else count + 1)
        pairs = {pair: None if old is None else next(following) for pair, old in self.pairs.items()}
        return Lineage(count, ancestor, pairs)


class Lineage(Struct, frozen=True):
    """What the sides of a merge come from, by number in `Versions.all`.

    Attributes:
        count: of the sides, which are the first.
        ancestor: of all sides; None if there is none.
        pairs: as in `Versions`.
    """

    count: int
    ancestor: int | None
    pairs: Mapping[tuple[int, int], int | None] = field(default_factory=dict)

    def before(self, found: Sequence[T], one: int, two: int) -> T | None:
        """What something was in what two sides come from, of what it is in all versions; None if it was not there."""
        number = self.pairs.get((min(one, two), max(one, two)), self.ancestor)
        return None if number is None else found[number]

    def choose(self, found: Sequence[Hashable]) -> int | None:
        """The side that a merge takes something from, by number, of what it is in all versions; None for a conflict."""
        if self.pairs:
            return pick(found[: self.count], lambda one, two: self.before(found, one, two))
        return choose(None if self.ancestor is None else found[self.ancestor], found[: self.count])


class Step(Struct, frozen=True):
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

    @property
    def first(self) -> tuple[Entry, int] | None:
        """The group that is taken, or where that is not decided, the first there is, and the side that it is of."""
        sides = self.conflict.sides if self.conflict is not None else ()
        found = [(self.entry, self.side or OURS), *((entry, number) for number, entry in enumerate(sides))]
        return next(((entry, number) for entry, number in found if entry is not None), None)


def unmarked(metadata: Metadata) -> Metadata:
    """An ancestor that somebody decided for: nothing of it is undecided any more."""
    if metadata.is_decided:
        return metadata
    entries = (replace(entry, merge=None) if _mark(entry) else entry for entry in metadata.entries)
    return replace(metadata, skeleton=replace(metadata.skeleton, undecided=()), entries=tuple(entries))


def plan_groups(
    versions: Versions, labels: Sequence[Labels] = (), places: Callable[[], Places] = dict
) -> tuple[Step, ...]:
    """What becomes of every group that a side has, and of those that only the ancestor has.

    Args:
        versions: that are merged.
        labels: of each version; none if there is nothing that they say more about groups.
        places: gives the other places of tied groups.

    Returns:
        One step for each, in the order of our file; groups that others added stand behind those that they stand behind
        there. Of a tensor that consists of several groups, all that were changed are in conflict if not all of them can
        be taken from one side.
    """
    lineage, known = versions.lineage, [metadata.by_name() for metadata in versions.all()]
    named = known[: lineage.count + (lineage.ancestor is not None)]
    told = labels or [dict[str, str]()] * len(known)

    def seen_of(name: str) -> tuple[list[Entry | None], list[str | None]]:
        return [groups.get(name) for groups in known], [texts.get(name) for texts in told]

    def is_alike(name: str) -> bool:
        return len({identity(side.get(name)) for side in known[: lineage.count]}) == 1

    steps = {name: _step(name, *seen_of(name), lineage) for name in _order(named)}
    for bundle in bundles(steps, places):
        if _are_floats(bundle, named):
            continue
        parts = [steps[name] for name in bundle]
        if _is_mixed(parts, known[: lineage.count]):
            parts = [part if is_alike(part.name) else _open(part, *seen_of(part.name), lineage) for part in parts]
        if sum(part.conflict is not None for part in parts) > 1:
            steps |= {part.name: _as_part(part) for part in parts}
    return tuple(steps.values())


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


def pick(sides: Sequence[Hashable], before: Callable[[int, int], Hashable]) -> int | None:
    """As `choose`, where not all sides come from the same: what no other side changed since it parted from that side.

    A side may have taken back what it shares with another one, and so be as the ancestor of all of them is.

    Args:
        sides: what it is on each side.
        before: what it was in what two sides come from, by their numbers.
    """
    for one, side in enumerate(sides):
        if all(two == one or other in (side, before(one, two)) for two, other in enumerate(sides)):
            return one
    return None


def changes(old: Hashable, sides: Sequence[Hashable]) -> tuple[int, ...]:
    """The sides that differ from the ancestor, by number."""
    return tuple(number for number, side in enumerate(sides) if side != old)


def identity(entry: Entry | None) -> Hashable:
    """What two groups share if, and only if, they have the same values (`Entry.identity`); None for no group."""
    return None if entry is None else entry.identity


def _step(name: str, found: Sequence[Entry | None], told: Sequence[str | None], lineage: Lineage) -> Step:
    seen = [_seen(entry, number) for number, entry in enumerate(found)]
    # The same values mean something else where something else is said of them.
    meant = [(what, text) if text is not None else what for what, text in zip(seen, told, strict=True)]
    sides = found[: lineage.count]
    changed = changes(None if lineage.ancestor is None else meant[lineage.ancestor], meant[: lineage.count])
    side = lineage.choose(meant)
    step = Step(name, changed, side, None if side is None else sides[side])
    return _open(step, found, told, lineage) if side is None else step


def _open(step: Step, found: Sequence[Entry | None], told: Sequence[str | None], lineage: Lineage) -> Step:
    """A group that has to be decided about, of what it is in all versions."""
    seen = [_seen(entry, number) for number, entry in enumerate(found)]
    ancestor, sides = _before(found, seen, lineage), tuple(found[: lineage.count])
    return Step(step.name, step.changed, None, None, Conflict(step.name, _clash(found, told, lineage), ancestor, sides))


def _as_part(step: Step) -> Step:
    """The same; a conflict about values is one that only a side settles, for they are read with those of others."""
    conflict = step.conflict
    if conflict is None or conflict.clash is not Clash.VALUES:
        return step
    return replace(step, conflict=replace(conflict, clash=Clash.PARTS))


def _are_floats(bundle: Iterable[str], versions: Sequence[Mapping[str, Entry]]) -> bool:
    """Whether groups are only called like parts of a tensor: it has others than floats that say how it is read."""
    found = (entry for groups in versions for name in bundle if (entry := groups.get(name)) is not None)
    return all(entry.dtype in tensors.WORKING for entry in found)


def _is_mixed(parts: Sequence[Step], sides: Sequence[Mapping[str, Entry]]) -> bool:
    """Whether parts of one tensor would come, or could come, from sides that have other ones beside them."""
    settled = [part for part in parts if part.side is not None]
    fitting = [side for side in sides if all(identity(side.get(part.name)) == identity(part.entry) for part in settled)]
    return len(fitting) < (1 if len(settled) == len(parts) else len(sides))


def _seen(entry: Entry | None, number: int) -> Hashable:
    """What a group of a version is: like nothing else if nobody decided about it."""
    return identity(entry) if entry is None or _mark(entry) is None else number


def _before(found: Sequence[Entry | None], seen: Sequence[Hashable], lineage: Lineage) -> Entry | None:
    """What a group has as its ancestor: nothing if a side would seem to have left that alone, and did not."""
    old = None if lineage.ancestor is None else found[lineage.ancestor]
    if old is None or _mark(old) == ADDED:
        return None
    numbers = range(lineage.count)
    alike = [number for number in numbers if identity(found[number]) == identity(old)]
    is_back = any(seen[one] != lineage.before(seen, one, two) for one in alike for two in numbers if two != one)
    return None if is_back else old if _mark(old) is None else replace(old, merge=None)


def _mark(entry: Entry) -> MergeRecord | None:
    return entry.merge if entry.merge in (UNDECIDED, ADDED) else None


def _clash(found: Sequence[Entry | None], told: Sequence[str | None], lineage: Lineage) -> Clash:
    """Why a group does not merge by itself."""
    numbers = range(lineage.count)
    missing = [number for number in numbers if found[number] is None]
    if any(lineage.before(found, one, two) is not None for one in missing for two in numbers if two != one):
        return Clash.REMOVED
    present = [side for side in found[: lineage.count] if side is not None]
    texts = {text for entry, text in zip(found, told, strict=True) if entry is not None}
    if len({side.dtype for side in present}) > 1 or len(texts) > 1:
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
