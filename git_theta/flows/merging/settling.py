"""Ways to settle conflicts that ask nobody, and what several ancestors of a merge are together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from git_theta.flows.merging.parts import covers
from git_theta.flows.merging.plan import ADDED, OURS, STRUCTURE, UNDECIDED, Versions
from git_theta.merges.decisions import Clash, Conflict, Decision, Settle
from git_theta.metadata import Metadata

_OTHERS: Final = (Clash.TEXT, Clash.STRUCTURE)


def as_before(versions: Versions) -> Settle:
    """All stays as it is in the ancestor; where that has it not, it is as on a side that has it.

    For a merge of two ancestors of a merge; `undecided` then says what was in conflict.

    Args:
        versions: that are merged.
    """

    def settle(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
        return {conflict.name: Decision(side(conflict)) for conflict in conflicts}

    def side(conflict: Conflict) -> str:
        is_other = conflict.clash in _OTHERS
        if versions.ancestor is not None and (conflict.ancestor is not None or is_other):
            return "ancestor"
        return "ours" if is_other or conflict.sides[OURS] is not None else "theirs"

    return settle


def undecided(merged: Metadata, conflicts: Sequence[Conflict], sides: Sequence[Metadata] = ()) -> Metadata:
    """Mark what was in conflict between two ancestors of a merge.

    Both sides of the outer merge decided about it. Whatever the ancestor is given, it could be what a side decided for,
    which would then count as no change, and the decision be lost. What is marked is changed on every side.

    Args:
        merged: settled by `as_before`.
        conflicts: that there were.
        sides: that were merged. They may be such ancestors themselves.
    """
    groups = [conflict for conflict in conflicts if conflict.clash not in _OTHERS]
    others = [conflict.name for conflict in conflicts if conflict.clash in _OTHERS]
    marks = {conflict.name: UNDECIDED if conflict.ancestor is not None else ADDED for conflict in groups}
    names = dict.fromkeys([*others, *(name for side in sides for name in side.skeleton.undecided)])
    marks |= {entry.name: UNDECIDED for entry in merged.entries if covers(others, entry.name)}
    entries = tuple(replace(entry, merge=marks.get(entry.name, entry.merge)) for entry in merged.entries)
    return replace(merged, skeleton=replace(merged.skeleton, undecided=tuple(names)), entries=entries)


def all_undecided(metadata: Metadata) -> Metadata:
    """Mark everything: two ancestors of a merge clashed as a whole."""
    entries = tuple(replace(entry, merge=UNDECIDED) for entry in metadata.entries)
    return replace(metadata, skeleton=replace(metadata.skeleton, undecided=(STRUCTURE,)), entries=entries)
