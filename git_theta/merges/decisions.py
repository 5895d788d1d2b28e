"""What a merge asks, and what it may be answered: conflicts and decisions, as immutable values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from git_theta.merges.parameters import Value
from git_theta.metadata import Entry
from git_theta.printing import listed


class Clash(StrEnum):
    """Why a group, or a value that is none, does not merge by itself."""

    VALUES = "changed differently"
    REMOVED = "removed here, changed there"
    DTYPE = "of different dtypes or layouts"
    SHAPE = "of different shapes"
    PARTS = "one of several parts of a tensor, changed differently"
    TEXT = "a value that is no group, changed differently"
    STRUCTURE = "the bytes outside the groups, changed differently"


class Conflict(Struct, frozen=True):
    """Something that several sides changed, each in its own way.

    Attributes:
        name: of the group, or of a value that is no group (`epoch`), or "(structure)".
        clash: why it does not merge by itself.
        ancestor: the group in the common ancestor; None if it was not there (always for what is no group).
        sides: the group on each side, ours first; None on a side that has none (always for what is no group).
        texts: of a value that is no group: what it is in the ancestor, then on each side; None where there is none.
    """

    name: str
    clash: Clash
    ancestor: Entry | None
    sides: tuple[Entry | None, ...]
    texts: tuple[str | None, ...] = ()


def described(conflicts: Sequence[Conflict]) -> str:
    """What the sides of a merge did, in half a line."""
    parts = [conflict.name for conflict in conflicts if conflict.clash is Clash.PARTS]
    others = [conflict.name for conflict in conflicts if conflict.clash is not Clash.PARTS]
    told = [f"both sides changed {listed(others)}"] if others else []
    return "; ".join([*told, *([f"both sides changed parts of a tensor: {listed(parts)}"] if parts else [])])


class Decision(Struct, frozen=True):
    """How a conflict is settled.

    Attributes:
        method: a merge method's name. All conflicts can be settled by "ours", "theirs" and "ancestor"; `Clash.VALUES`
            by every method, `Clash.SHAPE` of groups that differ in the number of rows also by "rows".
        parameters: of the method, sorted by name; those that are not given have their defaults. A parameter that each
            input has its own value of is a tuple.
    """

    method: str
    parameters: tuple[tuple[str, Value | tuple[Value, ...]], ...] = ()


Settle = Callable[[Sequence[Conflict]], Mapping[str, Decision]]
"""Asked once for all conflicts of a checkpoint, in file order; answers by name. What it leaves out stays a conflict."""
