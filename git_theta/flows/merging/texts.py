"""Values that are no groups (`epoch`, a comment), merged by the short texts that a format shows of them."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from git_theta.flows.merging.plan import OURS, STRUCTURE, Lineage
from git_theta.merges.decisions import Clash, Conflict

Texts = Mapping[str, str]

_NO_GROUP: Final = " (no group)"


class MergedTexts(Struct, frozen=True):
    """What becomes of values that are no groups.

    Attributes:
        sides: for each value that is not taken from us, the side that it is taken from, by name.
        conflicts: what several sides changed differently, in our order.
        names: of the values that conflicts are about and call otherwise, by what the conflicts call them.
        wholes: those of them that are about all that lies below, too.
    """

    sides: Mapping[str, int]
    conflicts: tuple[Conflict, ...]
    wholes: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


def merge_texts(
    versions: Sequence[Texts],
    lineage: Lineage,
    undecided: Sequence[Collection[str]],
    groups: Container[str] = (),
) -> MergedTexts:
    """Merge value by value, by the same rule as groups; a value that a side lacks was removed there.

    Args:
        versions: text by name, of each version.
        lineage: of the versions.
        undecided: what nobody decided about in each, by name.
        groups: names of groups: a conflict about a value that is called so as well is told apart from one about these.
    """
    taken: dict[str, int] = {}
    conflicts: list[Conflict] = []
    told: dict[str, str] = {}
    for name in dict.fromkeys(name for texts in versions for name in texts):
        every = [texts.get(name) for texts in versions]
        called = f"{name}{_NO_GROUP}" if name in groups else name
        # What nobody decided about is like nothing else: its number stands for it.
        seen = [
            number if called in names or STRUCTURE in names else text
            for number, (text, names) in enumerate(zip(every, undecided, strict=True))
        ]
        side, found = lineage.choose(seen), every[: lineage.count]
        if side is None:
            told |= {called: name} if called != name else {}
            old = None if lineage.ancestor is None else every[lineage.ancestor]
            conflicts.append(Conflict(called, Clash.TEXT, None, (None,) * lineage.count, (old, *found)))
        elif found[side] != found[OURS]:
            taken[name] = side
    return MergedTexts(taken, tuple(conflicts), names=told)
