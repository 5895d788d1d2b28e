"""Ways to settle conflicts that ask nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from git_theta.flows.merging.plan import ADDED, UNDECIDED, Versions
from git_theta.merges.decisions import Clash, Conflict, Decision, Settle
from git_theta.metadata import Metadata

_OTHERS = (Clash.TEXT, Clash.STRUCTURE)


def nobody(_conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
    """None is settled."""
    return {}


def as_before(versions: Versions) -> Settle:
    """All stays as it is in the ancestor; where that has it not, it is ours.

    For a merge of two ancestors of a merge; `undecided` then says which groups were in conflict.

    Args:
        versions: that are merged.
    """

    def settle(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
        return {conflict.name: Decision("ancestor" if is_there(conflict) else "ours") for conflict in conflicts}

    def is_there(conflict: Conflict) -> bool:
        return versions.ancestor is not None and (conflict.ancestor is not None or conflict.clash in _OTHERS)

    return settle


def undecided(merged: Metadata, conflicts: Sequence[Conflict]) -> Metadata:
    """Mark the groups that were in conflict between two ancestors of a merge.

    Both sides of the outer merge decided about them. Whatever value the ancestor is given, it could be the one that a
    side decided for, which would then count as no change, and the decision be lost. A group that is marked is changed
    on every side.

    Args:
        merged: settled by `as_before`.
        conflicts: that there were.
    """
    marks = {conflict.name: UNDECIDED if conflict.ancestor is not None else ADDED for conflict in conflicts}
    return replace(
        merged, entries=tuple(replace(entry, merge=marks.get(entry.name, entry.merge)) for entry in merged.entries)
    )
