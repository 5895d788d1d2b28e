"""Ways to settle conflicts that ask nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from git_theta.flows.merging.plan import Versions
from git_theta.merges.decisions import Clash, Conflict, Decision, Settle

_OTHERS = (Clash.TEXT, Clash.STRUCTURE)


def nobody(_conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
    """None is settled."""
    return {}


def as_before(versions: Versions) -> Settle:
    """All stays as it is in the ancestor; where that has it not, it is ours.

    For a merge of two ancestors of a merge. What was in conflict between them is then as it was before both, and
    whatever the sides of the outer merge have made of it since counts as their change.

    Args:
        versions: that are merged.
    """

    def settle(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
        return {conflict.name: Decision("ancestor" if is_there(conflict) else "ours") for conflict in conflicts}

    def is_there(conflict: Conflict) -> bool:
        return versions.ancestor is not None and (conflict.ancestor is not None or conflict.clash in _OTHERS)

    return settle
