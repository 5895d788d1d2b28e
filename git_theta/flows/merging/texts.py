"""Values that are no groups (`epoch`, a comment), merged by the short texts that a format shows of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from git_theta.flows.merging.plan import OURS, STRUCTURE, UNDECIDED, choose
from git_theta.merges.decisions import Clash, Conflict

Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MergedTexts:
    """What becomes of values that are no groups.

    Attributes:
        sides: for each value that is not taken from us, the side that it is taken from, by name.
        conflicts: what several sides changed differently, in our order.
    """

    sides: Mapping[str, int]
    conflicts: tuple[Conflict, ...]


def merge_texts(ancestor: Texts | None, sides: Sequence[Texts], undecided: Collection[str] = ()) -> MergedTexts:
    """Merge value by value, by the same rule as groups; a value that a side lacks was removed there.

    Args:
        ancestor: text by name; None if there is no ancestor.
        sides: the same of each side.
        undecided: what nobody decided about in the ancestor, by name: every side has changed it.
    """
    old = ancestor or {}
    is_open = STRUCTURE in undecided
    taken, conflicts = {}, []
    for name in dict.fromkeys(name for texts in (*sides, old) for name in texts):
        found = [texts.get(name) for texts in sides]
        side = choose(UNDECIDED if is_open or name in undecided else old.get(name), found)
        if side is None:
            conflicts.append(Conflict(name, Clash.TEXT, None, (None,) * len(sides), (old.get(name), *found)))
        elif found[side] != found[OURS]:
            taken[name] = side
    return MergedTexts(taken, tuple(conflicts))
